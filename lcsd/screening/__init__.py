"""Motion of a pair estimated from its lung masks alone: alignment, overlap, gates, verdict."""
