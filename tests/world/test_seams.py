"""Two acquisitions put together without a word in the headers: a warning, and a flag of the pair."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, write_image
from lcsd.prealign.gates import judge_scans
from lcsd.scans.neighbours import averaged, largest_disorder, largest_seam
from lcsd.settings.gates import GatesSettings
from tests.world import anatomy
from tests.world.offsets import SEAMS, Seam, tall

WARNINGS = {
    "seam": "two acquisitions may be put together",
    "slice_order": "slices may be exchanged",
    "repeated_slices": "repeat the slice before",
}

pytestmark = pytest.mark.xdist_group("chests")


@pytest.mark.parametrize("row", SEAMS, ids=lambda row: row.name)
def test_seam(row: Seam, tmp_path: Path) -> None:
    image = row.make()
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "ct.nii.gz"
    write_image(scan, image, dtype=np.int16)
    done = CliRunner().invoke(main, ["convert", str(scan), str(out)])
    assert done.exit_code == 0
    for name, words in WARNINGS.items():
        assert (words in done.stderr) == (name in row.gate)
    facts = read_json(provenance_path(out))["facts"]
    gates = judge_scans({"fixed": facts, "moving": {}}, GatesSettings())
    assert {gate["name"]: gate["flagged"] for gate in gates} == {name: name in row.gate for name in WARNINGS}
    if row.gate.startswith("seam"):
        assert abs(facts["slices"]["seam_at"] - len(anatomy.chest().hu) // 2) <= 1


def test_one_slice_with_an_artefact_is_no_seam() -> None:
    made = anatomy.chest()
    hu = made.hu.copy()
    hu[20] = np.roll(hu[20], 9, axis=0)
    assert largest_seam(averaged(Image(hu, made.grid), stacked=True))[0] < 2.0


def _with_empty_ends(hu: np.ndarray) -> np.ndarray:
    """Return a volume that ends in slices of air, after an end of the scan that is not a plane."""
    padded = np.pad(hu, ((0, 8), (0, 0), (0, 0)), constant_values=-1024)
    rows = np.arange(padded.shape[1])
    end = len(hu) - np.round(6 * np.abs(rows - rows.mean()) / rows.mean()).astype(int)
    padded[np.arange(len(padded))[:, None] >= end] = -1024
    return padded


@pytest.mark.parametrize("order", [1, -1], ids=["above", "below"])
def test_slices_of_air_at_the_end_of_a_scan_are_no_seam(order: int) -> None:
    """jrkerns/pylinac 392: the first slices are blank, then the object begins; ganslate-team/ganslate 23."""
    made = anatomy.chest()
    ends = _with_empty_ends(made.hu)[::order]
    assert largest_seam(averaged(tall(ends, made.grid), stacked=True))[0] < 1.5
    cut = len(made.hu) // 2
    moved = np.concatenate([made.hu[:cut], np.roll(made.hu[cut:], 4, axis=1)])
    ratio, index = largest_seam(averaged(tall(_with_empty_ends(moved), made.grid), stacked=True))
    assert (ratio > 2.0, index) == (True, cut)


@pytest.mark.slow
@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_phantoms_have_no_seam(case: int, role: str) -> None:
    stack = averaged(anatomy.chest(role, case).image(), stacked=True)  # type: ignore[arg-type]
    assert largest_seam(stack)[0] < 1.5
    assert largest_disorder(stack)[0] < 0.9


@pytest.mark.real_data
def test_real_scans_have_no_seam_until_put_together(real_data: Path) -> None:
    for name in ("chest_ct/a", "chest_ct/b", "right_lung/fixed", "right_lung/moving"):
        image = read_image(real_data / f"{name}.nii.gz")
        stack = averaged(image, stacked=False)
        assert largest_seam(stack)[0] < 1.5
        assert largest_disorder(stack)[0] < 0.7
        for first, second in ((40, 41), (60, 63), (30, 90)):
            other = stack.copy()
            other[[first, second]] = stack[[second, first]]
            assert largest_disorder(other)[0] > 1.1
        if name.startswith("chest_ct"):
            cut = len(image.array) // 2
            again = np.concatenate([image.array[:cut], image.array[cut - 6 :]])
            ratio, index = largest_seam(averaged(tall(again, image.grid), stacked=False))
            assert (ratio > 2.0, index) == (True, cut)
