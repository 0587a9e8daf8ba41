"""The entries of a sample."""

from typing import Any

from lcsd.release.layout import SCAN_NUMBER

Sample = dict[str, Any]

PAIR_KEYS = ("correspondences", "landmarks")
"""Pairs of points, (K, 2, 3)."""

ATTRIBUTES = ("label", "radius", "weight")
"""Arrays with one value for each point of a cloud, (N,); a cloud need not have them."""

POINT_KEYS = (*SCAN_NUMBER, *PAIR_KEYS, *(f"{scan}_{name}" for scan in SCAN_NUMBER for name in ATTRIBUTES))
"""Entries of a sample with different lengths from case to case."""
