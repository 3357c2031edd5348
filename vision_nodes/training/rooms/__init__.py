"""Furnished rooms by seed, ray-cast with exact depth: training pictures for depth and places indoors."""
