"""What every method gets, and what its output must be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lcsd.errors import BadInputError, WorkError
from lcsd.io.images import Image

MOST_CHARACTERS = 300
"""Of a program's output, in the message of its failure."""


@dataclass(frozen=True)
class Pair:
    """Two scans that are registered.

    ``fixed`` and ``moving`` are CT in HU, arrays (z, y, x), in one LPS space; masks are on the grid of their scan.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)  # of the program, by its own names


def missing_package(method: str, package: str) -> BadInputError:
    """Return the error of a method whose package is not installed."""
    return BadInputError(
        f"the method {method} needs the package {package}",
        code="missing_package",
        field="--method",
        remedy="pip install 'lcsd[methods]'",
    )


def program_failed(name: str, said: str, *, found: str = "", expected: str = "a registration") -> WorkError:
    """Return the error of a program that failed; ``said`` is what it printed, of which the end is shown."""
    end = " / ".join(line.strip() for line in said.splitlines() if line.strip()[:1].isalnum())[-MOST_CHARACTERS:]
    return WorkError(
        f"{name} failed",
        code="program_failed",
        expected=expected,
        found=": ".join(part for part in (found, end) if part),
    )


def check_one_grid(method: str, pair: Pair) -> None:
    """Refuse scans on different grids for a method that compares voxel with voxel (``grid_mismatch``)."""
    if not pair.fixed.grid.same_as(pair.moving.grid):
        raise BadInputError(
            f"{method} needs both scans on one grid",
            code="grid_mismatch",
            field="MOVING",
            expected=f"{pair.fixed.grid.size} voxels of {_rounded(pair.fixed)} mm from the same origin",
            found=f"{pair.moving.grid.size} voxels of {_rounded(pair.moving)} mm",
            remedy="bring both to one grid with lcsd prealign",
        )


def _rounded(image: Image) -> tuple[float, ...]:
    return tuple(round(step, 3) for step in image.grid.spacing)
