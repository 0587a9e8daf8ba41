"""Files of other programs as people report them: read right, refused by name, or flagged."""
