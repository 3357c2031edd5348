"""One module per task: engine outputs -> result."""
