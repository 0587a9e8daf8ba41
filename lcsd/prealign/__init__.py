"""Rigid alignment of two lung scans, and their resampling to the common grid.

:mod:`.prealign` is the stage. :mod:`.blocks`, :mod:`.corrfield` and :mod:`.deeds` are the methods that find the rigid
transform (setting ``prealign.method``); :mod:`.common` is shared by them.
"""
