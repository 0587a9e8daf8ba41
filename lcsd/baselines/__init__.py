"""Other methods, in the same command and scored by the same evaluator."""
