"""Camera message -> one rectified, scaled RGB frame that every task shares."""
