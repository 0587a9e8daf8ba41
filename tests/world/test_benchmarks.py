"""Files of benchmarks as people met them: names of submissions, files that are no tensors, files of other systems."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.release.export import submission_name


@dataclass(frozen=True)
class Name:
    """A pair of scans, and the name that the challenge's program looks for."""

    source: str  # the public report, in words
    case: str
    expected: str


NAMES = [
    Name(
        "LUMIR_L2R 2: both scans are 0000, the long name was asked for", "LUMIR_3485_0000_3484_0000", "disp_3485_3484"
    ),
    Name("the same, one patient", "NLST_0101", "disp_0101_0101"),
    Name(
        "Learn2Reg's program: other scans need the long name", "Thorax_0011_0002_0011_0000", "disp_0011_0002_0011_0000"
    ),
]


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.case)
def test_submissions_have_the_names_that_are_looked_for(row: Name) -> None:
    assert submission_name(row.case) == f"{row.expected}.nii.gz"


def page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>Sign in to download</body></html>")


def numpy_inside(path: Path) -> None:
    torch.save([np.ones((4, 3))] * 3, path)


def cut(path: Path) -> None:
    torch.save([torch.ones(400, 3)] * 3, path)
    path.write_bytes(path.read_bytes()[:-700])


@dataclass(frozen=True)
class Broken:
    """A ``.pth`` file that is not what its name says."""

    source: str
    name: str
    make: Callable[[Path], None]
    found: str


BROKEN = [
    Broken(
        "gccpm-look-into-person 22: the download was a web page (invalid load key '<')", "web_page", page, "damaged"
    ),
    Broken(
        "MRSegmentator 19, kliff 210: numpy arrays inside, which need pickled code",
        "numpy_inside",
        numpy_inside,
        "pickled code",
    ),
    Broken("made up: the download was cut", "cut", cut, "damaged"),
]


@pytest.mark.parametrize("row", BROKEN, ids=lambda row: row.name)
def test_files_that_are_no_tensors_are_refused_in_one_line(tmp_path: Path, row: Broken) -> None:
    folder = tmp_path / "source" / "cloudsTr" / "coordinates"
    folder.mkdir(parents=True)
    for number in "12":
        row.make(folder / f"case_001_{number}.pth")
    result = CliRunner().invoke(main, ["import", "lung250m", str(tmp_path / "source"), str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert "[bad_torch_file]" in line
    assert "case_001_1.pth" in line
    assert row.found in line
    assert "\x1b" not in line
    assert not (tmp_path / "out").exists()


def test_half_a_nifti_of_a_task_is_refused(tmp_path: Path) -> None:
    """A download that broke off: the header is there, the voxels are not."""
    folder = tmp_path / "source" / "imagesTr"
    folder.mkdir(parents=True)
    for number in "01":
        path = folder / f"NLST_0001_000{number}.nii.gz"
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).integers(-900, 0, (9, 9, 9)).astype("i2"), np.eye(4)), path
        )
    path.write_bytes(path.read_bytes()[:600])
    pair = '{"fixed": "./imagesTr/NLST_0001_0000.nii.gz", "moving": "./imagesTr/NLST_0001_0001.nii.gz"}'
    (tmp_path / "source" / "NLST_dataset.json").write_text(f'{{"training_paired_images": [{pair}]}}')
    result = CliRunner().invoke(main, ["import", "learn2reg", str(tmp_path / "source"), str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert "[truncated_file]" in result.stderr
    assert "NLST_0001_0001.nii.gz" in result.stderr
