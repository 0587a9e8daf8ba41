"""The folder of fetched series: names, locks, what is complete.

``DIR/<UID>/`` holds the files of a series and ``DIR/<UID>.sha256`` their hashes; a series is
complete if both are there. ``DIR/.<UID>.part`` is a download in progress.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lcsd.fetch.verify import damaged_files, read_checksums, write_checksums

LOCK_POLL_S = 0.2
"""Between two tries for a lock that another process holds."""

Wait = Callable[[float], None]


class Place:
    """Where one series lies in a folder of series.

    Parameters
    ----------
    root
        Folder of all series.
    uid
        A checked SeriesInstanceUID: it becomes part of names.
    """

    def __init__(self, root: Path, uid: str) -> None:
        self.uid = uid
        self.root = root
        self.folder = root / uid
        self.checksums = root / f"{uid}.sha256"
        self.part = root / f".{uid}.part"
        self.lock = root / f".{uid}.lock"

    def is_complete(self) -> bool:
        """Return whether folder and checksums are there and name the same files."""
        if not self.checksums.is_file() or not self.folder.is_dir():
            return False
        names = set(read_checksums(self.checksums, self.uid))
        return bool(names) and names == {path.name for path in self.folder.iterdir()}

    def damaged(self) -> list[str]:
        """Return the files of a complete series whose hashes are not those written down."""
        return damaged_files(self.folder, read_checksums(self.checksums, self.uid))

    def open(self) -> None:
        """Make the folder of the download; what lies under the final name goes on in there."""
        self.checksums.unlink(missing_ok=True)
        if self.folder.is_dir():
            # A fetch that was killed between its last two steps, or a series with damage.
            shutil.rmtree(self.part, ignore_errors=True)
            self.folder.rename(self.part)
        self.part.mkdir(parents=True, exist_ok=True)

    def keep_only(self, names: set[str]) -> None:
        """Remove everything from the download that is not a file of that name."""
        for path in self.part.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in names:
                path.unlink()

    def close(self, hashes: dict[str, str]) -> None:
        """Give the download its final name and write its checksums, in this order."""
        _sync(self.part)
        self.part.rename(self.folder)
        _sync(self.root)
        write_checksums(self.checksums, self.uid, hashes)


@contextlib.contextmanager
def in_use(uid: str, root: Path, *, keep: bool) -> Iterator[None]:
    """Hold a series while it is fetched and read; afterwards remove it if it came for this only.

    Parameters
    ----------
    uid
        A checked SeriesInstanceUID.
    root
        Folder of all series.
    keep
        False removes the series at the end, unless it was complete before the first use, another
        process still reads it, or the use failed.
    """
    place = Place(root, uid)
    root.mkdir(parents=True, exist_ok=True)
    # A mark on the disk, since a killed process leaves the removal to the next one.
    passing = root / f".{uid}.passing"
    if not keep and not place.is_complete():
        passing.touch()
    with (root / f".{uid}.use").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
        if keep or not passing.exists():
            return
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Without checksums what is left, if this is killed, counts as a download to go on with.
            place.checksums.unlink(missing_ok=True)
            shutil.rmtree(place.folder, ignore_errors=True)
            passing.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: Wait, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path``; the lock of a process that died is free at once.

    Parameters
    ----------
    wait
        Sleeps between tries; may raise to give up.
    waiting
        Called once if another process holds the lock.
    """
    told = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _taken(handle, path):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not told:
            waiting()
            told = True
        wait(LOCK_POLL_S)
    try:
        yield
    finally:
        # Removed while held: who waits finds another file under the name and tries again.
        path.unlink(missing_ok=True)
        os.close(handle)


def _taken(handle: int, path: Path) -> bool:
    """Return whether the open file got the lock and still is the one under its name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
