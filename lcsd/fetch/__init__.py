"""Verified, resumable download of DICOM series from the public buckets of the IDC."""

from lcsd.fetch.fetch import Fetched, fetch_series
from lcsd.fetch.store import in_use

__all__ = ["Fetched", "fetch_series", "in_use"]
