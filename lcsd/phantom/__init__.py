"""Synthetic longitudinal lung CT with exact truth.

Imports neither the geometry nor any stage of the package, because they are tested against it.
"""

from lcsd.phantom.case import PhantomCase, make_case
from lcsd.phantom.phantom import write_cases, write_manifest

__all__ = ["PhantomCase", "make_case", "write_cases", "write_manifest"]
