"""Files of points: what is read back, and what is refused by name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.io.files import sha256
from lcsd.io.points import Cloud, PointPairs, read_cloud, read_point_pairs, write_cloud, write_point_pairs

HEADER = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n"


def test_point_pairs_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = PointPairs(rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), tuple("abcde"), rng.random(5))
    write_point_pairs(tmp_path / "p.csv", pairs)
    back = read_point_pairs(tmp_path / "p.csv")
    np.testing.assert_allclose(back.fixed, pairs.fixed, atol=5.1e-5)
    np.testing.assert_allclose(back.moving, pairs.moving, atol=5.1e-5)
    assert back.ids == pairs.ids
    assert back.weight is not None
    header = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert header == "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z,id,weight"


def test_origin_is_kept_and_may_be_empty(tmp_path: Path) -> None:
    origin = ("manual", "corrected:corrfield", "", "predicted:my-method_2")
    write_point_pairs(tmp_path / "p.csv", PointPairs(np.zeros((4, 3)), np.ones((4, 3)), origin=origin))
    assert read_point_pairs(tmp_path / "p.csv").origin == origin
    write_point_pairs(tmp_path / "q.csv", PointPairs(np.zeros((4, 3)), np.ones((4, 3))))
    assert read_point_pairs(tmp_path / "q.csv").origin is None


@pytest.mark.parametrize("origin", ["Manual", "corrected", "corrected:", "seen:x", "predicted:a b"])
def test_unknown_origins_are_named(tmp_path: Path, origin: str) -> None:
    text = HEADER.strip() + f",origin\n1,2,3,4,5,6,manual\n1,2,3,4,5,6,{origin}\n"
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(BadInputError, match="line 3, column origin") as caught:
        read_point_pairs(tmp_path / "p.csv")
    assert caught.value.code == "bad_origin"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "1,2,3,4,5,x\n", "line 2, column moving_z"),
        (HEADER + "1,5,2,5,3,5,4,5,5,5,6,5\n", "line 2: .*points in numbers"),
        (HEADER.replace("\n", ",weight\n") + "1,2,3,4,5,6,\n", "line 2, column weight"),
        (HEADER + "1,2,3,4,5,6\n1,nan,3,4,5,6\n", "line 3, column fixed_y"),
    ],
)
def test_bad_point_tables_are_named(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(BadInputError, match=expected):
        read_point_pairs(tmp_path / "p.csv")


def test_cloud_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    cloud = Cloud(
        np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32),
        index=np.arange(7),
        radius=np.ones(7, np.float32),
        meta={"case": "a"},
    )
    write_cloud(tmp_path / "a.npz", cloud)
    write_cloud(tmp_path / "b.npz", cloud)
    assert sha256(tmp_path / "a.npz") == sha256(tmp_path / "b.npz")
    back = read_cloud(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.points, cloud.points)
    assert back.points.dtype == np.float32
    assert back.meta == {"case": "a"}
    assert back.label is None


def test_bad_clouds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def expect(code: str) -> None:
        with pytest.raises(BadInputError) as caught:
            read_cloud(path)
        assert caught.value.code == code

    expect("missing_file")
    path.write_bytes(b"PK\x03\x04broken")
    expect("truncated_file")
    for array, code in (
        (np.zeros((0, 3)), "empty_cloud"),
        (np.zeros((5, 2)), "bad_points"),
        (np.array([[0.0, np.inf, 0]]), "non_finite_points"),
        (np.array([["a", "b", "c"]]), "bad_points"),
    ):
        np.savez(path, points=array)
        expect(code)
    np.savez(path, other=np.zeros(3))
    expect("missing_array")
    np.savez(path, points=np.zeros((2, 3)), radius=np.zeros(3))
    expect("length_mismatch")
    for meta in ("{broken", "[1]", "3"):
        np.savez(path, points=np.zeros((2, 3)), meta=np.array(meta))
        expect("bad_json")
    np.savez(path, points=np.array([{}], dtype=object))
    expect("truncated_file")


@pytest.mark.parametrize(
    ("kind", "damage", "code"),
    [
        (zipfile.ZIP_STORED, (6, 8, 1), "bad_cloud_file"),
        (zipfile.ZIP_STORED, (8, 10, 97), "bad_cloud_file"),
        (zipfile.ZIP_STORED, (None, 6, 255), "bad_cloud_file"),
        (zipfile.ZIP_LZMA, (44, None, 255), "truncated_file"),
    ],
    ids=["encrypted", "unknown_compression", "newer_zip", "damaged_lzma"],
)
def test_archives_that_zipfile_cannot_read_are_named(
    tmp_path: Path, kind: int, damage: tuple[int | None, int | None, int], code: str
) -> None:
    """A byte of the member's own header, of its entry in the directory, or both are set."""
    path, array = tmp_path / "a.npz", io.BytesIO()
    np.save(array, np.ones((50, 3)))
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("points.npy", array.getvalue())
    content = bytearray(path.read_bytes())
    member, entry, value = damage
    if member is not None:
        content[member] = value
    if entry is not None:
        content[content.index(b"PK\x01\x02") + entry] = value
    path.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read_cloud(path)
    assert caught.value.code == code
