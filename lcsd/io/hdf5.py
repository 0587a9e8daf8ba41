"""Erase the times that HDF5 stores in its files, so that equal content gives equal bytes.

Libraries that write HDF5 for others, such as ITK, do not let their callers leave the times out.
"""

import mmap
import struct
from pathlib import Path

OBJECT = b"OHDR\x02"
"""Begin of the header of an object, version 2."""

TIMES, PHASES, WIDTH = 0x20, 0x10, 0x03
"""Flags of a header: it has times; it has limits for attributes; size of the field with its length, a power of two."""

TIMES_BYTES, PHASES_BYTES, SUM_BYTES = 16, 4, 4
WORD = 0xFFFFFFFF


def erase_times(path: Path) -> None:
    """Set all times of an HDF5 file to zero, in place, and correct the check sums of the headers that hold them.

    Source: HDF5 File Format Specification 3.0, section IV.A.1.b; only headers whose check sum is right are touched, so
    that data which look like one stay.
    """
    with path.open("r+b") as handle, mmap.mmap(handle.fileno(), 0) as content:
        start = content.find(OBJECT)
        while start >= 0:
            _erase(content, start)
            start = content.find(OBJECT, start + 1)


def _erase(content: mmap.mmap, start: int) -> None:
    first = start + len(OBJECT) + 1
    if len(content) < first + TIMES_BYTES + PHASES_BYTES + 8:
        return
    flags = content[first - 1]
    at = first + TIMES_BYTES * bool(flags & TIMES) + PHASES_BYTES * bool(flags & PHASES)
    width = 1 << (flags & WIDTH)
    end = at + width + int.from_bytes(content[at : at + width], "little")
    if not flags & TIMES or end + SUM_BYTES > len(content) or _stored(content, end) != lookup3(content[start:end]):
        return
    content[first : first + TIMES_BYTES] = bytes(TIMES_BYTES)
    content[end : end + SUM_BYTES] = lookup3(content[start:end]).to_bytes(SUM_BYTES, "little")


def _stored(content: mmap.mmap, end: int) -> int:
    return int.from_bytes(content[end : end + SUM_BYTES], "little")


def lookup3(data: bytes) -> int:
    """Return the check sum of HDF5's metadata: Bob Jenkins' ``hashlittle`` of 2006, from 0."""
    a = b = c = (0xDEADBEEF + len(data)) & WORD
    padded = data + bytes(-len(data) % 12)
    for at in range(0, len(padded), 12):
        x, y, z = struct.unpack_from("<III", padded, at)
        a, b, c = (a + x) & WORD, (b + y) & WORD, (c + z) & WORD
        if at + 12 < len(padded):
            a, b, c = _mixed(a, b, c)
    return _final(a, b, c) if data else c


def _turned(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & WORD


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        # One step for each of a, b, c in turn, which then change places.
        a = ((a - c) & WORD) ^ _turned(c, bits)
        c = (c + b) & WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, bits)) & WORD
        a, b, c = b, c, a
    return b
