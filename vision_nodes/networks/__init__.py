"""Torch modules. Offline only."""
