"""Manage the folder of fetched series: names, locks, completeness.

``DIR/<UID>/`` holds the files of a series and ``DIR/<UID>.sha256`` their hashes; a series is
complete if both exist. ``DIR/.<UID>.part`` is a download in progress.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lcsd.fetch.verify import damaged_files, read_checksums, write_checksums

LOCK_POLL_S = 0.2  # wait between two tries for a lock that another process holds

Wait = Callable[[float], None]


class Place:
    """Paths of one series in the folder of all series; ``uid`` must be checked, since file names contain it."""

    def __init__(self, root: Path, uid: str) -> None:
        self.uid = uid
        self.root = root
        self.folder = root / uid
        self.checksums = root / f"{uid}.sha256"
        self.part = root / f".{uid}.part"
        self.lock = root / f".{uid}.lock"

    def is_complete(self) -> bool:
        """Return whether folder and checksums exist and have the same files."""
        if not self.checksums.is_file() or not self.folder.is_dir():
            return False
        names = set(read_checksums(self.checksums, self.uid))
        return bool(names) and names == {path.name for path in self.folder.iterdir()}

    def damaged(self) -> list[str]:
        """Return the files of a complete series whose hashes differ from the recorded ones."""
        return damaged_files(self.folder, read_checksums(self.checksums, self.uid))

    def open(self) -> None:
        """Create the download folder, or turn the final folder back into it."""
        self.checksums.unlink(missing_ok=True)
        if self.folder.is_dir():
            # A fetch was killed between its last two steps, or the series is damaged.
            shutil.rmtree(self.part, ignore_errors=True)
            self.folder.rename(self.part)
        self.part.mkdir(parents=True, exist_ok=True)

    def keep_only(self, names: set[str]) -> None:
        """Remove everything else from the download folder."""
        for path in self.part.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in names:
                path.unlink()

    def close(self, hashes: dict[str, str]) -> None:
        """Rename the download to its final name, then write its checksums."""
        _sync(self.part)
        self.part.rename(self.folder)
        _sync(self.root)
        write_checksums(self.checksums, self.uid, hashes)


@contextlib.contextmanager
def in_use(uid: str, root: Path, *, keep: bool) -> Iterator[None]:
    """Protect a series while it is fetched and read; then remove it unless it should stay.

    ``uid`` must be checked. ``keep=False`` removes the series at the end, unless it was complete before its
    first use, another process still reads it, or the block failed.
    """
    place = Place(root, uid)
    root.mkdir(parents=True, exist_ok=True)
    # A mark on disk: after a kill, the next process removes the series.
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
            # Without checksums, files left by a kill count as a download to resume.
            place.checksums.unlink(missing_ok=True)
            shutil.rmtree(place.folder, ignore_errors=True)
            passing.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Write the names in a folder to disk, so they survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: Wait, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path``; the system frees the lock of a dead process at once.

    ``wait`` sleeps between tries and may raise to give up; ``waiting`` is called once if another process holds
    the lock.
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
        # Removed while held: a waiting process then sees another file under this name and tries again.
        path.unlink(missing_ok=True)
        os.close(handle)


def _taken(handle: int, path: Path) -> bool:
    """Return whether the open file got the lock and still has its name."""
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
