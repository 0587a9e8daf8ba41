"""Arrays of numpy and torch that hold a displacement field: ``.npz``, ``.npy``, ``.pt``, ``.pth``.

Such a file has no geometry, and says neither the order of its axes nor what its numbers are.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.files import atomic_path, require_file
from lcsd.io.sizes import READ_ERRORS, check_arrays, check_memory
from lcsd.io.tensors import NEEDS_CODE, load_tensors
from lcsd.names import Axes, Layout

TORCH_SUFFIXES = (".pt", ".pth")
ARRAY_SUFFIXES = (".npz", ".npy", *TORCH_SUFFIXES)

KEY = "arr_0"
"""Name that numpy gives to an array without one; Learn2Reg reads it."""

CODE_WORDS = ("Python objects", "Object arrays", NEEDS_CODE)
"""Words of numpy's and torch's errors on files that only code can read."""


def read_array(path: Path, *, key: str | None = None) -> NDArray[Any]:
    """Return the only array in a file, or the one named ``key``, as it is stored.

    Raises ``BadInputError`` if the file is missing, unreadable (``truncated_file``), needs code to be read
    (``needs_pickle``), or holds several arrays and none is named (``several_arrays``).
    """
    require_file(path)
    try:
        arrays = _torch_arrays(path) if path.suffix.lower() in TORCH_SUFFIXES else _numpy_arrays(path)
    except READ_ERRORS as error:
        check_memory(error)
        if any(word in str(error) for word in CODE_WORDS):
            raise _needs_pickle(path) from error
        raise BadInputError(
            "not a readable array", code="truncated_file", file=path, expected=" or ".join(ARRAY_SUFFIXES)
        ) from error
    if key is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if key not in arrays:
        raise BadInputError(
            "the file holds several arrays" if key is None else "the file has no array of this name",
            code="several_arrays",
            file=path,
            field="--key",
            expected="one array, or the name of one",
            found=", ".join(sorted(arrays)) or "none",
        )
    return arrays[key]


def _needs_pickle(path: Path) -> BadInputError:
    return BadInputError(
        "reading the file would run code that it holds",
        code="needs_pickle",
        file=path,
        expected="a tensor or array of plain numbers",
        found="pickled objects",
        remedy="save the field alone: torch.save(flow.cpu(), path), or numpy.save(path, flow)",
    )


def _numpy_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() == ".npy":
        # Mapped first, so that a header that declares more than the file has allocates no memory.
        return {KEY: np.array(np.load(path, allow_pickle=False, mmap_mode="r"))}
    try:
        with zipfile.ZipFile(path) as archive:
            check_arrays(archive)
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (RuntimeError, zipfile.BadZipFile) as error:  # also of encrypted files
        raise ValueError(str(error)) from error


def _torch_arrays(path: Path) -> dict[str, NDArray[Any]]:
    import torch

    content = load_tensors(path)
    named = content if isinstance(content, dict) else {KEY: content}
    return {
        str(name): value.detach().float().numpy() for name, value in named.items() if isinstance(value, torch.Tensor)
    }


def channels_last(array: NDArray[Any], layout: Layout | None, path: Path) -> NDArray[np.float32]:
    """Return an array of vectors with the axis of components last, shape (a, b, c, 3), float32.

    Axes of length 1 before the others (batches) are dropped. ``layout`` says where the axis of components is; None:
    where 3 is. Raises ``BadInputError`` for another shape or kind (``bad_field``), a 3 at both ends
    (``ambiguous_layout``), and NaN or infinite vectors (``non_finite``).
    """
    shape = " x ".join(map(str, array.shape)) or "one number"
    while array.ndim > 4 and array.shape[0] == 1:
        array = array[0]
    first, last = (array.ndim == 4 and array.shape[end] == 3 for end in (0, -1))
    if first and last and layout is None:
        raise BadInputError(
            "the components may be the first or the last axis",
            code="ambiguous_layout",
            file=path,
            found=shape,
            remedy="give --layout first or --layout last",
        )
    wanted = {"first": first, "last": last, None: first or last}[layout]
    if not wanted or array.dtype.kind not in "iuf":
        expected = {"first": "3 x a x b x c", "last": "a x b x c x 3", None: "3 x a x b x c or a x b x c x 3"}[layout]
        raise BadInputError(
            "not a displacement field",
            code="bad_field",
            file=path,
            expected=f"real numbers, {expected}",
            found=f"{array.dtype}, {shape}",
        )
    vectors = array if layout == "last" or not first else np.moveaxis(array, 0, -1)
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise BadInputError("the field has NaN or infinite vectors", code="non_finite", file=path)
    return vectors


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def on_grid(vectors: NDArray[np.float32], grid: Grid, axes: Axes | None, path: Path) -> DisplacementField:
    """Return vectors (a, b, c, 3) as a field whose vectors are as stored, on a grid of as many voxels.

    ``axes`` is the order of the array's axes: ``xyz`` as nibabel has them, ``zyx`` as SimpleITK; None: the one that
    fits the grid. Raises ``BadInputError`` if none fits (``grid_mismatch``), or both do (``ambiguous_axes``).
    """
    found = vectors.shape[:3]
    fits = [order for order, size in (("xyz", grid.size), ("zyx", grid.shape)) if found == size]
    if axes is None and len(fits) == 2:
        raise BadInputError(
            "the axes may have the order x, y, z or z, y, x",
            code="ambiguous_axes",
            file=path,
            found=_size(found),
            remedy="give --axes xyz (an array as nibabel reads it) or --axes zyx (as SimpleITK does)",
        )
    if (axes or "".join(fits)) not in fits:
        raise BadInputError(
            "field and fixed image have different sizes",
            code="grid_mismatch",
            file=path,
            expected=_size(grid.shape if axes == "zyx" else grid.size),
            found=_size(found),
            remedy=f"give --axes {fits[0]}" if fits else "give the registered fixed image as --grid",
        )
    by_slices = vectors if (axes or fits[0]) == "zyx" else vectors.transpose(2, 1, 0, 3)
    return DisplacementField(np.ascontiguousarray(by_slices), grid)


def write_array(path: Path, field: DisplacementField, *, axes: Axes, layout: Layout) -> None:
    """Write the vectors of a field as they are, float32, as :func:`read_array` reads them."""
    ordered = field.vectors if axes == "zyx" else field.vectors.transpose(2, 1, 0, 3)
    save_array(path, np.moveaxis(ordered, -1, 0) if layout == "first" else ordered)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array (``.npz``, ``.npy``) or a tensor (``.pt``, ``.pth``), by the suffix."""
    array = np.ascontiguousarray(array)
    buffer = io.BytesIO()
    if path.suffix.lower() in TORCH_SUFFIXES:
        import torch

        # In memory first, because torch does not report why a file could not be written.
        torch.save(torch.from_numpy(array), buffer)
    elif path.suffix.lower() == ".npy":
        np.save(buffer, array)
    else:
        np.savez_compressed(buffer, array)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
