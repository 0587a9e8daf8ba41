"""Files of HDF5 without times: equal content is equal bytes, and both ITK and the check sums agree."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from lcsd.errors import WorkError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.hdf5 import OBJECT, erase_times, lookup3
from lcsd.transforms.chain import itk_field
from lcsd.transforms.convert import _write_itk

GRID = Grid((6, 5, 4), (3.0, 4.0, 5.0), (-50.0, 20.0, -300.0))


@pytest.mark.parametrize(("text", "expected"), [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)])
def test_check_sum_is_that_of_its_author(text: bytes, expected: int) -> None:
    """Bob Jenkins' own test vectors (lookup3.c, driver5)."""
    assert lookup3(text) == expected


@pytest.mark.slow
def test_a_transform_is_the_same_bytes_in_another_second(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(*GRID.shape, 3)).astype(np.float32)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        _write_itk(path, itk_field(DisplacementField(vectors, GRID)))
        time.sleep(1.1)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = sitk.ReadTransform(str(paths[0]))
    np.testing.assert_allclose(found.GetParameters(), vectors.ravel(), atol=1e-6)


def test_data_that_look_like_a_header_stay(tmp_path: Path) -> None:
    content = b"before" + OBJECT + bytes([0x20]) + bytes(range(200))
    (tmp_path / "a.h5").write_bytes(content)
    erase_times(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == content
    (tmp_path / "b.h5").write_bytes(content[: len(OBJECT) + 12])
    erase_times(tmp_path / "b.h5")


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, fifty lines of HDF5 and an internal error."""
    motion = itk_field(DisplacementField(np.zeros((*GRID.shape, 3), np.float32), GRID))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(WorkError) as caught:
        _write_itk(tmp_path / "a.h5", motion)
    assert caught.value.code == "cannot_write"
    assert [*tmp_path.iterdir()] == []
