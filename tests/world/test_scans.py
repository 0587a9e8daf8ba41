"""Scans as the world writes them: right content, or a refusal of one line with its reason code."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.io.files import read_json, sha256
from lcsd.io.images import Image, read_image, read_mask, to_sitk
from tests.world.acquisitions import ACQUISITIONS
from tests.world.contents import VALUES
from tests.world.headers import HEADERS
from tests.world.offsets import OFFSETS
from tests.world.positions import POSITIONS
from tests.world.support import GRID, GRID_TOLERANCE_MM, Row, chest
from tests.world.volumes import VOLUMES, volume

ROWS = (*VOLUMES, *POSITIONS, *VALUES, *ACQUISITIONS, *HEADERS, *OFFSETS)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.name}")
def test_scan(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    source, out, record = row.make(inputs), tmp_path / "ct.nii.gz", tmp_path / "rejected.json"
    done = CliRunner().invoke(main, ["convert", str(source), str(out), "--rejected", str(record)])
    assert (done.exit_code, capfd.readouterr().err) == (2 if row.outcome else 0, ""), done.output
    if row.outcome:
        assert [len(done.stderr.splitlines()), read_json(record)["code"], out.exists()] == [1, row.outcome, False]
        return
    found = read_image(out)
    assert done.stderr == ""
    expected = row.grid() if callable(row.grid) else row.grid
    assert found.grid.size == expected.size
    assert np.abs(found.grid.corners() - expected.corners()).max() <= GRID_TOLERANCE_MM
    assert np.array_equal(found.array, row.content())


def test_every_kind_has_rows_of_both_outcomes() -> None:
    assert len({(row.kind, row.name) for row in ROWS}) == len(ROWS)
    for kind in {row.kind for row in ROWS}:
        counts = Counter(bool(row.outcome) for row in ROWS if row.kind == kind)
        assert counts[True] >= 2, kind
        assert counts[False] >= 1, kind


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_masks_of_other_formats(suffix: str, tmp_path: Path) -> None:
    lungs = Image((chest().array < -500).astype(np.uint8), GRID)
    path = volume(suffix, packed=True, image=lungs)(tmp_path)
    assert np.array_equal(read_mask(path, like=GRID).array, lungs.array != 0)
    (tmp_path / "scan").mkdir()
    scan = volume(suffix)(tmp_path / "scan")
    out = tmp_path / "lungs.nii.gz"
    done = CliRunner().invoke(main, ["lungs", str(scan), str(out), "--given", str(path)])
    assert done.exit_code == 0, done.output
    assert np.array_equal(read_mask(out, like=GRID).array, lungs.array != 0)


def test_provenance_sees_a_change_of_detached_voxels(tmp_path: Path) -> None:
    path = volume(".mhd")(tmp_path)
    before = sha256(path)
    content = bytearray((tmp_path / "ct.raw").read_bytes())
    content[0] ^= 1
    (tmp_path / "ct.raw").write_bytes(content)
    assert sha256(path) != before


def test_orientation_is_that_of_itk(tmp_path: Path) -> None:
    """Oblique axes through every format, compared with what ITK reads."""
    image = chest()
    turned = type(GRID)(GRID.size, GRID.spacing, GRID.origin, (0.0, 0.0, 1.0, 0.6, -0.8, 0.0, 0.8, 0.6, 0.0))
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(to_sitk(Image(image.array, turned)), str(tmp_path / f"ct{suffix}"))
        found = read_image(tmp_path / f"ct{suffix}")
        assert found.grid.same_as(turned)
        assert np.array_equal(found.array, image.array)
