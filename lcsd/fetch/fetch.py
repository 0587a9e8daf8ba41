"""Fetch series: look them up, download and verify them, and only then rename them to their final names."""

import concurrent.futures
import contextlib
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lcsd.errors import BadInputError, LcsdError, WorkError, unwritable
from lcsd.fetch.lists import check_uid
from lcsd.fetch.plan import Entry, check_space, folder_bytes, look_up
from lcsd.fetch.store import Place, locked
from lcsd.fetch.transfer import Stopped, Transfer
from lcsd.fetch.verify import Damage, verify_series, whole_files
from lcsd.settings.fetch import FetchSettings

FINAL_CODES = frozenset({"access_denied", "disk_full", "cannot_write", "bad_object_name"})
"""Failures that a retry does not fix."""

State = Literal["present", "fetched", "failed"]


class Progress(Protocol):
    """Receives the number of bytes that arrive, as a bar of tqdm does."""

    def update(self, n: float) -> object:
        """Count ``n`` more bytes; negative if a file is fetched again."""

    def close(self) -> None:
        """End the count."""


@dataclass(frozen=True)
class Fetched:
    """Outcome of one series."""

    uid: str
    state: State  # ``present`` (already complete), ``fetched`` or ``failed``
    folder: Path  # folder of the series' files; it exists unless the state is ``failed``
    # files, size_bytes: files of a fetched series and their size, 0 otherwise
    files: int = 0
    size_bytes: int = 0
    error: LcsdError | None = None  # why it failed


def fetch_series(
    uids: Sequence[str],
    out_dir: Path,
    settings: FetchSettings | None = None,
    *,
    verify: bool = False,
    progress: Callable[[int], Progress] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Fetched]:
    """Fetch series and return the outcome of each, in order; a failure does not stop the others.

    A series that is complete in ``out_dir`` needs no look-up and no request. Others are fetched
    into hidden folders, where an interrupted fetch is resumed. Files get their final names only if
    they match the index, byte for byte.

    Parameters
    ----------
    uids
        SeriesInstanceUIDs.
    out_dir
        Holds a folder ``UID`` and a file ``UID.sha256`` per series.
    verify
        Check the hashes of complete series, and fetch damaged files again.
    progress
        Returns a display for a download of that many bytes.
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
            f"cannot create the folder: {error.strerror}",
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
                unknown = _unknown(place.uid, settings.index)
                outcomes[place.uid] = Fetched(place.uid, "failed", place.folder, error=unknown)
        known = [place for place in absent if place.uid in entries]
        outcomes |= {done.uid: done for done in job.run(known, entries, out_dir, progress)}
    return [outcomes[place.uid] for place in places]


def _unknown(uid: str, index: Path | None) -> BadInputError:
    return BadInputError(
        "the index lacks the series",
        code="unknown_series",
        file=index,
        field="SeriesInstanceUID",
        found=uid,
        remedy="correct the UID, or install a current idc-index-data",
    )


def delay_s(uid: str, attempt: int, settings: FetchSettings) -> float:
    """Return the wait after ``attempt`` (from 0): doubled each time, minus a jitter that the UID decides."""
    longest = min(settings.max_backoff_s, settings.backoff_s * 2**attempt)
    digest = hashlib.sha256(f"{uid}:{attempt}".encode()).digest()
    return longest * (1 - 0.5 * digest[0] / 255)


class _Meter:
    """Reports the bytes that arrive in one download folder to the shared display."""

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
    """One call of :func:`fetch_series`: its threads, how they stop, and the display."""

    def __init__(self, settings: FetchSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._stop = threading.Event()
        self._display: Progress | None = None
        self._display_lock = threading.Lock()

    def each(self, places: Sequence[Place], work: Callable[[Place], Fetched]) -> list[Fetched]:
        """Return the outcomes of ``work``, ``settings.jobs`` at a time, in order; an interrupt stops all programs."""
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
        """Fetch series that the index has."""
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
        """Turn a series with damaged files back into a download without those files."""
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
                # Another process may have fetched it in the meantime.
                if place.is_complete():
                    _Meter(self._display, self._display_lock, place.folder)()
                    return Fetched(place.uid, "present", place.folder)
                place.open()
                files = self._attempts(place, entry, transfer)
            return Fetched(place.uid, "fetched", place.folder, files, entry.size_bytes)
        except LcsdError as error:
            return Fetched(place.uid, "failed", place.folder, error=error)
        except OSError as error:
            return Fetched(place.uid, "failed", place.folder, error=unwritable(place.folder, error))

    def _attempts(self, place: Place, entry: Entry, transfer: Transfer) -> int:
        meter = _Meter(self._display, self._display_lock, place.part)
        for attempt in range(self._settings.retries + 1):
            try:
                hashes = _attempt(place, entry, transfer, meter)
                break
            except LcsdError as error:
                if error.code in FINAL_CODES or attempt == self._settings.retries:
                    raise
                wait = delay_s(place.uid, attempt, self._settings)
                self._say(f"series {place.uid}: {error.message}; retry in {wait:.1f} s")
                transfer.wait(wait)
        place.close(hashes)
        return len(hashes)

    @contextlib.contextmanager
    def _locked(self, place: Place) -> Iterator[None]:
        def wait(seconds: float) -> None:
            if self._stop.wait(seconds):
                raise Stopped

        def waiting() -> None:
            self._say(f"series {place.uid}: waiting for another process that fetches it")

        with locked(place.lock, wait=wait, waiting=waiting):
            yield


def _attempt(place: Place, entry: Entry, transfer: Transfer, meter: Callable[[], int]) -> dict[str, str]:
    """Download the files that are incomplete, verify all, and return their hashes."""
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
