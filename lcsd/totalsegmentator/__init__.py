"""TotalSegmentator as a backend: tasks, weights, and a run in a process of its own."""

from lcsd.totalsegmentator.models import TASKS
from lcsd.totalsegmentator.run import Segmentation, segment

__all__ = ["TASKS", "Segmentation", "segment"]
