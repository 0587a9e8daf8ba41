"""Lung masks: by threshold, by TotalSegmentator's lobes, or given by the user."""
