"""Volumes in NRRD and MetaImage: every type of voxel."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lcsd.io.images import read_image

TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_types_of_voxels(tmp_path: Path, suffix: str, dtype: type) -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"), useCompression=False)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").array, array)


@pytest.mark.parametrize("name", ["longlong", "unsigned long long", "uint64_t", "ulonglong"])
def test_names_of_long_numbers(tmp_path: Path, name: str) -> None:
    array = np.arange(60, dtype=np.uint64).reshape(3, 4, 5)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nhdr"), useCompression=False)
    header = (tmp_path / "a.nhdr").read_text().splitlines()
    edited = [f"type: {name}" if line.startswith("type:") else line for line in header]
    (tmp_path / "a.nhdr").write_text("\n".join(edited) + "\n")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nhdr").array, array)
