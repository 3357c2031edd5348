"""Monocular visual odometry: front end, initialisation, local map, windowed optimisation, scale."""
