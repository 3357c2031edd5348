"""Ids for detections over time."""
