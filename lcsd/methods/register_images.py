"""The methods by name, and the checks that all of them share."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcsd.corrfield.correspond import find_correspondences
from lcsd.errors import BadInputError, WorkError
from lcsd.io.fields import DisplacementField
from lcsd.methods.child import in_own_process
from lcsd.methods.packages import ants, convexadam, elastix
from lcsd.methods.pair import Pair, check_one_grid
from lcsd.methods.programs import deeds, unigradicon
from lcsd.names import ImageMethod


def corrfield(pair: Pair) -> DisplacementField:
    """Return the field of our own corrfield with its defaults; it has no options here (see ``lcsd correspond``)."""
    if pair.fixed_mask is None:
        raise BadInputError(
            "corrfield needs the region of its keypoints",
            code="missing_mask",
            field="--fixed-mask",
            expected="the lung mask of FIXED",
        )
    if pair.options:
        raise BadInputError(
            "corrfield has no such option",
            code="unknown_option",
            field="--option",
            found=", ".join(pair.options),
            remedy="use lcsd correspond --set",
        )
    return find_correspondences(pair.fixed, pair.moving, pair.fixed_mask).field


@dataclass(frozen=True)
class Method:
    """One method of registration."""

    run: Callable[[Pair], DisplacementField]
    package: str  # on PyPI, or the program; its version is recorded
    one_grid: bool  # whether both scans must be on one grid
    foreign: bool = False  # compiled code of others, which may crash


METHODS: dict[ImageMethod, Method] = {
    "corrfield": Method(corrfield, "lcsd", one_grid=True),
    "convexadam": Method(convexadam, "convexAdam", one_grid=True, foreign=True),
    "elastix": Method(elastix, "itk-elastix", one_grid=False, foreign=True),
    "ants": Method(ants, "antspyx", one_grid=False, foreign=True),
    "deeds": Method(deeds, "deedsBCV", one_grid=True),
    "unigradicon": Method(unigradicon, "unigradicon", one_grid=False),
}


SCRATCH_NUMBERS = 8
"""Numbers per voxel that a method writes for itself: both scans, a field and its inverse."""


def _check_room(pair: Pair) -> None:
    """Refuse to start a method whose own files have no room: programs go on after writing a part of them.

    Raises ``WorkError`` (``cannot_write``).
    """
    folder = Path(tempfile.gettempdir())
    needed = SCRATCH_NUMBERS * np.dtype(np.float32).itemsize * int(np.prod(pair.fixed.grid.size))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WorkError(
            "no room for the method's own files",
            code="cannot_write",
            file=folder,
            expected=f"{needed / 1e6:.0f} MB free",
            found=f"{free / 1e6:.0f} MB",
            remedy="free space there, or set TMPDIR to a folder with more",
        )


def register_images(name: ImageMethod, pair: Pair) -> DisplacementField:
    """Return the displacement field ``y = x + u(x)`` of a method over the fixed scan, LPS mm.

    Packages of compiled code run in a process of their own. Started by ``spawn``, it imports the main program again: a
    script that calls this function needs ``if __name__ == "__main__":``.

    Raises ``BadInputError`` for a mask on another grid, scans on different grids where the method needs one
    (``grid_mismatch``), a package or program that is not installed, and unknown options; ``WorkError`` if the program
    fails or crashes, if there is no room for its own files, or if its field is not finite.
    """
    method = METHODS[name]
    if method.one_grid:
        check_one_grid(name, pair)
    if method.run is not corrfield:
        _check_room(pair)
    field = in_own_process(name, method.run, pair) if method.foreign else method.run(pair)
    bad = int(np.count_nonzero(~np.isfinite(field.vectors).all(axis=-1)))
    if bad:
        raise WorkError(
            f"{name} gave vectors that are NaN or infinite",
            code="non_finite",
            expected="finite vectors",
            found=f"{bad} of {field.vectors[..., 0].size} voxels",
        )
    return field
