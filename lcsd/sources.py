"""Where a scan comes from: DICOM folder, NIfTI file, or series of the Imaging Data Commons."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from lcsd.errors import BadInputError
from lcsd.settings.fetch import FetchSettings

P = TypeVar("P", bound=str | Path | None)

UID_PATTERN = re.compile(r"[0-9]+(?:\.[0-9]+){3,}")
UID_LENGTH = 64
"""DICOM PS3.5, section 9. Four numbers at least, so that a file named 1.2 is a file; the pattern
keeps '..' and '/' out of every path made of a UID."""


def is_series_uid(source: str) -> bool:
    """Return whether a source is a SeriesInstanceUID rather than a path."""
    return len(source) <= UID_LENGTH and UID_PATTERN.fullmatch(source) is not None


def check_path(path: P) -> P:
    """Return a path that rules may name; raise ``ValueError`` otherwise.

    Snakemake takes braces in the name of a file for wildcards, and one such name stops the build.
    A command takes a path that begins with a hyphen for an option, also a quoted one.
    """
    text = "" if path is None else str(path)
    if text.startswith("-"):
        raise ValueError("a path that begins with a hyphen; rename it, or write it from the root")
    if not text.isprintable() or not {*"{}"}.isdisjoint(text):
        raise ValueError("a path with braces or control characters; rename the file or folder")
    return path


@contextlib.contextmanager
def local(
    source: str, series_dir: Path | None, settings: FetchSettings, *, say: Callable[[str], None]
) -> Iterator[Path]:
    """Give the path of a source; a series is fetched first, unless it is there.

    Parameters
    ----------
    source
        Path, or SeriesInstanceUID.
    series_dir
        Folder of fetched series.
    settings
        ``keep`` says whether a series that came for this stays in the folder afterwards.
    say
        Takes lines of information.

    Raises
    ------
    BadInputError
        A series without a folder to fetch it to, or one that the index or the bucket does not hold
        as it should.
    WorkError
        The download failed for a reason that may pass: network, disk.
    """
    if not is_series_uid(source):
        yield Path(source)
        return
    if series_dir is None:
        raise BadInputError(
            "no folder for the downloaded series", code="missing_option", field="--series-dir",
            expected="a folder", found=f"the series {source}", remedy="name one",
        )  # fmt: skip
    from lcsd.fetch import fetch_series, in_use  # noqa: PLC0415

    with in_use(source, series_dir, keep=settings.keep):
        (fetched,) = fetch_series([source], series_dir, settings, say=say)
        if fetched.error is not None:
            raise fetched.error
        yield fetched.folder
