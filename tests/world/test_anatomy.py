"""Chests whose axes are not those of their header: refused with the better reading; right ones pass in any storage."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.geometry import Grid
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, write_image, write_mask
from lcsd.lungs.anatomy import evidence
from lcsd.lungs.classical import segment_lungs
from lcsd.phantom.case import Role
from lcsd.readings.anatomy import LEAST_TIP, Evidence, exchanged
from tests.grids import GRIDS
from tests.world import anatomy
from tests.world.anatomy import Chest, chest

pytestmark = pytest.mark.xdist_group("chests")

FLIPS = {
    "slices": (0,),  # wasserth/TotalSegmentator 229
    "front": (1,),  # kaiko-ai/eva 658
    "sides": (2,),  # Slicer/Slicer 3847
    "front and sides": (1, 2),  # Project-MONAI/model-zoo 766
}


def _flipped(made: Chest, axes: tuple[int, ...]) -> tuple[Image, Image]:
    return tuple(Image(np.ascontiguousarray(np.flip(of, axes)), made.grid) for of in (made.hu, made.lungs))


@pytest.mark.parametrize("role", ["fixed", pytest.param("moving", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("found", FLIPS)
def test_exchanged_axes_are_seen(found: str, case: int, role: Role) -> None:
    made = chest(role, case)
    axes = FLIPS[found]
    assert exchanged(evidence(made.image(), Image(made.lungs, made.grid))) is None
    # Storage along falling axes is undone by the header, so a flip of an axis is one whatever its direction.
    assert exchanged(evidence(*_flipped(made, axes))) == found


@pytest.mark.slow
@pytest.mark.parametrize("case", [0, 1])
def test_reversed_slices_are_seen_by_the_tips_of_the_lungs(case: int) -> None:
    """TotalSegmentator 229 on coarse scans of a sharp kernel, in which the lungs' mask takes the windpipe in."""
    scan = chest("moving", case).image()
    turned = Image(np.ascontiguousarray(scan.array[::-1]), scan.grid)
    right, wrong = (evidence(of, segment_lungs(of).mask) for of in (scan, turned))
    assert right.windpipe_mm == wrong.windpipe_mm == (0.0, 0.0)
    assert (exchanged(right), exchanged(wrong)) == (None, "slices")


@pytest.mark.slow
@pytest.mark.parametrize("part", [slice(0, 45), slice(30, None), slice(20, 55)])
def test_lungs_that_the_scan_cuts_are_no_other_reading(part: slice) -> None:
    """Without the belly, the heart is not taken for the liver."""
    made = chest("moving")
    grid = made.grid.part(np.zeros(3, dtype=int), (*made.grid.size[:2], len(made.hu[part])))
    found = evidence(*(Image(np.ascontiguousarray(of[part]), grid) for of in (made.hu, made.lungs)))
    assert found.tips is None
    assert exchanged(found) is None


@pytest.mark.slow
@pytest.mark.parametrize("found", FLIPS)
def test_command_refuses(found: str, tmp_path: Path) -> None:
    scan, mask = _flipped(chest(), FLIPS[found])
    write_image(tmp_path / "ct.nii.gz", scan, dtype=np.int16)
    write_mask(tmp_path / "mask.nii.gz", mask)
    out, record = tmp_path / "lungs.nii.gz", tmp_path / "rejected.json"
    for more in ([], ["--given", str(tmp_path / "mask.nii.gz")]):
        call = ["lungs", str(tmp_path / "ct.nii.gz"), str(out), *more, "--rejected", str(record)]
        done = CliRunner().invoke(main, call)
        assert [done.exit_code, len(done.stderr.splitlines()), out.exists()] == [2, 1, False]
        assert read_json(record)["code"] == "anatomy_mismatch"
    done = CliRunner().invoke(main, [*call, "--set", "anatomy=trusted"])
    assert done.exit_code == 0, done.output
    assert read_mask(out).array.any()


@pytest.mark.parametrize("name", ["ras", "flipped_z", "left_handed", "oblique", "permuted"])
def test_right_header_in_any_storage(name: str) -> None:
    """The same chest on grids of any orientation, resampled by world position."""
    from lcsd.io.images import resample

    made = chest()
    matrix = GRIDS[name].matrix
    reach = np.abs(matrix.T) @ (np.asarray(made.grid.size) * made.grid.spacing)
    size = np.ceil(reach / 4.0).astype(int)
    origin = made.grid.centre - matrix @ ((size - 1) / 2 * 4.0)
    grid = Grid(tuple(int(n) for n in size), (4.0, 4.0, 4.0), tuple(origin), tuple(matrix.ravel()))
    scan = resample(Image(made.hu.astype(np.float32), made.grid), grid, outside=-1000.0)
    mask = resample(Image(made.lungs, made.grid), grid, nearest=True)
    assert exchanged(evidence(scan, mask)) is None


@pytest.mark.parametrize(
    "make",
    [
        anatomy.mat,
        anatomy.throat,
        anatomy.bowel,
        anatomy.touching,
        anatomy.one_lung,
        lambda made: anatomy.one_lung(made, side=-1),
        anatomy.effusion,
        lambda made: anatomy.effusion(made, side=1),
        anatomy.pneumothorax,
        anatomy.emphysema,
        anatomy.consolidation,
    ],
)
def test_ill_lungs_are_no_other_reading(make: object) -> None:
    made = make(chest())  # type: ignore[operator]
    assert exchanged(evidence(made.image(), Image(made.lungs, made.grid))) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"windpipe_mm": (20.0, 60.0), "width_mm": (250.0, 200.0)}, "slices"),
        ({"windpipe_mm": (20.0, 60.0)}, None),  # a tube of gas in the belly under lungs that narrow upwards
        ({"windpipe_mm": (0.0, 40.0), "width_mm": (250.0, 200.0)}, None),  # too short
        ({"windpipe_mm": (20.0, 0.0), "tips": (-0.03, 0.2)}, "slices"),
        ({"windpipe_mm": (90.0, 20.0), "tips": (-0.03, 0.2)}, None),  # a windpipe at the head says otherwise
        ({"windpipe_mm": (20.0, 0.0), "tips": (0.15, 0.2)}, None),  # tips at both ends
        ({"windpipe_mm": (20.0, 0.0), "tips": (-0.03, 0.1)}, None),  # a steep dome
        ({"windpipe_mm": (20.0, 0.0), "tips": None}, None),  # cut off by the scan
        ({"bone_ml": (100.0, 500.0)}, None),  # contrast medium in the heart
        ({"bone_ml": (30.0, 200.0)}, "front"),
        ({"liver": 0.3, "heart_mm": 15.0}, None),
        ({"liver": 0.3, "heart_mm": -15.0}, "sides"),
        ({"liver": None, "heart_mm": None}, None),
    ],
)
def test_weak_evidence_says_nothing(changes: dict[str, object], expected: str | None) -> None:
    right = {"windpipe_mm": (90.0, 0.0), "width_mm": (200.0, 250.0), "bone_ml": (200.0, 30.0), "tips": (0.2, 0.0)}
    assert exchanged(Evidence(**{**right, "heart_mm": 10.0, "liver": 0.65, **changes})) == expected


@pytest.mark.real_data
@pytest.mark.slow
def test_real_scans_are_right(real_data: Path) -> None:
    names = (("chest_ct", "a", "a_lungs"), ("chest_ct", "b", "b_lungs"), ("right_lung", "fixed", "fixed_mask"))
    for folder, scan, mask in names:
        image, lungs = (
            read_image(real_data / folder / f"{scan}.nii.gz"),
            read_mask(real_data / folder / f"{mask}.nii.gz"),
        )
        assert exchanged(evidence(image, lungs)) is None
        if folder == "chest_ct":
            turned = [Image(np.ascontiguousarray(of.array[::-1]), of.grid) for of in (image, lungs)]
            assert exchanged(evidence(*turned)) == "slices"
            assert evidence(*turned).tips[1] > LEAST_TIP


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_real_scan_with_reversed_slices_is_rejected(real_data: Path, tmp_path: Path, name: str) -> None:
    """As the follow-up of itself it would be published; the stage of the lungs ends it, and nothing follows."""
    scan = read_image(real_data / "chest_ct" / f"{name}.nii.gz")
    turned = Image(np.ascontiguousarray(scan.array[::-1]), scan.grid)
    write_image(tmp_path / "moving.nii.gz", turned, dtype=np.int16)
    out, record = tmp_path / "lungs.nii.gz", tmp_path / "rejected.json"
    call = ["lungs", str(tmp_path / "moving.nii.gz"), str(out), "--rejected", str(record)]
    done = CliRunner().invoke(main, call)
    assert [done.exit_code, out.exists(), read_json(record)["code"]] == [2, False, "anatomy_mismatch"]
