"""``lcsd register`` writes its three files, the same bytes every time, or nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.register import command
from lcsd.geometry import Grid
from lcsd.io.fields import read_field
from lcsd.io.files import read_json
from lcsd.io.images import Image, write_image
from lcsd.io.points import Cloud, read_cloud, write_cloud

LEVEL = "[{raster_mm: 6, flow_mm: 8, sigma_voxels: 1, iterations: 8}]"
QUICK = ("--set", f"levels={LEVEL}", "--set", f"second_levels={LEVEL}", "--threads", "1")
OUTPUTS = ("field.nii.gz", "points.npz", "registration.json")
SHIFT = np.array([2.0, 0.0, -3.0])


@pytest.fixture
def clouds(tmp_path: Path) -> tuple[Path, Path]:
    points = np.random.default_rng(0).uniform(-40, 40, (400, 3)).astype(np.float32)
    paths = tmp_path / "fixed.npz", tmp_path / "moving.npz"
    write_cloud(paths[0], Cloud(points, radius=np.ones(400, np.float32), meta={"case": "a"}))
    write_cloud(paths[1], Cloud((points + SHIFT).astype(np.float32)))
    return paths


def register(*arguments: object) -> Result:
    # One thread: the variables it sets stay in this process, where other tests follow.
    return CliRunner().invoke(command, [*QUICK, *map(str, arguments)])


def test_writes_field_points_and_figures(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    grid = Grid.centred(np.zeros(3), size=(20, 22, 24), spacing_mm=5.0)
    write_image(tmp_path / "ct.nii.gz", Image(np.zeros(grid.shape), grid), dtype=np.int16)
    out = tmp_path / "out"
    result = register(*clouds, "--out-dir", out, "--grid", tmp_path / "ct.nii.gz", "--json")
    assert result.exit_code == 0, result.stderr
    fixed, moved = read_cloud(clouds[0]), read_cloud(out / "points.npz")
    field = read_field(out / "field.nii.gz")
    assert field.grid.same_as(grid)
    np.testing.assert_allclose(fixed.points + field.at(fixed.points), moved.points, atol=0.1)
    np.testing.assert_allclose((moved.points - fixed.points).mean(axis=0), SHIFT, atol=0.2)
    np.testing.assert_array_equal(moved.radius, fixed.radius)
    assert moved.meta == {"case": "a", "stage": "register"}
    figures = json.loads((out / "registration.json").read_text())
    assert figures["iterations"] == len(figures["distance"]) == 16
    assert figures["folding_percent"] == 0
    assert not {key for key in figures if key.endswith("_s") or "memory" in key}
    provenance = json.loads((out / "registration.provenance.json").read_text())
    assert set(provenance["inputs"]) == {"fixed_cloud", "moving_cloud", "grid"}
    assert json.loads(result.stdout)["fixed_points"] == 400


@pytest.mark.slow
def test_field_spacing_changes_the_field_s_grid_and_nothing_else(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    grid = Grid.centred(np.zeros(3), size=(20, 22, 24), spacing_mm=5.0)
    write_image(tmp_path / "ct.nii.gz", Image(np.zeros(grid.shape), grid), dtype=np.int16)
    call = (*clouds, "--grid", tmp_path / "ct.nii.gz", "--out-dir")
    assert register(*call, tmp_path / "fine").exit_code == 0
    assert register(*call, tmp_path / "coarse", "--field-mm", 10).exit_code == 0
    fine, coarse = (read_field(tmp_path / name / "field.nii.gz") for name in ("fine", "coarse"))
    assert coarse.grid.size == (10, 11, 12)
    assert coarse.grid.same_as(Grid.covering(grid, 10.0))
    np.testing.assert_allclose(coarse.at(fine.grid.corners()), fine.at(fine.grid.corners()), atol=0.5)
    both = [(tmp_path / name / "points.npz").read_bytes() for name in ("fine", "coarse")]
    assert both[0] == both[1]
    facts = read_json(tmp_path / "coarse" / "registration.provenance.json")["facts"]
    assert facts == {"field": {"spacing_mm": 10.0}}


def test_field_spacing_needs_an_image(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    result = register(*clouds, "--out-dir", tmp_path / "out", "--field-mm", 2)
    assert result.exit_code == 2
    assert "[bad_option]" in result.stderr
    assert register(*clouds, "--out-dir", tmp_path / "out", "--field-mm", 0).exit_code == 2


def test_a_field_that_does_not_fit_in_memory_is_refused(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    grid = Grid((20, 22, 24), (5.0, 5.0, 5.0), (-50.0, -50.0, -60.0))
    write_image(tmp_path / "ct.nii.gz", Image(np.zeros(grid.shape), grid), dtype=np.int16)
    out = tmp_path / "out"
    result = register(*clouds, "--grid", tmp_path / "ct.nii.gz", "--out-dir", out, "--field-mm", 0.01)
    assert result.exit_code == 2
    assert "[field_too_large]" in result.stderr
    assert "10000 x 11000 x 12000 voxels, 1.48e+04 GiB" in result.stderr
    assert not out.exists() or not list(out.glob("field*"))


@pytest.mark.slow
def test_other_formats_frames_and_units(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-40, 40, (400, 3))
    ras = np.array([-1, -1, 1])
    np.savetxt(tmp_path / "fixed.txt", points * ras / 1000)
    np.save(tmp_path / "moving.npy", (points + SHIFT) * ras / 1000)
    out = tmp_path / "out"
    result = register(
        tmp_path / "fixed.txt", tmp_path / "moving.npy", "--out-dir", out, "--frame", "ras", "--unit", "m"
    )
    assert result.exit_code == 0, result.stderr
    moved = read_cloud(out / "points.npz").points
    np.testing.assert_allclose((moved - points).mean(axis=0), SHIFT, atol=0.2)
    own = np.loadtxt(out / "points.txt") * 1000 * ras
    np.testing.assert_allclose(own, moved, atol=1e-2)
    assert read_field(out / "field.nii.gz").grid.spacing == pytest.approx((3, 3, 3))


@pytest.mark.slow
def test_symmetric_writes_the_way_back(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert register(*clouds, "--out-dir", out, "--symmetric").exit_code == 0
    moved = read_cloud(out / "points.npz").points.astype(np.float64)
    back = read_field(out / "inverse_field.nii.gz").at(moved)
    np.testing.assert_allclose(moved + back, read_cloud(clouds[0]).points, atol=0.2)


def test_shortcuts_are_settings(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    fast = "levels=[{raster_mm: 8, flow_mm: 9, sigma_voxels: 1, iterations: 3}]"
    done = register(*clouds, "--out-dir", out, "--fast", "--method", "chamfer", "--set", fast, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["iterations"] == 3
    assert json.loads(done.stdout)["seconds"] > 0
    settings = json.loads((out / "registration.provenance.json").read_text())["settings"]
    assert (settings["effort"], settings["method"]) == ("fast", "chamfer")


@pytest.mark.parametrize("words", [("--set", "effort=quick"), ("--set", "effort = accurate"), ("--refine", "none")])
def test_options_that_contradict_each_other_are_refused(
    clouds: tuple[Path, Path], tmp_path: Path, words: tuple[str, str]
) -> None:
    """Reported of rems-project/sail, issue 1588, and tokiwa-software/fuzion, issue 4154: one option won in silence."""
    done = register(*clouds, "--out-dir", tmp_path / "out", "--fast", *words)
    assert done.exit_code == 2
    assert "two options set one setting to different values; expected effort=" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_frame_mix_up_is_named(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    far = tmp_path / "far.npy"
    np.save(far, read_cloud(clouds[1]).points + 1000)
    done = register(clouds[0], far, "--out-dir", tmp_path / "out")
    assert done.exit_code == 2
    assert "different frames" in done.stderr
    assert "RAS/LPS" in done.stderr


@pytest.mark.slow
def test_a_rerun_is_the_same_bytes(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert register(*clouds, "--out-dir", tmp_path / name).exit_code == 0
    for output in OUTPUTS:
        assert (tmp_path / "a" / output).read_bytes() == (tmp_path / "b" / output).read_bytes()


def test_bad_input_writes_nothing(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    far = tmp_path / "far.npz"
    write_cloud(far, Cloud(read_cloud(clouds[1]).points + np.float32(1000)))
    out = tmp_path / "out"
    for moving in (far, tmp_path / "absent.npz"):
        result = register(clouds[0], moving, "--out-dir", out)
        assert result.exit_code == 2
        assert result.stderr.startswith("lcsd register: error: ")
        assert not out.exists()


@pytest.mark.parametrize("assignment", ["levels=[]", "flow_mean_width=4", "effort=3", "raster=2", "saturation=-1"])
def test_bad_settings_are_named(clouds: tuple[Path, Path], tmp_path: Path, assignment: str) -> None:
    result = register(*clouds, "--out-dir", tmp_path / "out", "--set", assignment)
    assert result.exit_code == 2
    assert assignment.partition("=")[0] in result.stderr


def test_expected_errors_are_written_and_a_trusted_pair_gets_no_warning(
    clouds: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = register(*clouds, "--out-dir", out, "--json")
    figures = read_json(out / "registration.json")
    errors = read_cloud(out / "points.npz").expected_error_mm
    assert errors is not None
    assert errors.dtype == np.float32
    assert errors.shape == (400,)
    assert figures["untrusted_share"] == float((errors > 5).mean())
    assert 0 < figures["expected_error_median_mm"] < figures["expected_error_p95_mm"]
    (gate,) = figures["gates"]
    assert (gate["name"], gate["value"], gate["usual_high"]) == ("untrusted_share", figures["untrusted_share"], 0.05)
    assert json.loads(result.stdout)["untrusted_share"] == figures["untrusted_share"]


@pytest.mark.slow
def test_an_untrusted_pair_is_flagged_with_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    paths = [tmp_path / name for name in ("fixed.npz", "moving.npz")]
    for path in paths:  # lines in different places
        starts, along = rng.uniform(-40, 40, (25, 1, 3)), np.linspace(0, 20, 60)[:, None]
        points = starts + along * rng.normal(size=(25, 1, 3))
        write_cloud(path, Cloud(points.reshape(-1, 3).astype(np.float32)))
    out = tmp_path / "out"
    result = register(*paths, "--out-dir", out)
    assert result.exit_code == 0
    assert result.stderr.count("lcsd register: warning:") == 1
    figures = read_json(out / "registration.json")
    assert figures["untrusted_share"] > 0.05
    assert [(gate["passed"], gate["flagged"]) for gate in figures["gates"]] == [(True, True)]
    failed = register(*paths, "--out-dir", out, "--set", "untrusted_share={max: 0.05}")
    assert failed.exit_code == 0
    assert failed.stderr.count("lcsd register: warning:") == 1
    assert [(gate["passed"], gate["flagged"]) for gate in read_json(out / "registration.json")["gates"]] == [
        (False, False)
    ]
    silent = register(*paths, "--out-dir", out, "--set", "untrusted_share={}")
    assert "warning:" not in silent.stderr


def test_without_an_expected_error_there_is_no_verdict(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert register(*clouds, "--out-dir", out, "--set", "trust=none").exit_code == 0
    figures = read_json(out / "registration.json")
    assert figures["gates"] == []
    assert figures["untrusted_share"] is None
    assert read_cloud(out / "points.npz").expected_error_mm is None
