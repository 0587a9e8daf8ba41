"""The server: binds its address, starts the worker, and erases everything when it ends."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waitress.channel import HTTPChannel
from waitress.receiver import FixedStreamReceiver
from waitress.server import create_server
from waitress.task import ErrorTask
from waitress.utilities import Error

from lcsd.errors import BadInputError, LcsdError, WorkError, unwritable
from lcsd.io.files import json_text
from lcsd.serve.app import create_app, too_large
from lcsd.serve.guard import Guard, is_loopback
from lcsd.serve.jobs import Jobs
from lcsd.serve.offers import Limits

PREFIX = "lcsd-serve-"
LOCK = "lock"

TOKEN_VARIABLE = "LCSD_SERVE_TOKEN"  # noqa: S105 - a name
SHORTEST_TOKEN = 16

THREADS = 8
"""Of the server; they answer, and do no work on data."""

IDLE_SECONDS = 60
"""After which a silent connection is closed."""


@dataclass(frozen=True)
class Address:
    """Where to listen, and under which further names the server is known."""

    host: str = "127.0.0.1"
    port: int = 8000
    names: Sequence[str] = ()


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can read; it is erased afterwards, as are those of killed servers."""
    _erase_left()
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise unwritable(Path(tempfile.gettempdir()), error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _erase_left() -> None:
    """Erase folders of servers that were killed: nobody holds their lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _token(host: str) -> str | None:
    """Return the token of a server that others reach: that of the environment, or a new one."""
    if is_loopback(host):
        return None
    given = os.environ.get(TOKEN_VARIABLE, "")
    if given and len(given) < SHORTEST_TOKEN:
        raise BadInputError(
            "the token is too short",
            code="short_token",
            field=TOKEN_VARIABLE,
            expected=f"at least {SHORTEST_TOKEN} characters",
            found=len(given),
        )
    return given or secrets.token_urlsafe(24)


def _listening(address: Address) -> socket.socket:
    """Return a socket that listens at an address.

    Raises ``BadInputError`` (``port_in_use``, ``bad_address``) if that is not possible.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, place = found[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise BadInputError(
            "another program uses this port" if taken else f"cannot listen there: {error.strerror}",
            code="port_in_use" if taken else "bad_address",
            field="--port" if taken else "--host, --port",
            found=f"{address.host}:{address.port}",
            remedy="choose another --port, or --port 0 for any free one",
        ) from error
    return listener


class _FullError(Error):  # type: ignore[misc]
    """The answer to an upload for which the disk has no room."""

    code = 507
    reason = "Insufficient Storage"


class _Nowhere:
    """A buffer of a request's body that keeps nothing."""

    def append(self, data: bytes) -> None:
        """Forget data."""

    def close(self) -> None:
        """Do nothing."""

    def __len__(self) -> int:
        return 0


def no_room() -> WorkError:
    """Return the error of a temporary folder that is full."""
    return WorkError(
        "the server has no room for this upload",
        code="storage_full",
        remedy="who runs the server must free space in its temporary folder, or start it with another TMPDIR",
    )


def _channel(limits: Limits) -> type[HTTPChannel]:
    """Return the connections of a server, which refuse a request by JSON before its body is read."""

    class Refusal(ErrorTask):  # type: ignore[misc]
        """The answer to a request that the server does not read."""

        def execute(self) -> None:
            """Write the error."""
            error = self.request.error
            problem: LcsdError
            if error.code == 413:
                problem = too_large(limits)
            elif error.code == _FullError.code:
                problem = no_room()
            else:
                problem = BadInputError(str(error.reason).lower(), code="bad_request", remedy="see docs/serve.md")
            body = json_text({**problem.to_dict(), "what": problem.what}).encode()
            self.status = f"{error.code} {error.reason}"
            self.response_headers += [("Content-Type", "application/json"), ("Connection", "close")]
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    class Channel(HTTPChannel):  # type: ignore[misc]
        """A connection."""

        error_task_class = Refusal

        def received(self, data: bytes) -> bool:
            """Take a part of a request; without room for its body, read the rest to the end and then refuse it."""
            try:
                return bool(super().received(data))
            except OSError as error:
                request = self.request
                body = getattr(request, "body_rcv", None)
                if error.errno != errno.ENOSPC or not isinstance(body, FixedStreamReceiver):
                    raise
                # Nothing of this part was counted, so it is taken again.
                request.error, body.buf = _FullError(""), _Nowhere()
                return bool(super().received(data))

    return Channel


def serve(address: Address, limits: Limits, *, say: Callable[[str], None], show: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; ``say`` gets the lines for the user, ``show`` opens a browser.

    Raises ``BadInputError`` (``port_in_use``, ``bad_address``, ``short_token``), ``WorkError`` (``cannot_write``,
    ``linux_only``).
    """
    if sys.platform != "linux":
        raise WorkError(
            "lcsd serve runs on Linux only: other systems do not enforce the memory limit of its worker",
            code="linux_only",
            found=sys.platform,
            remedy="use lcsd register, or run the server on a Linux machine",
        )
    token = _token(address.host)
    listener = _listening(address)
    # Before anything is stored or said: a signal that ended the process would leave the files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with private_folder() as folder, contextlib.closing(Jobs(folder, limits)) as jobs:
        app = create_app(jobs, Guard.of(address.host, address.names, token=token), limits)
        server: Any = create_server(
            app,
            sockets=[listener],
            threads=THREADS,
            ident="",
            max_request_body_size=limits.upload_bytes,
            channel_timeout=IDLE_SECONDS,
            clear_untrusted_proxy_headers=True,
        )
        server.channel_class = _channel(limits)
        shown = f"[{address.host}]" if ":" in address.host else address.host
        place = f"http://{shown}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
        with contextlib.suppress(KeyboardInterrupt):  # its loop ends quietly, but a signal may come before it
            say(f"serving at {place} (Ctrl+C ends it; uploads and results are erased then)")
            free = shutil.disk_usage(folder).free
            if free < limits.upload_bytes:
                say(f"warning: {folder.parent} has only {free >> 20} MiB for uploads and results; set TMPDIR")
            if show:
                webbrowser.open(place)
            server.run()
        server.close()
    say("ended; all uploads and results are erased")
