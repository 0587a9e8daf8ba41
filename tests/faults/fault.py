"""A named fault: cause, the command that meets it, and what must come of it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

Kind = Literal["DICOM", "NIfTI", "geometry", "stage", "system", "hostile"]


@dataclass(frozen=True)
class Place:
    """Where a fault is tried.

    Parameters
    ----------
    folder
        Empty folder of this fault alone.
    patch
        Changes of the environment and of modules, undone afterwards.
    stack
        What must be ended afterwards, such as a server.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    stack: ExitStack

    @property
    def inputs(self) -> Path:
        """Folder of what the command reads."""
        return self.folder / "inputs"

    @property
    def out(self) -> Path:
        """Folder of what the command writes."""
        return self.folder / "out"

    @property
    def rejected(self) -> Path:
        """The record of the case."""
        return self.folder / "case" / "rejected.json"

    @property
    def canary(self) -> Path:
        """A file that only code from an input would make."""
        return self.folder / "canary"


@dataclass(frozen=True)
class Fault:
    """A row of the catalogue.

    Parameters
    ----------
    command
        Word behind ``lcsd``.
    name
        Unique, snake_case.
    how
        What is wrong and cause, in words.
    make
        Brings it about; returns the words of the call of ``lcsd``.
    code
        Reason code; empty if the command must succeed all the same.
    words
        Part of the line that a user reads.
    exit_code
        2: the input is wrong; 1: the work failed; 0: nothing lost.
    behind
        Words before the program, which then runs in a process of its own.
    records
        Whether the command can record why the case was rejected.
    chatty
        Whether lines of information come before the error.
    prints
        Part of what the command prints as its result.
    """

    command: str
    name: str
    kind: Kind
    how: str
    make: Callable[[Place], list[str]]
    code: str
    words: str
    exit_code: int = 2
    behind: Callable[[Place], list[str]] | None = None
    records: bool = True
    chatty: bool = False
    prints: str = ""
