"""One readable training loop for every task. Offline only."""
