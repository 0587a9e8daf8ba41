"""Give the local path of a scan: DICOM folder, NIfTI file, or series of the Imaging Data Commons."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.names import is_series_uid
from lcsd.settings.fetch import FetchSettings


@contextlib.contextmanager
def local(
    source: str, series_dir: Path | None, settings: FetchSettings, *, say: Callable[[str], None]
) -> Iterator[Path]:
    """Yield the path of a source; a missing series is fetched first.

    ``source`` is a path or a SeriesInstanceUID, ``series_dir`` the folder of fetched series; ``say`` gets lines of
    information. Raises ``BadInputError`` for a series without a folder to fetch it to, or one that differs from the
    index or the bucket; ``WorkError`` if the download failed for a reason that may be temporary (network, disk).
    """
    if not is_series_uid(source):
        yield Path(source)
        return
    if series_dir is None:
        raise BadInputError(
            "no folder for the downloaded series",
            code="missing_option",
            field="--series-dir",
            expected="a folder",
            found=f"the series {source}",
            remedy="give --series-dir",
        )
    from lcsd.fetch.fetch import fetch_series
    from lcsd.fetch.store import in_use

    with in_use(source, series_dir, keep=settings.keep):
        (fetched,) = fetch_series([source], series_dir, settings, say=say)
        if fetched.error is not None:
            raise fetched.error
        yield fetched.folder
