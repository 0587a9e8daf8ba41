"""Fetch series: look them up, download, verify, and only then give them their final names."""

import concurrent.futures
import contextlib
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.fetch.lists import check_uid
from lcsd.fetch.plan import Entry, check_space, folder_bytes, look_up
from lcsd.fetch.store import Place, locked
from lcsd.fetch.transfer import Stopped, Transfer
from lcsd.fetch.verify import Damage, verify_series, whole_files
from lcsd.settings.fetch import FetchSettings

FINAL_CODES = frozenset({"access_denied", "disk_full", "cannot_write", "bad_object_name"})
"""Failures that another attempt a moment later does not mend."""

State = Literal["present", "fetched", "failed"]


class Progress(Protocol):
    """What is told about the bytes that arrive; a bar of tqdm is one."""

    def update(self, n: float) -> object:
        """Count ``n`` more bytes; fewer than 0 if a file is fetched again."""

    def close(self) -> None:
        """End the count."""


@dataclass(frozen=True)
class Fetched:
    """What became of one series.

    Parameters
    ----------
    state
        ``present`` (was complete before), ``fetched`` or ``failed``.
    folder
        Folder of the series' files; it exists unless the state is ``failed``.
    files, size_bytes
        Files of a fetched series and their size, 0 otherwise.
    error
        Why it failed.
    """

    uid: str
    state: State
    folder: Path
    files: int = 0
    size_bytes: int = 0
    error: LcsdError | None = None


def fetch_series(
    uids: Sequence[str],
    out_dir: Path,
    settings: FetchSettings | None = None,
    *,
    verify: bool = False,
    progress: Callable[[int], Progress] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Fetched]:
    """Return the outcome of each series, in order; one that fails does not stop the others.

    A series that is complete in ``out_dir`` costs no look-up and no request. Others are fetched
    into hidden folders, in which an earlier, ended fetch is gone on with. Files get their final
    names only if they are the series that the index describes, to the byte.

    Parameters
    ----------
    uids
        SeriesInstanceUIDs.
    out_dir
        Holds a folder ``UID`` and a file ``UID.sha256`` per series.
    verify
        Hash complete series again, and fetch damaged files anew.
    progress
        Makes the display of the download, of the number of bytes to come.
    say
        Takes lines of information.

    Raises
    ------
    BadInputError
        A UID is malformed, or the index is unusable.
    WorkError
        ``missing_program``, ``disk_full`` (before anything is fetched) or ``cannot_write``.
    """
    settings = settings or FetchSettings()
    places = [Place(out_dir, check_uid(uid)) for uid in dict.fromkeys(uids)]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(
            f"cannot make the folder: {error.strerror}",
            code="cannot_write",
            file=out_dir,
            remedy="check the path and its permissions",
        ) from error
    job = _Fetch(settings, say or (lambda _: None))
    if verify:
        complete = [place for place in places if place.is_complete()]
        job.each(complete, job.reopen_if_damaged)
    outcomes = {place.uid: Fetched(place.uid, "present", place.folder) for place in places if place.is_complete()}
    absent = [place for place in places if place.uid not in outcomes]
    if absent:
        entries = look_up([place.uid for place in absent], settings.index)
        for place in absent:
            if place.uid not in entries:
                outcomes[place.uid] = Fetched(
                    place.uid, "failed", place.folder, error=_unknown(place.uid, settings.index)
                )
        known = [place for place in absent if place.uid in entries]
        for done in job.run(known, entries, out_dir, progress):
            outcomes[done.uid] = done
    return [outcomes[place.uid] for place in places]


def _unknown(uid: str, index: Path | None) -> BadInputError:
    return BadInputError(
        "the index has no such series",
        code="unknown_series",
        file=index,
        field="SeriesInstanceUID",
        found=uid,
        remedy="correct the UID, or install a current idc-index-data",
    )


def delay_s(uid: str, attempt: int, settings: FetchSettings) -> float:
    """Return the wait after the failed ``attempt`` (from 0): doubled each time, less a jitter.

    The jitter (up to a half) parts series that failed together. It comes from the UID, so that a
    run can be repeated.
    """
    longest = min(settings.backoff_most_s, settings.backoff_s * 2**attempt)
    digest = hashlib.sha256(f"{uid}:{attempt}".encode()).digest()
    return longest * (1 - 0.5 * digest[0] / 255)


class _Meter:
    """Adds what arrives in one download folder to the shared display."""

    def __init__(self, display: Progress | None, lock: threading.Lock, folder: Path) -> None:
        self._display, self._lock, self._folder = display, lock, folder
        self._seen = 0

    def __call__(self) -> int:
        now = folder_bytes(self._folder)
        if self._display is not None and now != self._seen:
            with self._lock:
                self._display.update(now - self._seen)
        self._seen = now
        return now


class _Fetch:
    """One call of :func:`fetch_series`: threads, their common end, the display."""

    def __init__(self, settings: FetchSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._stop = threading.Event()
        self._display: Progress | None = None
        self._display_lock = threading.Lock()

    def each(self, places: Sequence[Place], work: Callable[[Place], Fetched]) -> list[Fetched]:
        """Return the outcome of ``work`` for each place, some at a time, in order.

        If this thread is interrupted (Ctrl-C, SIGTERM), programs are ended before it goes on.
        """
        with concurrent.futures.ThreadPoolExecutor(self._settings.jobs) as pool:
            futures = [pool.submit(work, place) for place in places]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def run(
        self,
        places: Sequence[Place],
        entries: dict[str, Entry],
        out_dir: Path,
        progress: Callable[[int], Progress] | None,
    ) -> list[Fetched]:
        """Fetch the series of the index."""
        if not places:
            return []
        transfer = Transfer(self._settings, self._stop)
        total = sum(entries[place.uid].size_bytes for place in places)
        here = sum(folder_bytes(place.part) + folder_bytes(place.folder) for place in places)
        check_space(max(0, total - here), out_dir, self._settings.space_margin)
        self._display = progress(total) if progress is not None else None
        try:
            work = functools.partial(self._outcome, transfer=transfer, entries=entries)
            return self.each(places, work)
        finally:
            if self._display is not None:
                self._display.close()

    def reopen_if_damaged(self, place: Place) -> Fetched:
        """Turn a series with damaged files back into a download that lacks those files."""
        with self._locked(place):
            damaged = place.damaged() if place.is_complete() else []
            if damaged:
                self._say(f"series {place.uid}: {len(damaged)} damaged files are fetched again")
                place.open()
                for name in damaged:
                    (place.part / name).unlink(missing_ok=True)
        return Fetched(place.uid, "present", place.folder)

    def _outcome(self, place: Place, *, transfer: Transfer, entries: dict[str, Entry]) -> Fetched:
        entry = entries[place.uid]
        try:
            with self._locked(place):
                # Another process may have fetched it since.
                if place.is_complete():
                    _Meter(self._display, self._display_lock, place.folder)()
                    return Fetched(place.uid, "present", place.folder)
                place.open()
                files = self._attempts(place, entry, transfer)
            return Fetched(place.uid, "fetched", place.folder, files, entry.size_bytes)
        except LcsdError as error:
            return Fetched(place.uid, "failed", place.folder, error=error)
        except OSError as error:
            failure = WorkError(
                f"the operating system refused: {error.strerror or error}",
                code="cannot_write",
                file=place.folder,
                remedy="check permissions and free space",
            )
            return Fetched(place.uid, "failed", place.folder, error=failure)

    def _attempts(self, place: Place, entry: Entry, transfer: Transfer) -> int:
        """Download and verify until it succeeds or the retries are used up."""
        meter = _Meter(self._display, self._display_lock, place.part)
        for attempt in range(self._settings.retries + 1):
            try:
                hashes = _attempt(place, entry, transfer, meter)
                break
            except LcsdError as error:
                if error.code in FINAL_CODES or attempt == self._settings.retries:
                    raise
                wait = delay_s(place.uid, attempt, self._settings)
                self._say(f"series {place.uid}: {error.message}; again in {wait:.1f} s")
                transfer.wait(wait)
        place.close(hashes)
        return len(hashes)

    @contextlib.contextmanager
    def _locked(self, place: Place) -> Iterator[None]:
        def wait(seconds: float) -> None:
            if self._stop.wait(seconds):
                raise Stopped

        def waiting() -> None:
            self._say(f"series {place.uid}: another process is fetching it, waiting")

        with locked(place.lock, wait=wait, waiting=waiting):
            yield


def _attempt(place: Place, entry: Entry, transfer: Transfer, meter: Callable[[], int]) -> dict[str, str]:
    """Download what is not whole yet, verify all; return the hashes."""
    objects = transfer.list_objects(entry)
    whole = whole_files(place.part, objects)
    place.keep_only(whole)
    meter()
    missing = [part.name for part in objects if part.name not in whole]
    complaint = transfer.download(entry, missing, place.part, meter) if missing else None
    try:
        return verify_series(place.part, entry, objects)
    except Damage as damage:
        (place.part / damage.name).unlink(missing_ok=True)
        if damage.error.code == "transfer_incomplete" and complaint is not None:
            raise complaint from damage
        raise damage.error from damage
