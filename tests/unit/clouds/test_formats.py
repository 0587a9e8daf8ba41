"""Clouds of other programs are read into LPS mm and written back unchanged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkIOLegacy import vtkPolyDataWriter
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

from lcsd.clouds.formats import SUFFIXES, read_cloud_file
from lcsd.errors import BadInputError
from lcsd.io.points import Cloud, write_cloud

POINTS = np.random.default_rng(0).uniform(-99, 99, (20, 3)).round(3)
SHIFT = np.array([1.0, 2.0, 3.0])
LABEL = (np.arange(20) % 3).astype(np.uint8)


def write_npy(path: Path) -> None:
    np.save(path, POINTS)


def write_npz(path: Path) -> None:
    write_cloud(path, Cloud(POINTS.astype(np.float32), label=LABEL))


def write_csv(path: Path) -> None:
    rows = [f"{k},{z},{y},{x},{k % 3}" for k, (x, y, z) in enumerate(POINTS)]
    path.write_text("\n".join(["name,Z,Y,X,label", *rows]) + "\n", encoding="utf-8")


def write_txt(path: Path) -> None:
    path.write_text("# made elsewhere\n" + "\n".join(f"{x} {y}  {z} 7" for x, y, z in POINTS), encoding="utf-8")


def write_ply(path: Path) -> None:
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "u1"), ("heat", "f4")]
    vertex = np.array([(*p, k, 0.5) for p, k in zip(POINTS.tolist(), LABEL, strict=True)], dtype=kinds)
    plyfile.PlyData([plyfile.PlyElement.describe(vertex, "vertex")], text=True).write(str(path))


def write_vtk(path: Path) -> None:
    points, content = vtkPoints(), vtkPolyData()
    points.SetData(numpy_to_vtk(POINTS.astype(np.float32), deep=True))
    content.SetPoints(points)
    for name, values in (("label", LABEL), ("heat", np.full(20, 0.5))):
        array = numpy_to_vtk(values, deep=True)
        array.SetName(name)
        content.GetPointData().AddArray(array)
    writer = vtkXMLPolyDataWriter() if path.suffix == ".vtp" else vtkPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(content)
    writer.Write()


def write_pth(path: Path) -> None:
    torch.save({"pos": torch.as_tensor(POINTS)[None], "label": torch.as_tensor(LABEL)}, path)


def write_swc(path: Path) -> None:
    rows = [f"{k + 1} 2 {x} {y} {z} 1.5 {k or -1}" for k, (x, y, z) in enumerate(POINTS)]
    path.write_text("# node type x y z radius parent\n" + "\n".join(rows), encoding="utf-8")


VTK_POINTS = b"# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n"


WRITERS: dict[str, Callable[[Path], None]] = {
    ".npy": write_npy,
    ".npz": write_npz,
    ".csv": write_csv,
    ".tsv": write_csv,
    ".txt": write_txt,
    ".pts": write_txt,
    ".xyz": write_txt,
    ".asc": write_txt,
    ".swc": write_swc,
    ".ply": write_ply,
    ".vtk": write_vtk,
    ".vtp": write_vtk,
    ".pth": write_pth,
}


def test_every_format_is_tested() -> None:
    assert set(WRITERS) == set(SUFFIXES)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_points_and_labels_come_in_and_go_back(tmp_path: Path, suffix: str) -> None:
    path, copy = tmp_path / f"cloud{suffix}", tmp_path / f"copy{suffix}"
    WRITERS[suffix](path)
    found = read_cloud_file(path)
    assert found.suffix == suffix
    np.testing.assert_allclose(found.cloud.points, POINTS, atol=1e-4)
    assert found.cloud.points.dtype == np.float32
    if suffix not in (".npy", ".txt", ".pts", ".xyz", ".asc", ".swc"):
        np.testing.assert_array_equal(found.cloud.label, LABEL)
    found.write(copy, POINTS + SHIFT)
    again = read_cloud_file(copy)
    np.testing.assert_allclose(again.cloud.points, POINTS + SHIFT, atol=1e-3)
    if suffix not in (".npy", ".txt", ".pts", ".xyz", ".asc", ".swc"):
        np.testing.assert_array_equal(again.cloud.label, LABEL)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frame_and_unit_are_converted_and_back(tmp_path: Path, suffix: str) -> None:
    path, copy = tmp_path / f"cloud{suffix}", tmp_path / f"copy{suffix}"
    WRITERS[suffix](path)
    found = read_cloud_file(path, frame="ras", unit="m")
    world = POINTS * [-1000, -1000, 1000]
    np.testing.assert_allclose(found.cloud.points, world, rtol=1e-6)
    found.write(copy, world + 1000 * SHIFT)
    np.testing.assert_allclose(read_cloud_file(copy).cloud.points, POINTS + SHIFT * [-1, -1, 1], atol=1e-3)


def test_what_else_a_file_holds_stays(tmp_path: Path) -> None:
    for suffix, writer in ((".ply", write_ply), (".csv", write_csv)):
        writer(tmp_path / f"a{suffix}")
        read_cloud_file(tmp_path / f"a{suffix}").write(tmp_path / f"b{suffix}", POINTS)
    assert (plyfile.PlyData.read(str(tmp_path / "b.ply"))["vertex"]["heat"] == 0.5).all()
    lines = (tmp_path / "b.csv").read_text().splitlines()
    assert lines[0] == "name,Z,Y,X,label"
    assert lines[6].startswith("5,")


def test_a_bare_tensor_and_an_upper_case_suffix(tmp_path: Path) -> None:
    torch.save(torch.as_tensor(POINTS), tmp_path / "a.PTH")
    found = read_cloud_file(tmp_path / "a.PTH")
    np.testing.assert_allclose(found.cloud.points, POINTS, atol=1e-4)


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_code_in_a_tensor_file_does_not_run(tmp_path: Path) -> None:
    torch.save({"points": Harmful(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(BadInputError, match=r"\[bad_cloud_file\]"):
        read_cloud_file(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.obj", b"1 2 3", "unknown_format"),
        ("a", b"1 2 3", "unknown_format"),
        ("a.csv", b"", "truncated_file"),
        ("a.csv", b"x,y,z\n1,2,three\n", "bad_number"),
        ("a.csv", b"x,y,z\n", "empty_table"),
        ("a.csv", b"1,2\n3,4\n", "bad_cloud_file"),
        ("a.csv", b"x,y,z\n1,2,nan\n", "bad_number"),
        ("a.csv", b"x,y,z,label\n1,2,3,700\n", "bad_labels"),
        ("a.txt", b"\x00\xff\xfe", "bad_table"),
        ("a.npy", b"no numpy", "bad_cloud_file"),
        ("a.npz", b"no zip", "truncated_file"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 3\n", "bad_cloud_file"),
        ("a.vtk", b"# vtk DataFile Version 3.0\n", "bad_cloud_file"),
        ("a.vtk", VTK_POINTS + b"1 2 3\n4 5 6\n", "bad_cloud_file"),
        ("a.vtk", VTK_POINTS + b"1 2 3\n4 five 6\n7 8 9\n", "bad_cloud_file"),
        ("a.vtk", VTK_POINTS.replace(b"ASCII", b"BINARY") + bytes(30), "bad_cloud_file"),
        ("a.vtk", VTK_POINTS + b"1 2 3\n4 5 6\n7 8 9\nVERTICES 3 6\n1 0\n", "bad_cloud_file"),
        ("a.vtp", b"<VTKFile", "bad_cloud_file"),
        ("a.pth", b"no tensor", "bad_cloud_file"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read_cloud_file(tmp_path / name)
    assert caught.value.code == code
    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_a_newer_version_of_vtk_is_no_damage(tmp_path: Path) -> None:
    content = VTK_POINTS.replace(b"3.0", b"9.0") + b"1 2 3\n4 5 6\n7 8 9\n"
    (tmp_path / "a.vtk").write_bytes(content)
    found = read_cloud_file(tmp_path / "a.vtk").cloud.points
    np.testing.assert_array_equal(found, np.arange(1, 10).reshape(3, 3))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"\[missing_file\]"):
        read_cloud_file(tmp_path / "absent.ply")


def test_flat_points_and_lone_labels_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", POINTS[:, :2])
    with pytest.raises(BadInputError, match=r"\[bad_points\]"):
        read_cloud_file(tmp_path / "flat.npy")
    content = {"points": torch.as_tensor(POINTS), "label": torch.zeros(3)}
    torch.save(content, tmp_path / "few.pth")
    with pytest.raises(BadInputError, match=r"\[length_mismatch\]"):
        read_cloud_file(tmp_path / "few.pth")
