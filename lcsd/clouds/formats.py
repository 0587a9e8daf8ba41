"""Point clouds in the formats of other programs, read into LPS mm and written back in their own format.

Each reader keeps the other content of the file (columns, faces, point data), so that moved points can be written into a
copy of it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lcsd.clouds.vtk import check_kind, updated
from lcsd.errors import BadInputError
from lcsd.geometry import flip_lps_ras
from lcsd.io.files import atomic_path, not_whole, require_file
from lcsd.io.point_columns import declared_frame
from lcsd.io.point_tables import PointTable, read_point_table
from lcsd.io.points import Cloud, check_points, read_cloud, write_cloud
from lcsd.io.sizes import check_ply, check_vtp
from lcsd.io.tables import all_numbers, check_columns
from lcsd.io.tensors import load_tensors
from lcsd.names import CloudFrame, TableFrame, Unit

Points = NDArray[Any]
Labels = NDArray[np.uint8] | None
Writer = Callable[[Path, Points], None]
"""Writes points, in the frame and unit of the file, to a new path."""

MM_PER = {"mm": 1.0, "m": 1000.0}
LABEL = "label"
"""Name of the column, property or array with the structure of each point."""

AXES = "xyz"

SPACE = "SPACE"
"""Name of the array in which Slicer stores the frame of a VTK file."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Separators of written tables; others have blanks."""

TENSOR_KEYS = ("points", "pos", "xyz", "coords", "vertices")
"""Possible names of the points in a dictionary of tensors."""


@dataclass(frozen=True)
class CloudFile:
    """A cloud in LPS mm, and a function that writes other points in its place.

    ``write(path, points)`` writes points (N, 3) in LPS mm, one per point of the cloud, atomically in the format, frame
    and unit of the file. ``suffix`` is lower case, such as ``.ply``. ``frame`` and ``unit`` are those in which the file
    was read.
    """

    cloud: Cloud
    suffix: str
    write: Writer
    frame: CloudFrame = "lps"
    unit: Unit = "mm"


@dataclass(frozen=True)
class _Content:
    """What a file holds, in its own frame and unit, and what it says about them; None if it says nothing."""

    points: Points
    write: Writer
    labels: Labels = None
    radius: Points | None = None
    frame: TableFrame | None = None
    unit: Unit | None = None


def _labels(values: Any, path: Path) -> Labels:
    """Return structure labels as bytes, or raise ``BadInputError``."""
    found = np.asarray(values)
    if found.shape and (found != found.astype(np.uint8)).any():
        raise BadInputError(
            "labels must be small whole numbers",
            code="bad_labels",
            file=path,
            field=LABEL,
            expected="0 to 255",
            found=f"{found.min()} to {found.max()}",
        )
    return found.astype(np.uint8)


def _exact(points: Points, moved: Points) -> Points:
    """Return moved points in the type of the file's own, or in a wider one that holds fractions of a millimetre."""
    return moved.astype(np.promote_types(points.dtype, np.float32))


def _read_npy(path: Path) -> _Content:
    # Mapped first, so that a header that declares more than the file has allocates no memory.
    points = np.array(np.load(path, allow_pickle=False, mmap_mode="r"))

    def write(to: Path, moved: Points) -> None:
        with to.open("wb") as handle:
            np.save(handle, _exact(points, moved))

    return _Content(points, write)


def _radius(table: PointTable) -> Points | None:
    """Return the radius of each point; None without a column of it, or if some rows lack it."""
    if table.radius is None:
        return None
    found = all_numbers(table.cells.column(table.radius))
    return None if found is None else found.astype(np.float32)


def _read_table(path: Path) -> _Content:
    """Read a table as :func:`lcsd.io.point_tables.read_point_table`; x, y, z by name if there are names."""
    table = read_point_table(path, tree=path.suffix.lower() == ".swc")
    if table.columns is None:
        if not table.named:
            raise ValueError(f"{table.cells.shape[1]} columns")
        check_columns([str(name) for name in table.cells.columns], path, required=("x", "y", "z"))
    columns = [*(table.columns or ())]
    lower = {str(name).lower(): name for name in table.cells.columns}
    # Slicer's tables have names of points in this column.
    more = [lower[LABEL]] if LABEL in lower and "r" not in lower and "l" not in lower else []
    wanted = [*columns, *more]
    found = table.cells.numbers(wanted, path)

    def write(to: Path, moved: Points) -> None:
        moved_table = table.cells
        for axis, column in enumerate(columns):
            moved_table = moved_table.with_column(column, [f"{value:.6g}" for value in moved[:, axis]])
        with to.open("w", encoding="utf-8", newline="") as handle:
            handle.write(table.head)
            separator = SEPARATORS.get(path.suffix.lower(), " ")
            moved_table.write(handle, separator=separator, header=table.named)

    return _Content(
        found[:, :3],
        write,
        labels=_labels(found[:, 3], path) if more else None,
        radius=_radius(table),
        frame=table.frame,
        unit=table.unit,
    )


def _read_ply(path: Path) -> _Content:
    import plyfile

    check_ply(path)
    with path.open("rb") as stream:
        content = plyfile.PlyData.read(stream, mmap=False)
        rest = b"" if content.text else stream.read()
    if content.text:
        rows = [line for line in path.read_bytes().partition(b"end_header")[2].splitlines() if line.strip()]
        rest = b"".join(rows[sum(len(element.data) for element in content.elements) :])
    if rest.strip(b"\0\r\n\t "):
        raise ValueError("the file holds more than its header declares")
    vertex = content["vertex"]
    points = np.stack([vertex[axis] for axis in AXES], axis=1)
    names = [item.name for item in vertex.properties]
    labels = _labels(vertex[LABEL], path) if LABEL in names else None

    def write(to: Path, moved: Points) -> None:
        exact = _exact(points, moved)
        for item in vertex.properties:
            item.val_dtype = exact.dtype.str[1:] if item.name in AXES else item.val_dtype
        vertex.data = vertex.data.astype(
            [(name, exact.dtype if name in AXES else vertex.data.dtype[name]) for name in names]
        )
        for column, axis in enumerate(AXES):
            vertex.data[axis] = exact[:, column]
        content.write(str(to))

    frame = declared_frame("\n".join([*content.comments, *content.obj_info]), path)
    return _Content(points, write, labels, frame=frame)


def _read_vtk(path: Path) -> _Content:
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkIOLegacy import vtkPolyDataReader, vtkPolyDataWriter
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLPolyDataWriter

    xml = path.suffix.lower() == ".vtp"
    if xml:
        check_vtp(path)
    else:
        check_kind(path)
    reader = vtkXMLPolyDataReader() if xml else vtkPolyDataReader()
    reader.SetFileName(str(path))
    # After an error the arrays keep their full length, partly uninitialised.
    complaints = updated(reader)
    if complaints:
        raise ValueError(complaints)
    content = reader.GetOutput()
    if content is None or content.GetPoints() is None:
        raise ValueError("no points in a PolyData")
    points = vtk_to_numpy(content.GetPoints().GetData()).copy()
    array = content.GetPointData().GetArray(LABEL)
    labels = None if array is None else _labels(vtk_to_numpy(array), path)
    header = reader.GetHeader() if isinstance(reader, vtkPolyDataReader) else ""

    def write(to: Path, moved: Points) -> None:
        content.GetPoints().SetData(numpy_to_vtk(_exact(points, moved), deep=True))
        writer = vtkXMLPolyDataWriter() if xml else vtkPolyDataWriter()
        if isinstance(writer, vtkPolyDataWriter):
            writer.SetHeader(header)
        writer.SetFileName(str(to))
        writer.SetInputData(content)
        if not writer.Write() or writer.GetErrorCode():
            raise not_whole()

    array = content.GetFieldData().GetAbstractArray(SPACE)
    in_fields = [] if array is None else [f"{SPACE}={array.GetValue(row)}" for row in range(array.GetNumberOfValues())]
    return _Content(points, write, labels, frame=declared_frame("\n".join([header, *in_fields]), path))


def _read_torch(path: Path) -> _Content:
    import torch

    content = load_tensors(path)
    key = None
    if isinstance(content, dict):
        key = next((name for name in TENSOR_KEYS if name in content), None)
        if key is None:
            raise ValueError(f"none of the entries {', '.join(TENSOR_KEYS)}")
    found = content if key is None else content[key]
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"a {type(found).__name__}, not a tensor")
    batched = found.dim() == 3 and len(found) == 1
    points = (found[0] if batched else found).numpy()
    labels = None
    if key is not None and isinstance(content.get(LABEL), torch.Tensor):
        labels = _labels(content[LABEL].numpy().reshape(-1), path)

    def write(to: Path, moved: Points) -> None:
        tensor = torch.as_tensor(moved).to(torch.promote_types(found.dtype, torch.float32)).reshape(found.shape)
        # In memory first, because torch does not report why a file could not be written.
        buffer = io.BytesIO()
        torch.save(tensor if key is None else {**content, key: tensor}, buffer)
        to.write_bytes(buffer.getbuffer())

    return _Content(points, write, labels)


_READERS: dict[str, tuple[Callable[[Path], _Content], str]] = {
    ".npy": (_read_npy, "an array (N, 3)"),
    **dict.fromkeys((".csv", ".tsv"), (_read_table, "a table with columns x, y, z or three number columns first")),
    **dict.fromkeys(
        (".txt", ".pts", ".xyz", ".asc"),
        (_read_table, "rows of at least three numbers, separated by white space or commas"),
    ),
    ".swc": (_read_table, "a tree with node, type, x, y, z, radius, parent"),
    ".ply": (_read_ply, "a PLY file with vertices x, y, z"),
    ".vtk": (_read_vtk, "a legacy VTK file of PolyData"),
    ".vtp": (_read_vtk, "an XML VTK file of PolyData"),
    ".pth": (_read_torch, "a tensor (N, 3), or a dictionary with one, without code"),
}

SUFFIXES = (".npz", *_READERS)
"""Formats that :func:`read_cloud_file` reads."""


def _to_lps_mm(points: Points, frame: CloudFrame, unit: Unit) -> Points:
    world = np.asarray(points, dtype=np.float64) * MM_PER[unit]
    return flip_lps_ras(world) if frame == "ras" else world


def _from_lps_mm(points: Points, frame: CloudFrame, unit: Unit) -> Points:
    world = np.asarray(points, dtype=np.float64)
    return (flip_lps_ras(world) if frame == "ras" else world) / MM_PER[unit]


def _read_own(path: Path, frame: CloudFrame, unit: Unit) -> CloudFile:
    cloud = read_cloud(path)
    world = _to_lps_mm(cloud.points, frame, unit).astype(np.float32)

    def write(to: Path, moved: Points) -> None:
        own = _from_lps_mm(moved, frame, unit).astype(np.float32)
        write_cloud(to, Cloud(own, cloud.index, cloud.label, cloud.radius, cloud.weight))

    own = Cloud(world, cloud.index, cloud.label, cloud.radius, cloud.weight, cloud.meta)
    return CloudFile(own, ".npz", write, frame, unit)


def _agreed(given: str | None, stated: str | None, default: str, *, option: str, path: Path) -> str:
    """Return what the user or the file says; raise ``BadInputError`` (``contradicting_frame``) if they differ."""
    if stated == "voxel":
        raise BadInputError(
            "the points are voxel indices",
            code="voxel_cloud",
            file=path,
            expected="mm",
            found="voxels",
            remedy="multiply them by the voxel size and direction and add the origin of their image",
        )
    if given is not None and stated is not None and given != stated:
        raise BadInputError(
            f"the file itself names another {option}",
            code="contradicting_frame",
            file=path,
            field=f"--{option}",
            expected=stated,
            found=given,
            remedy=f"leave out --{option}, or correct the file",
        )
    return given or stated or default


def read_cloud_file(path: Path, *, frame: CloudFrame | None = None, unit: Unit | None = None) -> CloudFile:
    """Return the cloud in a file of any format in ``SUFFIXES``, selected by the suffix.

    An array, column or property named ``label`` becomes the label of the cloud, the radius of an SWC tree its radius;
    code in ``.pth`` does not run. ``frame`` and ``unit`` are the file's; None: what the file says itself (SPACE=RAS in
    a header or comment, columns r, a, s or x_mm), otherwise LPS mm.

    Raises ``BadInputError`` if the suffix is unknown, the file unreadable, the points missing, not (N, 3), not finite
    or voxels (``voxel_cloud``), the labels outside 0 to 255 or not one per point, or ``frame`` or ``unit`` contradicts
    the file (``contradicting_frame``); for tables also as :func:`lcsd.io.point_tables.read_point_table`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_own(path, frame or "lps", unit or "mm")
    content = _content(path, suffix)
    agreed_frame = cast(CloudFrame, _agreed(frame, content.frame, "lps", option="frame", path=path))
    agreed_unit = cast(Unit, _agreed(unit, content.unit, "mm", option="unit", path=path))

    def write(to: Path, moved: Points) -> None:
        with atomic_path(to) as temporary:
            content.write(temporary, _from_lps_mm(moved, agreed_frame, agreed_unit))

    world = _to_lps_mm(content.points, agreed_frame, agreed_unit).astype(np.float32)
    radius = None if content.radius is None else (content.radius * MM_PER[agreed_unit]).astype(np.float32)
    found = Cloud(world, label=content.labels, radius=radius, meta={"source": path.name})
    return CloudFile(found, suffix, write, agreed_frame, agreed_unit)


def _content(path: Path, suffix: str) -> _Content:
    """Return the checked content of a file of another program."""
    if suffix not in _READERS:
        raise BadInputError(
            "unknown cloud format",
            code="unknown_format",
            file=path,
            expected=", ".join(SUFFIXES),
            found=suffix or "no suffix",
        )
    read, expected = _READERS[suffix]
    require_file(path)
    try:
        content = read(path)
    except (BadInputError, MemoryError):
        raise
    except Exception as error:  # each library has its own errors; none is swallowed
        text = " ".join(str(error).split())
        raise BadInputError(
            f"not a readable cloud ({text})", code="bad_cloud_file", file=path, expected=expected
        ) from error
    check_points(content.points, file=path)
    if content.labels is not None and len(content.labels) != len(content.points):
        raise BadInputError(
            "labels and points differ in number",
            code="length_mismatch",
            file=path,
            field=LABEL,
            expected=len(content.points),
            found=len(content.labels),
        )
    return content
