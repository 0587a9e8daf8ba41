"""Commands that read volumes load no library of DICOM, which other modules still find."""

import subprocess
import sys

import pytest

LOADED = """
import sys
{first}
import lcsd.io.fields, lcsd.io.images
loaded = sys.modules.get("pydicom") is not None
import pydicom
print(loaded, pydicom.dcmread.__name__)
"""


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
