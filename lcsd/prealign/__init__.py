"""Rigid alignment of two lung scans, and both on the common grid.

:mod:`.prealign` does the stage; :mod:`.blocks`, :mod:`.corrfield` and :mod:`.deeds` each find the
rigid transform in their own way (setting ``prealign.method``); :mod:`.common` is what they share.
"""
