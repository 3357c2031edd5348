"""Place recognition: index, geometric verification, pose graph, map file."""
