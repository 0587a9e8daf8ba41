"""Errors that a user can act on: one line, with a stable reason code."""

import difflib
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

INSTALLATION_FAULTS = frozenset(
    {
        "bad_usage",
        "build_ended",
        "unknown_device",
        "no_cuda",
        "missing_package",
        "missing_program",
        "no_totalsegmentator",
        "unknown_version",
        "trainer_import",
        "weights_missing",
        "weights_truncated",
        "weights_of_another_task",
        "weights_changed",
        "weights_not_plain",
    }
)
"""Codes of faults of the call, the build, the machine or the installation; no case is rejected for them."""

MACHINE_FAULTS = INSTALLATION_FAULTS | {"system_error", "cannot_write", "disk_full"}
"""Codes of faults that would stop every other scan, too: those of the installation, and of disks."""


def printable(text: str) -> str:
    """Return a text as one line without control characters, which could move a terminal's cursor.

    Parts of a text, such as names, may come from a file.
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _encodable(value: object) -> str | None:
    """Return a value as text that UTF-8 can encode; names of files may have other bytes."""
    return None if value is None else str(value).encode(errors="backslashreplace").decode()


class LcsdError(Exception):
    """A failure that is reported as one line, without a traceback: ``what`` went wrong, in words.

    ``code`` is a stable snake_case reason code, for tables and scripts. Optional, and shown in the message, are the
    file; the ``field``: column, key or voxel property; the expected and the found value; and what the user should do.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        code: str,
        file: str | Path | None = None,
        field: str | None = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.code = code
        self.file = _encodable(file)
        self.field = field
        self.expected = _encodable(expected)
        self.found = _encodable(found)
        self.remedy = remedy
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Callable[..., "LcsdError"], tuple[Any, ...]]:
        """Travel between processes whole: by default only the message would."""
        parts = {name: value for name, value in vars(self).items() if name != "what"}
        return functools.partial(type(self), **parts), (self.what,)

    @property
    def complaint(self) -> str:
        """What is wrong and in which field, for a reader who knows the file."""
        return f"{self.field}: {self.what}" if self.field else self.what

    @property
    def message(self) -> str:
        """The whole error as one line."""
        text = f"{self.file}: {self.complaint}" if self.file else self.complaint
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.found is not None:
            text += f"; found {self.found}"
        if self.remedy is not None:
            text += f"; {self.remedy}"
        return f"{printable(text)} [{self.code}]"

    def to_dict(self) -> dict[str, str | None]:
        """Return the parts as a mapping for ``rejected.json``."""
        return {
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "field": self.field,
            "expected": self.expected,
            "found": self.found,
            "remedy": self.remedy,
        }


class BadInputError(LcsdError):
    """The input or the call is wrong (exit code 2)."""

    exit_code = 2


class WorkError(LcsdError):
    """The input is good but the work failed (exit code 1)."""

    exit_code = 1


def unwritable(path: Path, error: OSError, *, field: str | None = None) -> WorkError:
    """Return the error of a file or folder that cannot be written."""
    return WorkError(
        f"cannot write: {error.strerror or error}",
        code="cannot_write",
        file=path,
        field=field,
        remedy="check the folder's permissions and free space",
    )


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return a remedy with the known name that is most similar to ``name``; None if none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean {by_lower[near[0]]}?" if near else None
