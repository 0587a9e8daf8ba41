"""Other methods: directions and axes on rotated grids, stand-ins for programs, and what is refused."""

import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.methods.pair import Pair
from lcsd.methods.register_images import METHODS, register_images
from tests.unit.methods.pairs import NEEDS_ANTS, make_pair

# Loading elastix takes eleven seconds: one worker does it.
pytestmark = pytest.mark.xdist_group("elastix")

QUICK = {
    "corrfield": {},
    "convexadam": {"selected_niter": 30},
    "elastix": {"MaximumNumberOfIterations": 40, "NumberOfResolutions": 2, "FinalGridSpacingInPhysicalUnits": 15},
    "ants": {"reg_iterations": [20, 10]},
}
"""Fewer steps than the programs' defaults."""

ANTS = pytest.param("ants", marks=NEEDS_ANTS)
NAMES = [ANTS if name == "ants" else name for name in QUICK]


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["lps", "oblique"])
@pytest.mark.parametrize("name", NAMES)
def test_the_field_maps_fixed_points_to_moving_points(
    name: str, grid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_pair(grid)
    monkeypatch.chdir(tmp_path)
    before, after = made.errors(METHODS[name].run(replace(made.pair, threads=2, options=QUICK[name])))
    assert list(tmp_path.iterdir()) == []  # nothing is left in the user's folder
    assert after < 0.4 * before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["elastix", ANTS])
def test_the_moving_scan_may_be_stored_the_other_way_round(name: str) -> None:
    made = make_pair("oblique", masks=False)
    scan = made.pair.moving
    turned = np.array(scan.grid.matrix)
    turned[:, 2] *= -1
    last = scan.grid.voxel_to_world(np.array([0.0, 0.0, scan.grid.size[2] - 1]))
    grid = Grid(scan.grid.size, scan.grid.spacing, tuple(last.tolist()), tuple(turned.ravel().tolist()))
    moving = Image(np.ascontiguousarray(scan.array[::-1]), grid)
    field = METHODS[name].run(replace(made.pair, moving=moving, options=QUICK[name]))
    before, after = made.errors(field)
    assert after < 0.5 * before


def stand_in(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a Python program of this name first on the PATH."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport sys\n{script}")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")


DEEDS = """
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert given["-F"].endswith("fixed.nii.gz") and given["-M"].endswith("moving.nii.gz"), sys.argv
assert given["-G"] == "8x4", sys.argv
import SimpleITK as sitk
size = sitk.ReadImage(given["-F"]).GetSize()
n = [side // 4 for side in size]
x = np.broadcast_to(np.arange(n[0], dtype=np.float32), n[::-1])
flow = np.stack([np.full(n[::-1], 2.0), x, np.full(n[::-1], -1.0)]).astype("<f4")
flow.tofile(given["-O"] + "_displacements.dat")
"""


@pytest.mark.parametrize("grid", ["lps", "oblique"])
def test_deeds_stores_y_x_z_in_voxels_on_a_coarse_grid(
    grid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "deedsBCV", DEEDS, monkeypatch)
    pair = replace(make_pair(grid).pair, options={"G": "8x4"})
    field = register_images("deeds", pair)
    voxels = pair.fixed.grid.world_vectors_to_voxel(field.vectors.astype(np.float64))
    # The displacement along x is the number of the control: a quarter of the voxel's, up to the last control.
    expected = np.minimum(np.arange(40) / 4, 9)
    np.testing.assert_allclose(voxels[..., 0], np.broadcast_to(expected, (32, 36, 40)), atol=1e-4)
    np.testing.assert_allclose(voxels[..., 1], 2.0, atol=1e-4)
    np.testing.assert_allclose(voxels[..., 2], -1.0, atol=1e-4)


UNIGRADICON = """
import SimpleITK as sitk
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert given["--fixed_modality"] == given["--moving_modality"] == "ct", sys.argv
assert given["--io_iterations"] == "50", sys.argv
transform = sitk.CompositeTransform([sitk.TranslationTransform(3, (1.0, 2.0, -3.0))])
sitk.WriteTransform(transform, given["--transform_out"])
"""


def test_unigradicon_writes_an_itk_transform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "unigradicon-register", UNIGRADICON, monkeypatch)
    field = register_images("unigradicon", replace(make_pair("oblique").pair, options={"io_iterations": 50}))
    np.testing.assert_allclose(field.vectors.reshape(-1, 3), np.broadcast_to([1, 2, -3], (32 * 36 * 40, 3)), atol=1e-5)


@pytest.mark.parametrize("script", ["sys.exit('out of memory')", "print('out of memory')"])
def test_a_program_that_fails_or_writes_nothing_is_an_error(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "deedsBCV", script, monkeypatch)
    with pytest.raises(WorkError, match="out of memory") as caught:
        register_images("deeds", make_pair("lps").pair)
    assert caught.value.code == "program_failed"


def test_deeds_of_another_size_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "deedsBCV", DEEDS.replace("flow.tofile", "flow[:, :-1].tofile"), monkeypatch)
    with pytest.raises(WorkError) as caught:
        register_images("deeds", replace(make_pair("lps").pair, options={"G": "8x4"}))
    assert caught.value.code == "bad_field"


@pytest.mark.parametrize(
    ("name", "module", "code"),
    [
        ("convexadam", "convexAdam.convex_adam_MIND", "missing_package"),
        ("elastix", "itk", "missing_package"),
        ("ants", "ants", "missing_package"),
        ("deeds", "", "missing_program"),
        ("unigradicon", "", "missing_program"),
    ],
)
def test_what_is_not_installed_is_said_with_a_remedy(
    name: str, module: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadInputError) as caught:
        METHODS[name].run(make_pair("lps").pair)
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["corrfield", "convexadam", ANTS])
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        METHODS[name].run(replace(make_pair("lps").pair, options={"iterations": 3}))
    assert caught.value.code == "unknown_option"


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.one_grid])
def test_scans_on_different_grids_are_refused_where_voxels_are_compared(name: str) -> None:
    pair = make_pair("lps").pair
    grid = Grid(pair.moving.grid.size, (3.0, 3.0, 3.1), pair.moving.grid.origin, pair.moving.grid.direction)
    with pytest.raises(BadInputError) as caught:
        register_images(name, replace(pair, moving=Image(pair.moving.array, grid), moving_mask=None))
    assert caught.value.code == "grid_mismatch"


@pytest.mark.slow
def test_a_program_that_breaks_is_one_line() -> None:
    pair = make_pair("lps").pair
    empty = Image(np.zeros_like(pair.fixed.array, bool), pair.fixed.grid)
    with pytest.raises(LcsdError) as caught:
        register_images("elastix", replace(pair, fixed_mask=empty, options=QUICK["elastix"]))
    assert caught.value.code == "program_failed"
    assert "\n" not in str(caught.value)


def test_convexadam_takes_both_masks_or_none() -> None:
    with pytest.raises(BadInputError) as caught:
        METHODS["convexadam"].run(replace(make_pair("lps").pair, moving_mask=None))
    assert (caught.value.code, caught.value.field) == ("missing_mask", "--moving-mask")


def test_corrfield_needs_its_region_and_fields_must_be_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_pair("lps", masks=False).pair
    with pytest.raises(BadInputError) as caught:
        register_images("corrfield", pair)
    assert caught.value.code == "missing_mask"
    broken = replace(METHODS["ants"], run=_not_finite, foreign=False)
    monkeypatch.setitem(METHODS, "ants", broken)
    with pytest.raises(WorkError) as failed:
        register_images("ants", pair)
    assert failed.value.code == "non_finite"


def _not_finite(pair: Pair) -> object:
    from lcsd.io.fields import DisplacementField

    vectors = np.zeros((*pair.fixed.array.shape, 3), np.float32)
    vectors[3, 3, 3, 1] = np.nan
    return DisplacementField(vectors, pair.fixed.grid)


def _segmentation_fault(pair: Pair) -> object:
    os.kill(os.getpid(), signal.SIGSEGV)
    return pair.fixed


def _killed(pair: Pair) -> object:
    os.kill(os.getpid(), signal.SIGKILL)
    return pair.fixed


def _ended(_: Pair) -> object:
    os._exit(0)


def _breaks(_: Pair) -> object:
    raise ZeroDivisionError("no iteration")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "found"), [(_segmentation_fault, "SIGSEGV"), (_killed, "SIGKILL: out of memory?"), (_ended, "exit code 0")]
)
def test_a_package_that_crashes_is_one_line_with_how_it_ended(
    run: object, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "elastix", replace(METHODS["elastix"], run=run))
    with pytest.raises(WorkError) as caught:
        register_images("elastix", make_pair("lps").pair)
    assert (caught.value.code, caught.value.found) == ("program_failed", found)
    assert caught.value.remedy


@pytest.mark.slow
def test_an_unexpected_error_of_a_package_is_one_line_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "ants", replace(METHODS["ants"], run=_breaks))
    with pytest.raises(WorkError, match="no iteration") as caught:
        register_images("ants", make_pair("lps").pair)
    assert (caught.value.code, caught.value.found) == ("program_failed", "ZeroDivisionError: no iteration")


def test_a_full_folder_for_temporary_files_is_named_before_the_method_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, ANTs ended with a truncated NIfTI file, and elastix complained of images that it wrote in part."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(WorkError) as caught:
        register_images("elastix", make_pair("lps").pair)
    assert (caught.value.code, "TMPDIR" in caught.value.message) == ("cannot_write", True)
