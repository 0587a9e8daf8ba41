"""Verified, resumable download of DICOM series from the public buckets of the IDC.

Nothing is imported here: every conversion asks for `local`, and few of them need DuckDB and pydicom for a download.
"""
