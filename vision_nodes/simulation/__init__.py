"""The procedural test world with exact ground truth."""
