"""Formats on disk and atomic writing."""
