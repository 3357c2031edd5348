"""The procedural test world: textured planes, exact truth for every task."""
