"""Files that are dated ahead of this machine's clock, as Snakemake would see them."""

import contextlib
import functools
import os
import sys
import time

from lcsd.errors import printable

TIMESTAMP = ".snakemake_timestamp"
"""File that dates the folder which holds it, if another workflow made that."""


def _latest(path: str) -> float:
    """Return the latest date that Snakemake may take for a file's: of it, of the link to it, of a folder's own file."""
    dates = [0.0]
    for place, follow in ((path, True), (path, False), (os.path.join(path, TIMESTAMP), True)):  # noqa: PTH118
        with contextlib.suppress(OSError):
            dates.append(os.stat(place, follow_symlinks=follow).st_mtime)  # noqa: PTH116 - as in `present`
    return max(dates)


@functools.cache
def dated_ahead(path: str) -> bool:
    """Return whether a file is dated ahead of this machine's clock, and say so once.

    Snakemake would take the outputs of its job for outdated, call the job failed and remove them, at each start.
    """
    ahead_s = _latest(path) - time.time()
    if ahead_s <= 0:
        return False
    sys.stderr.write(
        f"snakemake: warning: {printable(path)} is dated {ahead_s / 60:.0f} min ahead of this machine's clock; until "
        "then a change of it is not noticed; correct the clock, or touch the file [future_date]\n"
    )
    return True
