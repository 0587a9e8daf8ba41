"""Selection by motion: training pairs and test pool from screenings, test cases from corrfield."""
