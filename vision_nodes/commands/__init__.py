"""One module per verb of `vision-nodes`: arguments in, library calls, a table out."""
