"""Pinhole geometry: camera model, rectification, and the one class that knows scale and padding."""
