"""Dense clouds, sparse clouds, and the point formats of other programs."""
