"""Screen candidates, then select training pairs and test cases by motion."""
