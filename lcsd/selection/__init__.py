"""Selection by motion: screening of candidates, training pairs and test pool, test cases."""
