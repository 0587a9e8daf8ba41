"""Verified, resumable download of DICOM series from the public buckets of the IDC.

``fetch_series`` is loaded when it is first used: every conversion asks for `local`, and few need DuckDB and pydicom for
a download.
"""

from typing import Any

__all__ = ["fetch_series"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lcsd.fetch import fetch

        return getattr(fetch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
