"""Scans: a DICOM series or a volume becomes one checked volume in HU."""
