"""``lcsd register-images`` from files to the comparison, and its refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.main import main
from lcsd.geometry import Grid
from lcsd.io.images import Image, write_image, write_mask
from lcsd.io.points import PointPairs, write_point_pairs
from tests.unit.methods.pairs import NEEDS_ANTS, Made, make_pair

OPTION = ["--option", "reg_iterations=[20, 10]"]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = make_pair("oblique")
    for name in ("fixed", "moving"):
        write_image(tmp_path / f"{name}.nii.gz", getattr(made.pair, name), dtype=np.float32)
    write_mask(tmp_path / "mask.nii.gz", made.pair.fixed_mask)
    return made


def register(folder: Path, *words: object, method: str = "ants") -> Result:
    if method == "ants" and NEEDS_ANTS.args[0]:
        pytest.skip(NEEDS_ANTS.kwargs["reason"])
    scans = [folder / "fixed.nii.gz", folder / "moving.nii.gz"]
    return run("register-images", *scans, "--method", method, "--out-dir", folder / "out", *words)


@pytest.mark.slow
def test_a_registration_is_scored_and_compared_with_time_and_memory(made: Made, tmp_path: Path) -> None:
    done = register(tmp_path, *OPTION, "--field-mm", 6, "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.output)
    assert (shown["method"], shown["program"], shown["folding_percent"]) == ("ants", "antspyx", 0)
    assert shown["version"] != "unknown"
    voxels = np.argwhere(made.inside)[:: made.inside.sum() // 50]
    fixed = made.pair.fixed.grid.voxel_to_world(voxels[:, ::-1].astype(float))
    write_point_pairs(tmp_path / "landmarks.csv", PointPairs(fixed, fixed + made.truth[tuple(voxels.T)]))
    evaluation = tmp_path / "results" / "cases" / "a" / "evaluation"
    files = ["--out", evaluation / "ants.json", "--table", evaluation / "ants_landmarks.csv"]
    scored = run(
        "evaluate", "--landmarks", tmp_path / "landmarks.csv", "--field", tmp_path / "out/field.nii.gz", *files
    )
    assert scored.exit_code == 0, scored.output
    figures = json.loads((evaluation / "ants.json").read_text())
    assert figures["tre_mean_mm"] < 0.4 * figures["tre_before_mean_mm"]
    assert "wall_s" not in figures  # equal input gives equal bytes
    compared = run("compare", tmp_path / "results", "--out-dir", tmp_path / "compared")
    assert compared.exit_code == 0, compared.output
    row = next(csv.DictReader((tmp_path / "compared" / "compare.csv").open()))
    record = json.loads((tmp_path / "out" / "registration.provenance.json").read_text())
    assert (float(row["seconds"]), float(row["peak_memory_gib"])) == (record["wall_s"], record["peak_memory_gib"])


@pytest.mark.slow
def test_a_field_that_has_changed_since_has_no_cost(made: Made, tmp_path: Path) -> None:
    from lcsd.build.provenance import cost_of

    assert register(tmp_path, *OPTION).exit_code == 0
    field = tmp_path / "out" / "field.nii.gz"
    assert cost_of(field)["stage"] == "register-images"
    field.write_bytes(field.read_bytes() + b"\0")
    assert cost_of(field) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "method", "code"),
    [
        (["--option", "nonsense"], "ants", "bad_option"),
        (["--option", "speed=9"], "ants", "unknown_option"),
        ([], "corrfield", "missing_mask"),
        ([], "deeds", "missing_program"),
    ],
)
def test_refusals_are_one_line(
    made: Made, tmp_path: Path, words: list[str], method: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = register(tmp_path, *words, method=method)
    assert (done.exit_code, len(done.output.strip().splitlines())) == (2, 1)
    assert f"[{code}]" in done.output
    assert not (tmp_path / "out").exists()


def test_scans_of_different_grids_are_told_to_be_aligned(made: Made, tmp_path: Path) -> None:
    grid = made.pair.moving.grid
    other = Grid(grid.size, (3.0, 3.0, 2.9), grid.origin, grid.direction)
    write_image(tmp_path / "moving.nii.gz", Image(made.pair.moving.array, other), dtype=np.float32)
    done = register(tmp_path, method="convexadam")
    assert done.exit_code == 2
    assert "lcsd prealign" in done.output


def test_a_method_must_be_named(made: Made, tmp_path: Path) -> None:
    done = run("register-images", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", "--out-dir", tmp_path / "out")
    assert done.exit_code == 2
    assert "corrfield, convexadam, elastix, ants, deeds, unigradicon" in done.output
