"""Files of a folder to series: nothing is dropped without a count, no series is a guess."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.scans.convert import read_scan
from lcsd.scans.dicom import read_folder
from lcsd.settings.convert import ConvertSettings
from tests.series import SLICES, UID, refused, shifted, values, write_series

LOCALIZER = shifted("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])


def test_series_mixed_in_one_flat_folder_come_apart(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=shifted("ConvolutionKernel", "SOFT"))
    sharp = shifted("ConvolutionKernel", "LUNG")

    def high(part: pydicom.Dataset, index: int) -> None:
        sharp(part, index)
        part.PixelData = (values(index) + 5).tobytes()

    write_series(folder, uid="1.2.5", prefix="ct0_", change=high)
    write_series(folder, uid="1.2.6", count=2, prefix="loc", change=LOCALIZER)
    write_series(folder, uid="1.2.9", count=1, prefix="dose")
    (folder / "notes.txt").write_text("terms")
    assert refused(folder) == "several_series"
    soft, hard = (read_scan(folder, ConvertSettings(series_uid=uid)) for uid in (UID, "1.2.5"))
    assert (hard.image.array == soft.image.array + 5).all()
    assert soft.header["convolution_kernel"] == "SOFT"
    assert dict(soft.skipped) == {"localizers": 2, "other_series": SLICES + 1, "other_dicom": 0, "other_files": 1}


def test_choices_are_printed_but_not_stored(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=shifted("SeriesDescription", "Jane Doe"))
    write_series(folder, uid="1.2.5", prefix="sharp")
    rejected = tmp_path / "rejected.json"
    call = ["convert", str(folder), str(tmp_path / "ct.nii.gz"), "--rejected", str(rejected)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert f"series {UID}: {SLICES} images, kernel STANDARD" in lines[0]
    assert "several_series" in lines[-1]
    assert UID not in lines[-1]
    assert UID not in rejected.read_text()
    assert "Jane" not in result.stderr


def without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def without_meta(path: Path) -> None:
    bare = pydicom.Dataset()
    bare.update(pydicom.dcmread(path))
    bare.save_as(path, implicit_vr=True, little_endian=True)


@pytest.mark.parametrize("strip", [without_preamble, without_meta])
def test_files_without_preamble_are_slices_too(tmp_path: Path, strip: object) -> None:
    folder = write_series(tmp_path / "s")
    whole = read_scan(folder).image
    for path in sorted(folder.iterdir())[::5]:
        strip(path)  # type: ignore[operator]
        path.rename(path.with_suffix(""))
    found = read_scan(folder).image
    assert found.grid == whole.grid
    assert (found.array == whole.array).all()


def test_damaged_file_named_as_dicom_is_no_note(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    victim = folder / "ct005.dcm"
    victim.write_bytes(os.urandom(4000))
    assert refused(folder) == "truncated_file"
    victim.write_bytes(b"DICM" + bytes(300))
    assert refused(folder) == "truncated_file"
    victim.write_bytes(bytes(128) + b"DICM" + os.urandom(300))
    assert refused(folder) == "truncated_file"


@pytest.mark.parametrize("keep", range(200, 1100, 90))
def test_no_cut_is_silent(tmp_path: Path, keep: int) -> None:
    """The first slice of the stack is cut: no gap would tell that it is missing."""
    folder = write_series(tmp_path / "s")
    victim = folder / "ct000.dcm"
    victim.write_bytes(victim.read_bytes()[:keep])
    assert refused(folder) == "truncated_file"


def test_links_may_loop_and_lead_elsewhere(tmp_path: Path) -> None:
    away = write_series(tmp_path / "away")
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "linked").symlink_to(away)
    (folder / "again").symlink_to(away)
    (away / "loop").symlink_to(folder)
    assert read_scan(folder).image.grid.size[2] == SLICES
    (folder / "gone.dcm").symlink_to(tmp_path / "nowhere")
    assert refused(folder) == "broken_link"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    os.mkfifo(folder / "pipe")
    (folder / ".hidden.dcm").write_bytes(b"x")
    assert read_scan(folder).skipped["other_files"] == 1


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    for name, start in (("huge.bin", b"x"), ("huge.tail", (folder / "ct005.dcm").read_bytes())):
        with (folder / name).open("wb") as handle:
            handle.write(start)
            handle.truncate(1 << 36)
    with pytest.raises(BadInputError, match="duplicate_slices"):
        read_scan(folder)


def test_reports_and_raw_data_of_a_ct_are_no_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")

    def raw(part: pydicom.Dataset, index: int) -> None:
        part.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66"
        del part.Rows, part.PixelData

    write_series(folder, change=raw, count=3, prefix="raw")
    assert read_scan(folder).skipped["other_dicom"] == 3


def test_image_without_series_uid(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=shifted("SeriesInstanceUID", None, 3))
    assert refused(folder) == "no_series_uid"
    bare = write_series(tmp_path / "bare", change=shifted("SeriesInstanceUID", ""))
    assert read_scan(bare).series_uid is None


def test_deflated_files_are_read(tmp_path: Path) -> None:
    def deflated(part: pydicom.Dataset, index: int) -> None:
        part.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    folder = write_series(tmp_path / "s", change=deflated)
    assert read_scan(folder).image.array[0, 0, 0] == 500 - 1024
    victim = sorted(folder.iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-40])
    assert refused(folder) == "truncated_file"


def test_headers_hold_no_other_elements(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=shifted("StudyDescription", "secret"))
    series = read_folder(folder, series_uid=None, min_slices=2)
    names = {name for header in series.headers for name in header.values}
    assert "Rows" in names
    assert not names & {"StudyDescription", "SeriesDescription"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_damage_ends_in_a_reason(tmp_path: Path, seed: int) -> None:
    """Bytes of a header changed at random: a volume or one of our errors, never a traceback."""
    folder = write_series(tmp_path / "s", count=4)
    draw = np.random.default_rng(seed)
    for victim in sorted(folder.iterdir()):
        content = bytearray(victim.read_bytes())
        for _ in range(6):
            content[int(draw.integers(132, len(content) - 300))] = int(draw.integers(256))
        victim.write_bytes(bytes(content))
    found = CliRunner().invoke(main, ["convert", str(folder), str(tmp_path / "ct.nii.gz"), "--set", "min_slices=2"])
    assert found.exit_code in (0, 2), found.output
    assert "Traceback" not in found.output
    assert len(found.stderr.splitlines()) <= 1


@pytest.mark.timeout(20)
def test_zeros_in_place_of_the_pixels_end_the_header(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", count=3)
    victim = folder / "ct000.dcm"
    whole = victim.read_bytes()
    with victim.open("wb") as handle:
        handle.write(whole[: whole.index(b"\xe0\x7f\x10\x00")])
        handle.truncate(1 << 36)
    assert refused(folder) == "truncated_file"


def test_pydicom_says_nothing_of_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.7\0", b"JANE.D"))
    caplog.clear()
    assert read_scan(folder).image.grid.size[2] == SLICES
    assert not [record for record in caplog.records if record.name.startswith("pydicom")]
    assert not [warning for warning in recwarn if "JANE" in str(warning.message)]
