"""Read NRRD and MetaImage volumes (.nrrd, .nhdr, .mha, .mhd).

ITK reads the voxels. The geometry is taken from the text of the header: ITK ignores units and some
spaces of NRRD, and puts volumes without a position at the origin.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import LPS_SIGNS, Grid, flip_lps_ras
from lcsd.io.files import HEADER_BYTES, detached_data, require_file
from lcsd.io.itk import itk_path, warnings_of_itk
from lcsd.io.sizes import check_voxels

NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
VOLUME_SUFFIXES = NRRD_SUFFIXES + META_SUFFIXES

MM_PER_UNIT = {
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters", "millimetres"), 1.0),
    **dict.fromkeys(("um", "\xb5m", "\u03bcm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e3),
}

BYTES_OF_TYPE = {"char": 1, "short": 2, "int": 4, "long": 4, "longlong": 8, "float": 4, "double": 8}
"""Least size of a voxel, by the last word of its type."""

COMPONENTS = 3
"""Of a vector of displacement."""

SCALES = {"elementtointensityfunctionslope": "1", "elementtointensityfunctionoffset": "0", "oldmin": "", "oldmax": ""}
"""Fields of MetaImage and NRRD that say how the stored voxels became other ones, and what they say of plain voxels."""

CHUNK_BYTES = 1 << 20
AUTOMATIC = 32
"""Added to zlib's window bits: the stream itself says whether it is zlib's or gzip's."""

GZIP_MAGIC = b"\x1f\x8b"

LPS = "left-posterior-superior"

_NRRD_FIELD = re.compile(r"([^:=#][^:]*):\s+(.*)|([^:=#][^:]*):\s*$")
_NRRD_PAIR = re.compile(r"([^:=#][^:]*):=(.*)")
"""A key of a program's own, apart from the format's fields."""

_META_FIELD = re.compile(r"(\w+)\s*=\s*(.*)")
_NUMBER = r"[^,()\s]+"
_VECTOR = re.compile(rf"\(\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)")


@dataclass(frozen=True)
class _Header:
    """What the text of a header says."""

    path: Path
    fields: Mapping[str, str]  # names in lower case, without blanks
    size: int  # bytes of the header, which the voxels follow unless they are in another file

    def numbers(self, name: str, count: int) -> NDArray[np.float64]:
        """Return the numbers of a field; refuse a missing field or another count."""
        text = self.fields.get(name, "")
        try:
            values = np.array([float(word) for word in re.split(r"[\s,()]+", text) if word])
        except ValueError:
            values = np.empty(0)
        if len(values) != count or not np.isfinite(values).all():
            raise self.refused("the header does not place the volume", name, f"{count} numbers", text or "none")
        return values

    def refused(self, what: str, name: str, expected: str, found: str, *, code: str = "no_geometry") -> BadInputError:
        """Return the error of a header that cannot be used."""
        remedy = "export the file again with its geometry, or as NIfTI"
        return BadInputError(
            what, code=code, file=self.path, field=name, expected=expected, found=found[:60], remedy=remedy
        )


def is_volume(path: Path) -> bool:
    """Return whether a file name ends like NRRD or MetaImage."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path) -> tuple[NDArray[Any], Grid]:
    """Return the voxels (z, y, x), in the type of the file, and the grid of a NRRD or MetaImage volume.

    Raises ``BadInputError`` for a missing, truncated or foreign file, or one whose data file is missing
    (``missing_file``, ``truncated_file``), anything but one scalar per voxel in three axes (``not_3d``,
    ``bad_type``), values that the header scales (``scaled_values``), and a header without position, orientation, known
    space or known unit (``no_geometry``).
    """
    return _read(path, 1)


def read_vector_volume(path: Path) -> tuple[NDArray[Any], Grid]:
    """Return the vectors (z, y, x, 3) of a NRRD or MetaImage volume as stored, and its grid; errors as read_volume.

    A NRRD has the components on its first axis, and its space must be left-posterior-superior: programs disagree about
    the frame of the vectors in another space.
    """
    return _read(path, COMPONENTS)


def _read(path: Path, channels: int) -> tuple[NDArray[Any], Grid]:
    require_file(path)
    nrrd = path.name.lower().endswith(NRRD_SUFFIXES)
    header = _read_header(path, _NRRD_FIELD if nrrd else _META_FIELD)
    data = detached_data(path)
    if data is not None:
        require_file(data)
    _check_scale(header)
    size, item = (_nrrd_voxels if nrrd else _meta_voxels)(header, channels)
    _check_length(header, size, item * channels, data)
    affine = np.eye(4)
    affine[:3] = flip_lps_ras((_nrrd_affine(header) if nrrd else _meta_affine(header)).T).T
    grid = Grid.from_affine_ras(affine, (size[0], size[1], size[2]))
    return _voxels(path, size, channels, "NrrdImageIO" if nrrd else "MetaImageIO"), grid


def _read_header(path: Path, pattern: re.Pattern[str]) -> _Header:
    """Return the fields up to an empty line, or up to the one that names the data file."""
    with path.open("rb") as handle:
        head = handle.read(HEADER_BYTES)
    fields, size = {}, 0
    for line in head.splitlines(keepends=True):
        size += len(line)
        text = _decoded(line).strip()
        found, pair = pattern.fullmatch(text), _NRRD_PAIR.fullmatch(text)
        if pair is not None:
            fields["".join(pair[1].lower().split()) + ":="] = pair[2].strip()
        elif found is not None:
            name, value = found[1], found[2]
            fields["".join((name or found[3]).lower().split())] = value or ""
        if not text or "elementdatafile" in fields:
            break
    if "type" not in fields and "elementtype" not in fields:
        raise _unreadable(path, "its header has no type")
    return _Header(path, fields, size)


def _check_scale(header: _Header) -> None:
    """Refuse voxels that the header scales: ITK would return them as they are stored."""
    for name, plain in SCALES.items():
        text = header.fields.get(name, plain).strip()
        if text != plain and _number(text) != _number(plain):
            what = "the header says that the stored values are scaled"
            raise header.refused(what, name, plain or "no such field", text, code="scaled_values")


def _number(text: str) -> float:
    """Return the number in a field; NaN, which equals none, for anything else."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _unreadable(path: Path, why: str) -> BadInputError:
    return BadInputError(
        f"not a readable volume ({why})",
        code="truncated_file",
        file=path,
        expected=f"one of {', '.join(VOLUME_SUFFIXES)}, as ITK writes it",
        remedy="copy or export the file again",
    )


def _size(header: _Header, name: str, axes: str, stored: str, wanted: int) -> list[int]:
    """Return the voxels along three axes; refuse other dimensions, and another number of values per voxel."""
    what = "not a 3-D volume" if wanted == 1 else "not a field of vectors"
    counted = stored or "1"
    if header.fields.get(axes, "").strip() != "3" or counted != str(wanted):
        found = f"{header.fields.get(axes) or 'no'} axes, {counted} values per voxel"
        values = "one value" if wanted == 1 else f"{wanted} values"
        raise header.refused(what, axes, f"three axes, {values} per voxel", found, code="not_3d")
    return _long_enough(header, name, [int(value) for value in header.numbers(name, 3)])


def _long_enough(header: _Header, name: str, size: list[int]) -> list[int]:
    if min(size) < 2:
        raise header.refused("not a 3-D volume", name, "at least 2 voxels per axis", str(size), code="not_3d")
    return size


def _item(header: _Header, name: str, words: Sequence[str]) -> int:
    words = [re.sub(r"^u(?=[a-z])(?!nsigned)", "", word) for word in words]
    for word in reversed(words):
        plain = re.sub(r"\d+(_t)?$|_t$", "", word)
        digits = re.search(r"(\d+)(_t)?$", word)
        if digits and plain == "int":
            return int(digits[1]) // 8
        if plain in BYTES_OF_TYPE:
            return 8 if words.count("long") > 1 and plain in ("long", "int") else BYTES_OF_TYPE[plain]
    raise header.refused(
        "voxels are not plain numbers", name, "integers or floats", header.fields[name], code="bad_type"
    )


def _nrrd_voxels(header: _Header, channels: int) -> tuple[list[int], int]:
    kinds = header.fields.get("kinds", "").split()
    item = _item(header, "type", header.fields["type"].lower().split())
    if channels == 1:
        odd = next((kind for kind in kinds if kind not in ("domain", "space", "???", "none")), "")
        return _size(header, "sizes", "dimension", odd, 1), item
    what, space = "not a field of vectors", header.fields.get("space", "").strip().strip('"').lower()
    if header.fields.get("dimension", "").strip() != "4" or not (kinds and kinds[0].endswith("vector")):
        expected, found = "four axes, the first of kind vector", " ".join(kinds) or "no kinds"
        raise header.refused(what, "kinds", expected, found, code="not_3d")
    if space not in (LPS, "lps"):
        raise header.refused("the frame of the vectors is not known", "space", LPS, space or "none")
    _check_vectors(header)
    components, *size = (int(value) for value in header.numbers("sizes", 4))
    if components != channels:
        raise header.refused(what, "sizes", f"{channels} components", str(components), code="not_3d")
    return _long_enough(header, "sizes", size), item


def _check_vectors(header: _Header) -> None:
    """Refuse vectors that a NRRD header turns around or puts into a frame of their own."""
    kind = header.fields.get("displacementfieldtype:=", "resampling")  # 3D Slicer's
    if kind != "resampling":
        raise header.refused(
            "the vectors lead from the moving to the fixed scan", "displacement field type", "resampling", kind
        )
    frame = header.fields.get("measurementframe", "")
    if frame and not np.array_equal(_vectors(frame), np.eye(3)):
        raise header.refused("the vectors have a frame of their own", "measurement frame", "the identity", frame)


def _meta_voxels(header: _Header, channels: int) -> tuple[list[int], int]:
    stored = header.fields.get("elementnumberofchannels", "").strip()
    size = _size(header, "dimsize", "ndims", stored, channels)
    words = header.fields["elementtype"].lower().removeprefix("met_").split("_")
    if "array" in words:
        raise header.refused("not a 3-D volume", "ElementType", "one value per voxel", "arrays", code="not_3d")
    return size, _item(header, "elementtype", words)


def _check_length(header: _Header, size: list[int], item: int, data: Path | None) -> None:
    """Refuse a file that has not as many bytes as its voxels; ITK would read from the wrong place, or print."""
    fields = header.fields
    coding = fields.get("encoding", "raw").lower()
    text = coding in ("txt", "text", "ascii", "hex")
    packed = not text and (coding != "raw" or fields.get("compresseddata", "").lower() == "true")
    check_voxels(size, 1 if text else item, data or header.path, packed=packed)
    skipped = fields.get("headersize") or fields.get("byteskip") or "0"
    if packed and coding in ("raw", "gz", "gzip") and "lineskip" not in fields and skipped.isdigit():
        start = int(skipped) + (0 if data else header.size)
        _check_packed(header, data or header.path, start, math.prod(size) * item)
    declared = fields.get("compresseddatasize", "") if packed else str(math.prod(size) * item)
    # A negative skip means that the voxels end the file; lines to skip have any length.
    if header.size >= HEADER_BYTES or text or "lineskip" in fields or not skipped.isdigit() or not declared.isdigit():
        return
    held = (data or header.path).stat().st_size - (0 if data else header.size) - int(skipped)
    if held < int(declared) or (held > int(declared) and not packed):
        raise _unreadable(header.path, f"{held} bytes of voxels, {declared} expected")


def _check_packed(header: _Header, path: Path, start: int, expected: int) -> None:
    """Refuse deflated voxels whose check sum or number is wrong: ITK prints a line or nothing, and returns noise."""
    unpacked, rest = 0, b""
    try:
        with path.open("rb") as handle:
            handle.seek(start)
            while rest or (rest := handle.read(CHUNK_BYTES)):
                stream = zlib.decompressobj(zlib.MAX_WBITS | AUTOMATIC)
                while not stream.eof:
                    part = rest or handle.read(CHUNK_BYTES)
                    if not part:
                        raise EOFError("its end is missing")
                    unpacked += len(stream.decompress(part, CHUNK_BYTES))
                    rest = stream.unconsumed_tail
                    if unpacked > expected:
                        raise EOFError("it holds more voxels")
                rest = stream.unused_data if stream.unused_data.startswith(GZIP_MAGIC) else b""
                if not rest:
                    break
    except (zlib.error, EOFError) as error:
        raise _unreadable(header.path, f"its packed voxels are damaged: {error}") from error
    if unpacked != expected:
        raise _unreadable(header.path, f"{unpacked} bytes of voxels, {expected} expected")


def _unit(header: _Header, name: str, word: str) -> float:
    scale = MM_PER_UNIT.get(word.strip().strip('"').lower())
    if scale is None:
        raise header.refused("the unit of length is not known", name, "mm, um, cm or m", word)
    return scale


def _vectors(text: str) -> NDArray[np.float64]:
    """Return the vectors of a NRRD field, one a row; empty if they are no numbers."""
    try:
        return np.array([[float(word) for word in vector] for vector in _VECTOR.findall(text)])
    except ValueError:
        return np.empty(0)


def _nrrd_affine(header: _Header) -> NDArray[np.float64]:
    """Return the 3 x 4 matrix from voxels to LPS mm of a NRRD header (teem's definition of the format)."""
    space = header.fields.get("space", "").strip().strip('"').lower()
    signs = LPS_SIGNS.get("".join(word[:1] for word in space.split("-")) if "-" in space else space)
    if signs is None:
        expected = "left-posterior-superior or right-anterior-superior"
        raise header.refused("the header does not say in which space it is", "space", expected, space or "none")
    directions = _vectors(header.fields.get("spacedirections", ""))
    if directions.shape != (3, 3):
        what = "the header does not place the volume"
        raise header.refused(what, "space directions", "three vectors", header.fields.get("spacedirections") or "none")
    origin = header.numbers("spaceorigin", 3)
    named = header.fields.get("spaceunits", "")
    units = re.findall(r'"([^"]*)"', named) if named.strip() else ["mm"] * 3
    if len(units) != 3:
        raise header.refused("the units of length are not readable", "space units", 'three such as "mm"', named)
    scales = [_unit(header, "space units", unit) for unit in units]
    return np.column_stack([directions.T, origin]) * (signs * np.array(scales))[:, None]


def _meta_affine(header: _Header) -> NDArray[np.float64]:
    """Return the 3 x 4 matrix from voxels to LPS mm of a MetaImage header; a row of TransformMatrix is an axis."""
    spacing = header.numbers("elementspacing", 3)
    names = header.fields
    origin = header.numbers(next((name for name in ("offset", "position", "origin") if name in names), "offset"), 3)
    turned = next((name for name in ("transformmatrix", "rotation", "orientation") if name in names), None)
    axes = np.eye(3) if turned is None else header.numbers(turned, 9).reshape(3, 3)
    scale = _unit(header, "DistanceUnits", names.get("distanceunits") or "mm")
    return np.column_stack([axes.T * spacing, origin]) * scale


def _voxels(path: Path, size: list[int], channels: int, reader: str) -> NDArray[Any]:
    try:
        with warnings_of_itk():
            image = sitk.ReadImage(itk_path(path), imageIO=reader)
    except RuntimeError as error:
        raise _unreadable(path, "its voxels cannot be read") from error
    array = sitk.GetArrayFromImage(image)
    expected = (*reversed(size), *([] if channels == 1 else [channels]))
    if array.shape != expected:
        raise _unreadable(path, f"{math.prod(array.shape)} numbers, {math.prod(expected)} expected")
    return array
