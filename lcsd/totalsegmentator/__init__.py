"""TotalSegmentator as a backend: tasks, weights, and runs in a separate process."""

from lcsd.totalsegmentator.models import TASKS
from lcsd.totalsegmentator.run import Segmentation, Session, session

__all__ = ["TASKS", "Segmentation", "Session", "session"]
