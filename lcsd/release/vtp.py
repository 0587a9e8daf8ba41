"""Clouds as VTK PolyData (``.vtp``) for viewers, one vertex cell per point.

The writer uses no library, so its bytes do not depend on a version. The format is described in
"The VTK User's Guide", chapter "VTK XML file formats".
"""

import base64
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.io.files import atomic_path

BLOCK_BYTES = 1 << 15
"""Bytes per compressed block; 32 KiB is VTK's default."""

COMPRESSION = 6

_TYPES = {"float32": "Float32", "int32": "Int32", "uint8": "UInt8"}
_HEADER = np.dtype("<u4")


def _encoded(array: NDArray[Any]) -> str:
    """Return an array as VTK's compressed inline data: header and blocks, each in base64."""
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    packed = [zlib.compress(block, COMPRESSION) for block in blocks]
    last = len(data) % BLOCK_BYTES
    sizes = [len(blocks), BLOCK_BYTES, last, *map(len, packed)]
    header = np.array(sizes, dtype=_HEADER).tobytes()
    return (base64.b64encode(header) + base64.b64encode(b"".join(packed))).decode()


def _element(parent: ET.Element, name: str, array: NDArray[Any]) -> None:
    attributes = {"type": _TYPES[array.dtype.name], "Name": name, "format": "binary"}
    if array.ndim == 2:
        attributes["NumberOfComponents"] = str(array.shape[1])
    ET.SubElement(parent, "DataArray", attributes).text = _encoded(array)


def write_vtp(path: Path, points: NDArray[np.float32], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write points as PolyData with a vertex cell for each; equal points give equal bytes.

    Points have shape (N, 3), LPS mm. ``arrays`` are values per point by name, shape (N,), float32, int32 or uint8.
    """
    count = len(points)
    root = ET.Element(
        "VTKFile",
        type="PolyData",
        version="1.0",
        byte_order="LittleEndian",
        header_type="UInt32",
        compressor="vtkZLibDataCompressor",
    )
    numbers = {"NumberOfPoints": count, "NumberOfVerts": count, "NumberOfLines": 0}
    numbers |= {"NumberOfStrips": 0, "NumberOfPolys": 0}
    piece = ET.SubElement(ET.SubElement(root, "PolyData"), "Piece", {key: str(n) for key, n in numbers.items()})
    data = ET.SubElement(piece, "PointData")
    for name in sorted(arrays):
        _element(data, name, arrays[name])
    _element(ET.SubElement(piece, "Points"), "Points", points)
    cells = ET.SubElement(piece, "Verts")
    _element(cells, "connectivity", np.arange(count, dtype=np.int32))
    _element(cells, "offsets", np.arange(1, count + 1, dtype=np.int32))
    with atomic_path(path) as temporary:
        ET.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def decoded_arrays(content: bytes) -> Iterator[bytes]:
    """Yield the bytes of every array in a file of :func:`write_vtp`, without compression."""
    for element in ET.fromstring(content).iter("DataArray"):  # noqa: S314 - written by lcsd
        text = (element.text or "").strip()
        blocks = int(np.frombuffer(base64.b64decode(text[:8])[:4], dtype=_HEADER)[0])
        header_bytes = _HEADER.itemsize * (3 + blocks)
        header_chars = -(-header_bytes // 3) * 4
        header = base64.b64decode(text[:header_chars])[:header_bytes]
        sizes = np.frombuffer(header, dtype=_HEADER)[3:]
        packed = base64.b64decode(text[header_chars:])
        ends = np.cumsum(sizes)
        yield b"".join(
            zlib.decompress(packed[end - size : end]) for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)
        )
