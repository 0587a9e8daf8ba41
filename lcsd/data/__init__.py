"""Pairs of a release or a build for training: a torch ``Dataset``, batches, and augmentation.

The only public module that imports torch at once.
"""

from lcsd.data.augment import Augment
from lcsd.data.dataset import LCSDataset, collate

__all__ = ["Augment", "LCSDataset", "collate"]
