"""Read ``.pth`` files of datasets: tensors only, never code."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.tensors import NEEDS_CODE, load_tensors


def read_torch(path: Path, expected: str) -> Any:
    """Return the content of a ``.pth`` file; ``expected`` names it in errors.

    Raises ``BadInputError`` (``bad_torch_file``) if it is damaged or needs pickled code, which could do anything.
    """
    try:
        return load_tensors(path)
    except ValueError as error:
        found = "pickled code" if NEEDS_CODE in str(error) else f"a damaged file ({str(error)[:60]})"
        raise _refused(path, expected, found) from error


def numbers_of(part: object, columns: int | None, path: Path, expected: str) -> NDArray[np.float64]:
    """Return a tensor as numbers, (N, columns) or (N,) if ``columns`` is None; finite, at least one.

    Raises ``BadInputError`` (``bad_torch_file``) for anything else.
    """
    import torch

    if not isinstance(part, torch.Tensor):
        raise _refused(path, expected, type(part).__name__)
    shape = "x".join(map(str, part.shape)) or "one number"
    wanted = part.dim() == (1 if columns is None else 2) and (columns is None or part.shape[1] == columns)
    if not wanted or not len(part):
        raise _refused(path, expected, f"a tensor {shape}")
    numbers = part.to(torch.float64).numpy()
    if not np.isfinite(numbers).all():
        raise _refused(path, expected, "numbers that are not finite")
    return np.asarray(numbers)


def _refused(path: Path, expected: str, found: str) -> BadInputError:
    return BadInputError(
        "not the content of this dataset's file, without code",
        code="bad_torch_file",
        file=path,
        expected=expected,
        found=found,
        remedy="download it again; a file that needs code is never opened",
    )
