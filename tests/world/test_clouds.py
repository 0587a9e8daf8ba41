"""Clouds as other programs write them: the right points, or a refusal."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from click.testing import CliRunner

from lcsd.cli.register import command as register
from lcsd.clouds.formats import read_cloud_file
from lcsd.divroc.checks import doubts
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import Cloud
from lcsd.readings.overlap import check_in_image, check_overlap

POINTS = np.random.default_rng(4).normal(0, 60, (40, 3)).round(2)
RAS = POINTS * [-1, -1, 1]
RADIUS = np.linspace(1, 4, 40).round(2)


def rows(*columns: object, separator: str = " ") -> str:
    """Return columns, each (N,) or (N, C), as lines of text."""
    parts = [np.asarray(part, dtype=object).reshape(len(POINTS), -1) for part in columns]
    return "".join(separator.join(map(str, row)) + "\n" for row in np.hstack(parts).tolist())


COUNT = np.arange(len(POINTS))
TREE = np.r_[-1, COUNT[:-1]]


@dataclass(frozen=True)
class Row:
    """An input, where it was reported, and its outcome: None for the right points, or a reason code."""

    kind: str
    source: str
    name: str
    content: str
    code: str | None = None


CSV = {"separator": ","}


def commas(*columns: object, separator: str = " ") -> str:
    """Return columns as lines of text whose numbers have decimal commas."""
    return rows(*columns, separator="|").replace(".", ",").replace("|", separator)


PLY = (
    "ply\nformat ascii 1.0\nelement vertex {}\n"
    + "".join(f"property float {axis}\n" for axis in "xyz")
    + "end_header\n"
)
VTK = "# vtk DataFile Version 5.1\n{}\nASCII\nDATASET POLYDATA\nPOINTS 40 float\n"
SLICER_TABLE = "label,{},defined,selected,visible,locked,description\n"


def slicer_rows(points: np.ndarray) -> str:
    return rows([f"F-{n}" for n in COUNT], points, np.ones((40, 3), int), np.zeros(40, int), [""] * 40, separator=",")


def swc(size: float = 1.0) -> str:
    return rows(COUNT, np.full(40, 2), (POINTS * size).round(2), RADIUS, TREE)


def fixed(width: int) -> str:
    """Return columns of a width that large numbers may fill."""
    return "".join("".join(f"{value:{width}.2f}" for value in row) + "\n" for row in POINTS)


def thousands(separator: str) -> str:
    large = np.abs(POINTS) * 1000 + 1000
    return rows([[f"{value:,.2f}" for value in row] for row in large], separator=separator)


TABLE = [
    Row("index", "Open3D 1379", "a.txt", rows(COUNT, POINTS), "index_column"),
    Row("index", "Open3D 3017", "a.csv", rows(COUNT + 1, POINTS, **CSV), "index_column"),
    Row("index", "tried here", "a.txt", rows(COUNT[::-1], POINTS), "index_column"),
    Row("index", "tried here", "a.txt", rows(3 * COUNT + 17, POINTS, RADIUS), "index_column"),
    Row("index", "tried here", "a.txt", rows(np.full(40, 2), POINTS), "index_column"),
    Row("index", "np.savetxt", "a.txt", rows([f"{n:.18e}" for n in COUNT], POINTS), "index_column"),
    Row("index", "pandas", "a.csv", "0,1,2\n" + rows(POINTS, **CSV), "index_column"),
    Row("index", "pandas", "a.csv", ",x,y,z\n" + rows(COUNT, POINTS, **CSV)),
    Row("names", "CloudCompare 380", "a.csv", "name, x, y, z\n" + rows([f"p{n}" for n in COUNT], POINTS, **CSV)),
    Row("names", "tried here", "a.csv", "id,x_mm,y_mm,z_mm\n" + rows(COUNT, POINTS, **CSV)),
    Row("names", "tried here", "a.csv", "X [mm],Y [mm],Z [mm]\n" + rows(POINTS, **CSV)),
    Row("names", "pandas", "a.csv", "x,y,z,radius\n" + rows(POINTS, ["", *["1.5"] * 39], **CSV)),
    Row("names", "tried here", "a.csv", "x_m,y_m,z_m\n" + rows((POINTS / 1000).round(5), **CSV)),
    Row("names", "tried here", "a.csv", "x_um,y_um,z_um\n" + rows(POINTS * 1000, **CSV), "bad_unit"),
    Row("names", "Imaris", "a.csv", "ID,Position X,Position Y,Position Z\n" + rows(COUNT, POINTS, **CSV)),
    Row("names", "ParaView", "a.csv", '"Radius","Points:0","Points:1","Points:2"\n' + rows(RADIUS, POINTS, **CSV)),
    Row("names", "tried here", "a.csv", "x_ras,y_ras,z_ras\n" + rows(RAS, **CSV)),
    Row("names", "tried here", "a.csv", "i,j,k\n" + rows(POINTS, **CSV), "voxel_cloud"),
    Row("names", "tried here", "a.csv", "i,j,k,x,y,z\n" + rows(COUNT, COUNT, COUNT, POINTS, **CSV)),
    Row("names", "tried here", "a.csv", "x,y,z,x_mm,y_mm,z_mm\n" + rows(POINTS, POINTS, **CSV), "ambiguous_columns"),
    Row("names", "tried here", "a.csv", "a,b,c\n" + rows(POINTS, **CSV), "missing_column"),
    Row("names", "np.savetxt", "a.txt", "# z y x\n" + rows(POINTS[:, ::-1])),
    Row("names", "np.savetxt", "a.txt", "# made by hand\n# id x y z\n" + rows(COUNT, POINTS)),
    Row("names", "PDAL 1508", "a.txt", "//X;Y;Z;Rf;Gf\n" + rows(POINTS, RADIUS, RADIUS, separator=";")),
    Row("names", "PDAL 1508", "a.txt", "//X;Y;Z\n40\n" + rows(POINTS, separator=";")),
    Row("count", "pyntcloud 241", "a.pts", "40\n" + rows(POINTS, COUNT % 7, np.full((40, 3), 130))),
    Row("count", "pyntcloud 241", "a.pts", "41\n" + rows(POINTS), "bad_count"),
    Row("seven columns", "KITTI_VIZ_3D 4", "a.txt", rows(POINTS, RADIUS, np.full((40, 3), 9))),
    Row("seven columns", "tried here", "a.csv", rows(POINTS, COUNT, COUNT, RADIUS, TREE, **CSV)),
    Row("SWC", "NeuroM 835", "a.swc", rows(COUNT, np.full(40, 3), POINTS, RADIUS, TREE)),
    Row("SWC", "igneous 186", "a.txt", rows(COUNT[::-1], np.zeros(40, int), POINTS, RADIUS, TREE[::-1])),
    Row("SWC", "AllenSDK 2651", "a.swc", rows(COUNT, np.full(40, 2), POINTS, RADIUS, np.r_[COUNT[1:], -1])),
    Row("SWC", "NeuroM 858", "a.swc", rows(COUNT, np.full(40, 2), POINTS, RADIUS, TREE + 108), "bad_tree"),
    Row(
        "SWC",
        "tried here",
        "a.csv",
        "node,type,x,y,z,radius,parent\n" + rows(COUNT, COUNT, POINTS, RADIUS, TREE, **CSV),
    ),
    Row("elastix", "SimpleElastix 229", "a.txt", "point\n40\n" + rows(POINTS).replace("\n", "\n\n")),
    Row("elastix", "RegNet 13", "a.pts", "index\n40\n" + rows(POINTS.round()), "voxel_cloud"),
    Row("elastix", "elastix 19", "a.txt", "point\n" + rows(POINTS), "bad_count"),
    Row("Slicer's table", "Slicer", "a.csv", SLICER_TABLE.format("r,a,s") + slicer_rows(RAS)),
    Row("Slicer's table", "Slicer", "a.csv", SLICER_TABLE.format("l,p,s") + slicer_rows(POINTS)),
    Row("Slicer's table", "Slicer", "a.tsv", (SLICER_TABLE.format("r,a,s") + slicer_rows(RAS)).replace(",", "\t")),
    Row("frame", "Slicer 4445", "a.vtk", VTK.format("3D Slicer output. SPACE=RAS") + rows(RAS)),
    Row("frame", "SlicerGitSVNArchive 1309", "a.vtk", VTK.format("3D Slicer output. SPACE=LPS") + rows(POINTS)),
    Row("frame", "medInria 697", "a.vtk", VTK.format("no frame") + rows(POINTS)),
    Row("frame", "tried here", "a.vtk", VTK.format("SPACE=LAI") + rows(POINTS), "unknown_frame"),
    Row("frame", "Morpho 17", "a.txt", "# CoordinateSystem = 0\n" + rows(RAS)),
    Row("frame", "SlicerMorph 82", "a.csv", "# coordinateSystem: RAS\nx,y,z\n" + rows(RAS, **CSV)),
    Row("frame", "tried here", "a.txt", "# converted from RAS\n" + rows(POINTS)),
    Row("frame", "tried here", "a.txt", "# source space: RAS, written in LPS\n" + rows(POINTS)),
    Row("frame", "tried here", "a.csv", "# in RAS mm\nl,p,s\n" + rows(POINTS, **CSV), "contradicting_frame"),
]


TABLE += [
    # Silent before: -39,11,-10,48,99,82 was the point (-39, 11, -10).
    Row("decimal commas", "umap-project/umap 1556", "a.csv", commas(POINTS, separator=","), "bad_number"),
    Row("decimal commas", "umap-project/umap 159", "a.csv", commas(POINTS, separator=";"), "bad_number"),
    Row("decimal commas", "GeoDaCenter/geoda 123", "a.tsv", commas(POINTS, separator="\t"), "bad_number"),
    Row("decimal commas", "unitycoder/UnityPointCloudViewer 69", "a.txt", commas(POINTS), "bad_number"),
    Row("decimal commas", "openMVG/openMVG 98", "a.ply", PLY.format(40) + commas(POINTS), "bad_cloud_file"),
    Row("decimal commas", "made up", "a.txt", rows(POINTS).replace("9", "9_9", 1), "bad_number"),
    # Silent before: points of another size.
    Row("unit", "jaxleyverse/jaxley 477", "a.swc", '# Meta: {"units": "1 nanometer"}\n' + swc(1e6), "bad_unit"),
    Row("unit", "fiji/SNT 36", "a.swc", "# SCALE 0.5 0.5 2\n" + swc(), "bad_unit"),
    Row("SWC", "made up", "a.swc", "# SCALE 1.0 1.0 1.0\n" + swc()),
    Row("unit", "made up", "a.txt", "# units: cm\n" + rows((POINTS / 10).round(3)), "bad_unit"),
    Row("unit", "made up", "a.csv", "# units: cm\nx,y,z\n" + rows((POINTS / 10).round(3), **CSV), "bad_unit"),
    Row("unit", "made up", "a.txt", "# unit is metres\n" + rows((POINTS / 1000).round(5))),
    Row("unit", "made up", "a.csv", "# units: m\nx_mm,y_mm,z_mm\n" + rows(POINTS, **CSV), "bad_unit"),
    Row("unit", "made up", "a.txt", "# units: mm, in the frame of the scan\n" + rows(POINTS)),
    # Called an unknown format before.
    Row("endings", "PointCloudLibrary/pcl 3952", "a.xyz", rows(POINTS)),
    Row("endings", "Oslandia/py3dtiles 54", "a.xyz", rows(POINTS, np.full((40, 3), 200))),
    Row("endings", "MeshInspector/MeshLib 2293", "a.asc", "//X Y Z R G B\n" + rows(POINTS, np.full((40, 3), 9))),
    Row("endings", "made up", "a.xyz", "40\nfrom a chemist\n" + rows(["C"] * 40, POINTS), "bad_count"),
    Row("separator", "rap2hpoutre/fast-excel 327", "a.csv", "sep=;\nx;y;z\n" + rows(POINTS, separator=";")),
    Row("separator", "PowerShell/PowerShell 7776", "a.csv", "sep=,\nx,y,z\n" + rows(POINTS, **CSV)),
    Row("separator", "close2/csv 68", "a.csv", '\ufeff"sep=;"\nx;y;z;\n' + rows(POINTS, [""] * 40, separator=";")),
    Row("separator", "made up", "a.csv", "sep=\t\n# made by hand\nx\ty\tz\n" + rows(POINTS, separator="\t")),
    Row("line ends", "made up", "a.csv", ("\ufeffx;y;z\n" + rows(POINTS, separator=";")).replace("\n", "\r\n")),
    Row("fixed width", "DOI-USGS/ISIS3 3910", "a.txt", fixed(9)),
    Row("fixed width", "DOI-USGS/ISIS3 3910", "a.txt", fixed(7), "bad_row"),
    # Silent before: 1,100.25,2,200.50 was the point (1, 100.25, 2).
    Row("thousands", "SheetJS/ssf 22", "a.csv", thousands(","), "bad_number"),
    Row("thousands", "SheetJS/ssf 22", "a.csv", "x;y;z\n" + thousands(";"), "bad_number"),
    Row("thousands", "made up", "a.txt", rows(POINTS).replace("-", "\u2212"), "bad_number"),
    # Silent before: one point, or the first three.
    Row("columns", "made up", "a.txt", " ".join(map(str, POINTS.ravel())) + "\n", "transposed_points"),
    Row(
        "columns",
        "made up",
        "a.txt",
        "".join(" ".join(map(str, axis)) + "\n" for axis in POINTS.T),
        "transposed_points",
    ),
    Row("columns", "MATLAB", "a.txt", "% x y z\n" + rows(POINTS)),
    # Silent before: a point that was not placed was one at the origin.
    Row(
        "Slicer's table",
        "Slicer 5325",
        "a.csv",
        SLICER_TABLE.format("l,p,s") + slicer_rows(POINTS) + "F,0,0,0,0,1,1,0,\n",
    ),
    # Silent before: a PLY was read to the count in its header.
    Row("count", "kornia/kornia 4113", "a.ply", PLY.format(39) + rows(POINTS), "bad_cloud_file"),
    Row("count", "mariolukas/FabScanPi-Server 133", "a.ply", PLY.format(40) + rows(POINTS) + "\n"),
    Row(
        "grid",
        "tkeskita/io_mesh_vtk 1",
        "a.vtk",
        VTK.replace("POLYDATA", "UNSTRUCTURED_GRID").format("a grid") + rows(POINTS),
        "bad_cloud_file",
    ),
]


def written(folder: Path, row: Row) -> Path:
    path = folder / row.name
    path.write_text(row.content, encoding="utf-8")
    return path


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.kind}-{row.source}".replace(" ", "_"))
def test_points_are_right_or_refused(tmp_path: Path, row: Row) -> None:
    path = written(tmp_path, row)
    if row.code is not None:
        with pytest.raises(BadInputError) as caught:
            read_cloud_file(path)
        assert caught.value.code == row.code
        assert caught.value.exit_code == 2
        return
    found = read_cloud_file(path)
    np.testing.assert_allclose(found.cloud.points, POINTS, atol=0.02)
    assert (found.cloud.radius is not None) == (row.kind == "SWC" or "Radius" in row.content)
    if found.cloud.radius is not None:
        np.testing.assert_allclose(found.cloud.radius, RADIUS)


@pytest.mark.parametrize("row", [row for row in TABLE if row.code is None], ids=lambda row: f"{row.kind}-{row.source}")
def test_moved_points_keep_what_the_file_says(tmp_path: Path, row: Row) -> None:
    found = read_cloud_file(written(tmp_path, row))
    copy = tmp_path / f"copy{found.suffix}"
    found.write(copy, POINTS + 5)
    np.testing.assert_allclose(read_cloud_file(copy).cloud.points, POINTS + 5, atol=0.02)


def whole_ply(path: Path) -> None:
    vertex = np.array([*map(tuple, POINTS.round())], dtype=[(axis, "i2") for axis in "xyz"])
    plyfile.PlyData([plyfile.PlyElement.describe(vertex, "vertex")]).write(str(path))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", lambda path: np.save(path, POINTS.round().astype(np.int16))),
        ("half.npy", lambda path: np.save(path, (POINTS.round() - 900).astype(np.float16))),
        ("a.ply", whole_ply),
        ("a.vtk", lambda path: path.write_text(VTK.replace("float", "int").format("") + rows(POINTS.astype(int)))),
        ("a.pth", lambda path: torch.save(torch.as_tensor(POINTS.round()).int(), path)),
    ],
)
def test_moved_points_keep_fractions(name: str, write: Callable[[Path], object], tmp_path: Path) -> None:
    """CloudCompare 1433: whole coordinates. Silent before: moved points were cut off to whole millimetres, too."""
    write(tmp_path / name)
    found = read_cloud_file(tmp_path / name)
    found.write(tmp_path / f"b_{name}", found.cloud.points + 0.375)
    moved = read_cloud_file(tmp_path / f"b_{name}").cloud.points
    np.testing.assert_allclose(moved, found.cloud.points + 0.375, atol=1e-3)


def ply(path: Path) -> None:
    vertex = np.array([*map(tuple, RAS)], dtype=[(axis, "f4") for axis in "xyz"])
    element = plyfile.PlyElement.describe(vertex, "vertex")
    plyfile.PlyData([element], text=True, comments=["3D Slicer output. SPACE=RAS"]).write(str(path))


def vtp(path: Path) -> None:
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints, vtkStringArray
    from vtkmodules.vtkCommonDataModel import vtkPolyData
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    points, content, space = vtkPoints(), vtkPolyData(), vtkStringArray()
    points.SetData(numpy_to_vtk(RAS, deep=True))
    content.SetPoints(points)
    space.SetName("SPACE")
    space.InsertNextValue("RAS")
    content.GetFieldData().AddArray(space)
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(content)
    writer.Write()


@pytest.mark.parametrize("write", [ply, vtp])
def test_frames_in_meshes_of_slicer(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """SlicerGitSVNArchive 798: comments of PLY, field data of VTK."""
    path, copy = tmp_path / f"a.{write.__name__}", tmp_path / f"b.{write.__name__}"
    write(path)
    found = read_cloud_file(path)
    np.testing.assert_allclose(found.cloud.points, POINTS, atol=1e-4)
    found.write(copy, POINTS + 5)
    np.testing.assert_allclose(read_cloud_file(copy).cloud.points, POINTS + 5, atol=1e-3)


def test_an_option_must_not_contradict_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.vtk"
    path.write_text(VTK.format("SPACE=RAS") + rows(RAS))
    np.testing.assert_allclose(read_cloud_file(path, frame="ras").cloud.points, POINTS, atol=1e-4)
    with pytest.raises(BadInputError, match=r"\[contradicting_frame\]"):
        read_cloud_file(path, frame="lps")


@pytest.mark.parametrize(
    "content",
    [
        rows(POINTS, RADIUS),
        rows(POINTS.round(), RADIUS),
        rows(POINTS.round(), COUNT, COUNT),
        rows(np.sort(POINTS, axis=0), COUNT),
        rows(np.zeros(40), POINTS[:, 1:]),
        rows(COUNT, POINTS[:, 1:]),
        "0 1 2\n1 2 3\n2 3 4\n",
        "0.5 1 2 3\n1.5 1 2 3\n2.5 1 2 3\n",
    ],
)
def test_plain_numbers_raise_no_alarm(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    expected = np.array([[*map(float, line.split()[:3])] for line in content.splitlines()])
    np.testing.assert_allclose(read_cloud_file(path).cloud.points, expected, rtol=1e-6)


def tree_points(count: int = 3000) -> np.ndarray:
    """Return points of two lungs, LPS mm: each an ellipsoid that is wider at the back and at the feet."""
    rng = np.random.default_rng(1)
    x, y, z = rng.uniform(-1, 1, (3, 4 * count))
    inside = x**2 + y**2 + z**2 < 1
    x, y, z = x[inside], y[inside], z[inside]
    side = np.where(rng.random(len(x)) < 0.55, -1, 1)
    width = 1 - 0.3 * z + 0.2 * y
    lungs = np.stack([side * (75 + 8 * (side < 0)) + 55 * x * width, -150 + 85 * y * width, -900 + 130 * z], axis=1)
    return lungs[:count]


def at(*mm: float) -> np.ndarray:
    return np.array(mm, dtype=float)


LUNGS = tree_points()
TURN = np.array([-1, -1, 1])


def breathed(points: np.ndarray, size: float = 1.0) -> np.ndarray:
    """Return points after a breath of up to 30 mm, nearly all at the base."""
    depth = np.clip((-770 - points[:, 2:]) / 260, 0, 1)
    return points + size * np.array([1.0, -8.0, 24.0]) * depth


@pytest.mark.parametrize(
    ("fixed", "moving", "code"),
    [
        (LUNGS, breathed(LUNGS)[::2] * TURN, "frame_mismatch"),
        (LUNGS * TURN, breathed(LUNGS)[::2], "frame_mismatch"),
        (LUNGS + at(5, 150, 900), (breathed(LUNGS) + at(5, 150, 900))[::2] * TURN, "frame_mismatch"),
        (LUNGS, breathed(LUNGS)[::2, ::-1], "frame_mismatch"),
        (LUNGS, breathed(LUNGS)[1::2], None),
        (LUNGS, breathed(LUNGS)[1::2] + at(3, 90, 40), None),
        (LUNGS + at(0, 110, 0), breathed(LUNGS)[1::2] + at(0, 190, 0), None),
        (LUNGS + at(0, 150, 0), breathed(LUNGS)[LUNGS[:, 0] > 0] + at(0, 150, 0), None),
        (LUNGS[LUNGS[:, 0] < 0], breathed(LUNGS)[LUNGS[:, 2] < -900], None),
        (LUNGS[:30], breathed(LUNGS[:30]) * TURN, None),
        (LUNGS, breathed(LUNGS, -1.0)[1::2], None),
    ],
)
def test_clouds_of_two_frames(tmp_path: Path, fixed: np.ndarray, moving: np.ndarray, code: str | None) -> None:
    """Slicer 4445: one cloud in LPS, one in RAS. A shift, a strong breath or half of a lung is none."""
    if code is None:
        check_overlap(fixed, moving, file=tmp_path)
        return
    with pytest.raises(BadInputError) as caught:
        check_overlap(fixed, moving, file=tmp_path)
    assert caught.value.code == code


@pytest.mark.slow
def test_register_names_the_options(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", LUNGS)
    np.save(tmp_path / "m.npy", breathed(LUNGS) * TURN)
    call = [str(tmp_path / "f.npy"), str(tmp_path / "m.npy"), "--out-dir", str(tmp_path / "o")]
    result = CliRunner().invoke(register, call)
    assert result.exit_code == 2
    assert "--moving-frame ras" in result.output
    assert "[frame_mismatch]" in result.output
    right = CliRunner().invoke(register, [*call, "--moving-frame", "ras", "--fast"])
    assert right.exit_code == 0, right.output


def test_points_at_the_origin_are_none(tmp_path: Path) -> None:
    """giacomodabisias/libfreenect2pclgrabber 11: points that were not measured, or fill up an array; silent before."""
    np.save(tmp_path / "f.npy", LUNGS)
    np.save(tmp_path / "m.npy", np.vstack([breathed(LUNGS)[::2], np.zeros((500, 3))]))
    call = [str(tmp_path / "f.npy"), str(tmp_path / "m.npy"), "--out-dir", str(tmp_path / "o")]
    result = CliRunner().invoke(register, call)
    assert (result.exit_code, "[filled_cloud]" in result.output) == (2, True)


@pytest.mark.parametrize("side", ["f", "m"])
def test_a_runaway_of_repeated_points_is_refused(tmp_path: Path, side: str) -> None:
    """CloudCompare 2091: millions of points at one place hang a filter; registering them took minutes before."""
    for name, points in (("f", LUNGS), ("m", breathed(LUNGS))):
        extra = np.repeat(points[:1], 1_001 if name == side else 1, axis=0)
        np.save(tmp_path / f"{name}.npy", np.vstack([points, extra]))
    call = [str(tmp_path / "f.npy"), str(tmp_path / "m.npy"), "--out-dir", str(tmp_path / "o")]
    result = CliRunner().invoke(register, call)
    assert (result.exit_code, "[repeated_points]" in result.output) == (2, True)
    assert "1002" in result.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("size", "said"), [(0.1, True), (0.04, True), (1.0, False), (4.0, True)])
def test_clouds_of_another_unit_are_said(size: float, said: bool) -> None:
    """No unit is in the file. Clouds in cm were registered without a word."""
    clouds = [Cloud((points * size).astype(np.float32)) for points in (LUNGS, breathed(LUNGS))]
    assert len(doubts(*clouds)) == 2 * said


@pytest.mark.slow
def test_drift_of_thousands_of_points_ends(tmp_path: Path) -> None:
    """gadomski/cpd 142: two clouds of 9,000 points, for which coherent point drift never ended."""
    rng = np.random.default_rng(5)
    many = np.concatenate([LUNGS + rng.normal(0, 1, LUNGS.shape) for _ in range(-(-9_000 // len(LUNGS)))])[:9_000]
    for name, points in (("f", many), ("m", breathed(many))):
        np.save(tmp_path / f"{name}.npy", points)
    call = [str(tmp_path / "f.npy"), str(tmp_path / "m.npy"), "--out-dir", str(tmp_path / "o"), "--method", "cpd"]
    result = CliRunner().invoke(register, [*call, "--set", "cpd.iterations=2"])
    assert result.exit_code == 0, result.output
    assert "1/2" in result.output or "2/2" in result.output  # progress


IMAGE = Grid((200, 160, 150), (2.0, 2.0, 2.0), (-200.0, -300.0, -1060.0))


@pytest.mark.parametrize(
    ("points", "code"),
    [
        (LUNGS, None),
        (LUNGS + at(0, 60, 90), None),
        (LUNGS * TURN, "frame_mismatch"),
        (IMAGE.world_to_voxel(LUNGS), "frame_mismatch"),
        (LUNGS[:, ::-1], "frame_mismatch"),
        (LUNGS + 5000, None),
    ],
)
def test_a_cloud_is_in_the_image_of_its_field(tmp_path: Path, points: np.ndarray, code: str | None) -> None:
    if code is None:
        check_in_image(points, IMAGE, file=tmp_path)
        return
    with pytest.raises(BadInputError) as caught:
        check_in_image(points, IMAGE, file=tmp_path)
    assert caught.value.code == code


def test_equal_and_shifted_clouds_are_of_one_frame(tmp_path: Path) -> None:
    cloud = np.random.default_rng(8).normal(0, 50, (200, 3))
    check_overlap(cloud, cloud, file=tmp_path)
    check_overlap(cloud, cloud + np.array([10.0, 0.0, 0.0]), file=tmp_path)
