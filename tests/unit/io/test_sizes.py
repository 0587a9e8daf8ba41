"""Headers that promise more than the file has; files that a library did not write to the end."""

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io import sizes
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.files import check_written_gzip, check_written_text
from lcsd.io.images import write_rigid
from lcsd.io.sizes import check_arrays, check_memory, check_nifti, check_ply, check_vtp

ROOT = Path(__file__).resolve().parents[3]
GRID = Grid((20, 16, 12), (1.5, 1.5, 1.5), (0.0, 0.0, 0.0))


def header(path: Path, shape: tuple[int, ...], size: int) -> tuple[nibabel.Nifti1Image, Path]:
    """Return an image of nibabel of a shape, and a file of some bytes."""
    path.write_bytes(bytes(size))
    data = np.broadcast_to(np.int16(0), shape)
    return nibabel.Nifti1Image(data, np.eye(4)), path


@pytest.mark.parametrize(
    ("name", "shape", "size", "code"),
    [
        ("a.nii", (100, 100, 100), 2_000_000, ""),
        ("a.nii", (100, 100, 100), 1_999_999, "truncated_file"),
        ("a.nii.gz", (100, 100, 100), 1938, ""),
        ("a.nii.gz", (100, 100, 100), 1937, "truncated_file"),
        ("a.nii", (30_000, 30_000, 30_000), 100, "too_large"),
    ],
)
def test_voxels_must_fit_into_the_file(
    tmp_path: Path, name: str, shape: tuple[int, int, int], size: int, code: str
) -> None:
    volume, path = header(tmp_path / name, shape, size)
    if not code:
        check_nifti(volume, path)
        return
    with pytest.raises(BadInputError) as caught:
        check_nifti(volume, path)
    assert caught.value.code == code


def test_a_volume_of_zeros_is_no_lie(tmp_path: Path) -> None:
    """The most that deflate compresses: nothing whole may be refused."""
    path = tmp_path / "a.nii.gz"
    data = np.zeros((400, 400, 100), np.int16)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9))
    check_nifti(nibabel.load(path), path)


def test_arrays_are_as_large_as_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, points=np.zeros((1000, 3)), meta=np.array("{}"))
    with zipfile.ZipFile(path) as archive:
        check_arrays(archive)
        monkeypatch.setattr(sizes, "MOST_CLOUD_BYTES", 20_000)
        with pytest.raises(ValueError, match="unpacked"):
            check_arrays(archive)


@pytest.mark.parametrize("sign", ["-", "["])
@pytest.mark.parametrize("count", [900, 9000])
def test_headers_of_arrays_are_not_parsed_without_end(tmp_path: Path, sign: str, count: int) -> None:
    shape = sign * count + "1"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    entry = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("points.npy", entry)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive, pytest.raises(ValueError, match="."):
        check_arrays(archive)


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (b"ply\nelement vertex 2\nend_header\n1 2 3\n4 5 6\n", True),
        (b"ply\nelement vertex 200\nend_header\n1 2 3\n4 5 6\n", False),
        (b"ply\nelement vertex two\nend_header\n1 2 3\n4 5 6\n", False),
        (b"ply\nelement vertex 2\nelement face 999\nend_header\n1 2 3\n4 5 6\n", False),
        (b"ply\nelement vertex %s2\nend_header\n1 2 3\n4 5 6\n" % (b"0" * 25), True),
        (b"ply\nelement vertex %s999\nend_header\n1 2 3\n" % (b"0" * 25), False),
        (b"ply\nelement vertex %s\nend_header\n1 2 3\n" % (b"9" * 5000), False),
    ],
)
def test_elements_of_ply(tmp_path: Path, content: bytes, good: bool) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    if good:
        check_ply(tmp_path / "a.ply")
        return
    with pytest.raises(ValueError, match="count|declared"):
        check_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (b'<VTKFile><Piece NumberOfPoints="3"/></VTKFile>', True),
        (b"<VTKFile><Piece NumberOfPoints = '999999999'/></VTKFile>", False),
        (b'<VTKFile><Piece NumberOfPoints="&#57;9"/></VTKFile>', False),
        (b'<VTKFile><Piece NumberOfPoints="-1"/></VTKFile>', False),
        (b'<VTKFile><Piece NumberOfPoints=" 003 "/></VTKFile>', True),
        (b'<VTKFile><Piece NumberOfPoints=" %s9999999"/></VTKFile>' % (b"0" * 25), False),
        (b'<!DOCTYPE x><VTKFile><Piece NumberOfPoints="3"/></VTKFile>', False),
        ('<VTKFile><Piece NumberOfPoints="3"/></VTKFile>'.encode("utf-16"), False),
    ],
)
def test_counts_and_entities_of_vtp(tmp_path: Path, content: bytes, good: bool) -> None:
    (tmp_path / "a.vtp").write_bytes(content)
    if good:
        check_vtp(tmp_path / "a.vtp")
        return
    with pytest.raises(ValueError, match="count|declared|XML"):
        check_vtp(tmp_path / "a.vtp")


def test_want_of_memory_is_no_fault_of_the_file() -> None:
    check_memory(OSError(5, "damaged"))
    with pytest.raises(MemoryError):
        check_memory(OSError(12, "Cannot allocate memory"))


def test_an_end_that_is_missing_is_seen(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    whole = gzip.compress(content)
    for number, part in enumerate((whole, whole[:-1], whole[:50], b"")):
        path = tmp_path / f"{number}.gz"
        path.write_bytes(part)
        if part == whole:
            check_written_gzip(path, len(content))
            continue
        with pytest.raises(OSError, match="incomplete"):
            check_written_gzip(path, len(content))
    (tmp_path / "a.tfm").write_text("Parameters: 1 2")
    with pytest.raises(OSError, match="incomplete"):
        check_written_text(tmp_path / "a.tfm")


def test_what_itk_writes_is_whole(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(*GRID.shape, 3)).astype(np.float32)
    write_field(tmp_path / "f.nii.gz", DisplacementField(vectors, GRID))
    write_rigid(tmp_path / "r.tfm", RigidTransform.identity())


FULL = """
import os, sys
from pathlib import Path
from lcsd.errors import WorkError
from tests.unit.io.test_sizes import test_what_itk_writes_is_whole
try:
    test_what_itk_writes_is_whole(Path(sys.argv[1]))
except WorkError as error:
    print(error.code, sorted(os.listdir(sys.argv[1])))
"""


@pytest.mark.slow
def test_itk_on_a_full_disk_leaves_no_half_of_a_field(tmp_path: Path) -> None:
    """ITK itself says nothing, and its file has any length."""
    mount = 'mount -t tmpfs -o size=16k none "$0" && exec "$@"'
    probe = ["unshare", "-rm", "sh", "-c", mount, str(tmp_path)]
    if subprocess.run([*probe, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small disk here")
    done = subprocess.run(
        [*probe, sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == "cannot_write []\n", done.stderr
