"""Packed volumes are read to a bounded end; commands that read them load no library of DICOM."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lcsd.io import nifti

LOADED = """
import sys
{first}
import lcsd.io.fields, lcsd.io.images
loaded = sys.modules.get("pydicom") is not None
import pydicom
print(loaded, pydicom.dcmread.__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("import lcsd.cli.main", "False dcmread"),
        ("import pydicom, lcsd.cli.main", "True dcmread"),
        ("", "True dcmread"),  # a library leaves nibabel as it is
    ],
)
def test_pydicom_is_loaded_only_by_who_needs_it(first: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(first=first)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(("rest", "good"), [(0, True), (3000, True), (5000, False)])
def test_what_follows_the_voxels_is_read_to_a_limit(
    rest: int, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check sum stands at the end, but an end may be far away."""
    monkeypatch.setattr(nifti, "REST_BYTES", 1000)
    monkeypatch.setattr(nifti, "MOST_REST", 4)
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path / "a.nii.gz"
    plain = nifti.nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    path.write_bytes(gzip.compress(plain + bytes(rest)))
    volume = nifti.nibabel.load(path)
    if good:
        np.testing.assert_array_equal(nifti.voxels_of(volume, path), array)
        return
    with pytest.raises(OSError, match="too many bytes"):
        nifti.voxels_of(volume, path)
