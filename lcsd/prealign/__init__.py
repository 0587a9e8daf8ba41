"""Rigid alignment of two lung scans, and both on the common grid.

:mod:`.solve` does the stage; :mod:`.blocks`, :mod:`.corrfield` and :mod:`.deeds` each find the
rigid transform in their own way (setting ``prealign.method``); :mod:`.common` is what they share.
"""

from lcsd.prealign.common import common_grid, resample_hu
from lcsd.prealign.solve import Prealigned, prealign

__all__ = ["Prealigned", "common_grid", "prealign", "resample_hu"]
