"""Reject files whose header declares more data than the file holds.

A header of a few bytes may declare terabytes, and readers allocate that memory before they look for the data.
"""

import errno
import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.files import HEADER_BYTES
from lcsd.io.nifti import HeaderDataError, ImageFileError

READ_ERRORS = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError)
"""Errors of nibabel on missing, truncated and foreign files."""

DEFLATE_MOST = 1032
"""Largest ratio of unpacked to deflated bytes (zlib's manual)."""

MOST_NUMBERS = 1 << 32
"""Voxels in a volume: a scan of 1024 x 1024 x 4096."""

MOST_POINTS = 50_000_000
"""Points in a cloud: 400 times the largest cloud of the published dataset."""

MOST_CLOUD_BYTES = 1 << 32
"""Bytes of all arrays of a cloud, unpacked: ``MOST_POINTS`` points with all their attributes."""

ARRAY_HEADER_BYTES = 1000
"""Largest header of an array, ten times what numpy writes: it is parsed as Python, and deep nesting takes memory."""

_PLY_ELEMENT = re.compile(rb"^element\s+\S+\s+(\S+)", re.MULTILINE)
_VTP_COUNT = re.compile(rb"""NumberOf\w+\s*=\s*["']([^"']*)["']""")


def check_memory(error: BaseException) -> None:
    """Raise ``MemoryError`` if reading failed only for lack of memory: the file is good."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        raise MemoryError from error


def check_nifti(volume: Any, path: Path) -> None:
    """Refuse a nibabel image, its data not read yet, that declares more voxels than its file holds."""
    packed = path.name.lower().endswith(".gz")
    check_voxels(volume.shape, int(volume.get_data_dtype().itemsize), path, packed=packed)


def check_voxels(shape: Sequence[int], item: int, path: Path, *, packed: bool) -> None:
    """Refuse a volume of ``item`` bytes per voxel that declares more voxels than ``path`` holds; ``packed``: deflated.

    Raises ``BadInputError``: ``truncated_file``, or ``too_large`` for more voxels than ``MOST_NUMBERS``.
    """
    numbers = math.prod(int(n) for n in shape)
    if numbers > MOST_NUMBERS:
        raise BadInputError(
            "the header declares more voxels than any scan has",
            code="too_large",
            file=path,
            field="shape",
            expected=f"at most {MOST_NUMBERS}",
            found=numbers,
            remedy="export the file again",
        )
    most = path.stat().st_size * (DEFLATE_MOST if packed else 1)
    declared = numbers * item
    if declared > most:
        raise BadInputError(
            "the file is too short for its voxels",
            code="truncated_file",
            file=path,
            expected=f"{declared} bytes",
            found=f"at most {most}",
            remedy="copy or export the file again",
        )


def check_arrays(archive: zipfile.ZipFile) -> None:
    """Raise ``ValueError`` for a ``.npz`` whose arrays declare more values than it holds, or more than a cloud has."""
    total = sum(entry.file_size for entry in archive.infolist())
    if total > MOST_CLOUD_BYTES:
        raise ValueError(f"{total} bytes unpacked, more than any cloud has")
    for entry in archive.infolist():
        with archive.open(entry) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            try:
                shape, _, dtype = read(stream, max_header_size=ARRAY_HEADER_BYTES)
            except tokenize.TokenError as error:
                raise ValueError(f"{entry.filename} has no header") from error
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename} declares more values than it has")


def check_ply(path: Path) -> None:
    """Raise ``ValueError`` for a PLY file that declares more elements than it has bytes."""
    with path.open("rb") as handle:
        head = handle.read(HEADER_BYTES).partition(b"end_header")[0]
    _check_counts(_PLY_ELEMENT.findall(head), path.stat().st_size)


def check_vtp(path: Path) -> None:
    """Raise ``ValueError`` for a VTK XML file with entities, or with counts that it cannot hold.

    VTK never writes entities. A count for which there is no memory would end the process.
    """
    content = path.read_bytes()
    if b"<VTKFile" not in content or re.search(rb"<!(DOCTYPE|ENTITY)", content):
        raise ValueError("not an XML file of VTK")
    _check_counts(_VTP_COUNT.findall(content), DEFLATE_MOST * len(content))


def _check_counts(texts: list[bytes], most: int) -> None:
    for text in texts:
        if not text.strip().isdigit():
            raise ValueError(f"not a count: {text[:20]!r}")
        digits = text.strip().lstrip(b"0") or b"0"
        if len(digits) > len(str(MOST_POINTS)) or int(digits) > min(most, MOST_POINTS):
            declared = digits[:20].decode()
            raise ValueError(f"{declared} elements declared, more than the file holds")
