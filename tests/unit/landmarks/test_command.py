"""``lcsd landmarks`` on files: outputs, exit codes, one-line errors, the road through Slicer."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.landmarks import command
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.io.fields import DisplacementField, read_field, write_field
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, write_image, write_mask
from lcsd.io.points import PointPairs, read_point_pairs, write_point_pairs
from lcsd.landmarks.propose import propose_landmarks
from lcsd.landmarks.slicer import read_markups
from lcsd.settings.landmarks import LandmarksSettings

GRID = Grid((30, 32, 28), (2.0, 2.0, 2.0), (-30.0, -40.0, -300.0))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 300, GRID.shape)
    fixed = (noise - 500).astype(np.int16)
    write_image(tmp_path / "fixed.nii.gz", Image(fixed, GRID), dtype=np.int16)
    write_image(tmp_path / "moving.nii.gz", Image(np.roll(fixed, 1, axis=2), GRID), dtype=np.int16)
    write_mask(tmp_path / "mask.nii.gz", Image(np.ones(GRID.shape, dtype=bool), GRID))
    vectors = np.full((*GRID.shape, 3), (2.0, 0.0, 0.0), dtype=np.float32)
    write_field(tmp_path / "field.nii.gz", DisplacementField(vectors, GRID))
    points = GRID.voxel_to_world(rng.uniform(3, 24, (9, 3)))
    write_point_pairs(tmp_path / "l.csv", PointPairs(points, points + 1.0, ids=tuple("abcdefghi")))
    return tmp_path


def refused(code: str, result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert f"[{code}]" in result.stderr
    return result.stderr


def test_convert_there_and_back(files: Path) -> None:
    images = ("--fixed-image", files / "fixed.nii.gz", "--moving-image", files / "moving.nii.gz")
    there = run(
        "convert",
        files / "l.csv",
        files / "f.txt",
        "--to",
        "dirlab",
        *images,
        "--moving-out",
        files / "m.txt",
        "--json",
    )
    assert there.exit_code == 0, there.output
    assert json.loads(there.stdout)["to"] == "dirlab"
    back = run("convert", files / "f.txt", files / "m.txt", files / "back.csv", "--from", "dirlab", *images)
    assert back.exit_code == 0, back.output
    np.testing.assert_allclose(
        read_point_pairs(files / "back.csv").moving, read_point_pairs(files / "l.csv").moving, atol=3e-4
    )
    assert read_json(files / "back.provenance.json")["stage"] == "landmarks"


def test_convert_refuses_a_wrong_frame_and_writes_nothing(files: Path) -> None:
    pairs = read_point_pairs(files / "l.csv")
    ras = PointPairs(flip_lps_ras(pairs.fixed), flip_lps_ras(pairs.moving))
    write_point_pairs(files / "ras.csv", ras)
    call = ("convert", files / "ras.csv", files / "o.mrk.json", "--fixed-image", files / "fixed.nii.gz")
    assert "RAS" in refused("wrong_frame", run(*call))
    assert not (files / "o.mrk.json").exists()
    assert run(*call, "--from", "generic", "--frame", "ras").exit_code == 0
    read = read_markups(files / "o.mrk.json")
    np.testing.assert_allclose(read[0].points, pairs.fixed, atol=1e-3)


def test_convert_refuses_options_that_would_change_nothing(files: Path) -> None:
    call = ("convert", files / "l.csv", files / "o.mrk.json", "--frame", "ras")
    assert "--frame" in refused("unused_option", run(*call))
    assert not (files / "o.mrk.json").exists()
    assert "--to-base" in refused("unused_option", run(*call[:3], "--to-base", "1"))
    to_generic = ("convert", files / "l.csv", files / "o.txt", "--to", "generic")
    refused("unused_option", run(*to_generic, "--frame", "ras"))
    written = run(*to_generic, "--to-frame", "ras")
    assert written.exit_code == 0, written.output
    first = (files / "o.txt").read_text().splitlines()[0].split(",")
    pairs = read_point_pairs(files / "l.csv")
    np.testing.assert_allclose([float(v) for v in first[:2]], -pairs.fixed[0, :2], atol=1e-3)


def test_what_is_said_of_a_table_read_is_not_said_of_the_one_written(files: Path) -> None:
    (files / "v.txt").write_text("11 21 31\n")
    call = (
        "convert",
        files / "v.txt",
        files / "v.txt",
        files / "o.txt",
        "--from",
        "dirlab",
        "--to",
        "generic",
        "--spacing",
        "1,1,1",
    )
    for options, numbers in (
        ((), "10 20 30"),
        (("--base", "0"), "11 21 31"),
        (("--to-frame", "ras"), "-10 -20 30"),
        (("--to-frame", "voxel", "--to-base", "1"), "11 21 31"),
        (("--axes", "zyx", "--to-frame", "voxel"), "30 20 10"),
        (("--to-axes", "zyx"), "30 20 10"),
    ):
        assert run(*call, *options).exit_code == 0
        found = (files / "o.txt").read_text().splitlines()[-1].split(",")[:3]
        assert [float(v) for v in found] == [float(v) for v in numbers.split()], options


def test_convert_without_a_scan_takes_a_spacing(files: Path) -> None:
    (files / "v.txt").write_text("1 1 1\n3 1 1\n")
    call = ("convert", files / "v.txt", files / "v.txt", files / "o.csv", "--from", "dirlab")
    refused("missing_grid", run(*call))
    assert run(*call, "--spacing", "0.5,1,2").exit_code == 0
    np.testing.assert_allclose(read_point_pairs(files / "o.csv").fixed, [[0, 0, 0], [1, 0, 0]])
    assert run(*call, "--spacing", "1,2").exit_code == 2
    scan = ("--spacing", "1,1,1", "--moving-image", files / "moving.nii.gz")
    assert "--spacing" in refused("unused_option", run(*call, *scan))
    refused("too_many_files", run("convert", "a", "b", "c", "d"))


def test_an_output_is_neither_an_input_nor_another_output(files: Path) -> None:
    before = (files / "l.csv").read_bytes()
    refused("same_file", run("convert", files / "l.csv", files / "." / "l.csv"))
    assert (files / "l.csv").read_bytes() == before
    refused("same_file", run("convert", files / "l.csv", files / "a.fcsv", "--moving-out", files / "a.fcsv"))
    assert not (files / "a.fcsv").exists()


def test_check_lists_findings_and_refuses_errors(files: Path) -> None:
    landmarks = files / "l.csv"
    pairs = read_point_pairs(landmarks)
    rng = np.random.default_rng(1)
    place = GRID.voxel_to_world(rng.uniform(0, 27, (60, 3)))
    write_point_pairs(files / "c.csv", PointPairs(place, place + 1.0))
    moving = pairs.moving.copy()
    moving[3, 2] += 11.0
    write_point_pairs(landmarks, PointPairs(pairs.fixed, moving, pairs.ids))
    result = run(
        "check",
        landmarks,
        "--fixed-image",
        files / "fixed.nii.gz",
        "--fixed-mask",
        files / "mask.nii.gz",
        "--correspondences",
        files / "c.csv",
        "--json",
        "--table",
        files / "review.csv",
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["outlier"] == 1
    assert (files / "review.csv").read_text().splitlines()[1] == "outlier,d,4,moving,11.000"
    printed = run("check", landmarks, "--correspondences", files / "c.csv")
    assert "outlier: row 4 d (moving, 11.000 mm)" in printed.stderr
    write_point_pairs(landmarks, PointPairs(pairs.fixed + 900.0, moving, pairs.ids))
    refused("landmark_outside", run("check", landmarks, "--fixed-image", files / "fixed.nii.gz"))


def test_agreement_prints_both_sides(files: Path) -> None:
    pairs = read_point_pairs(files / "l.csv")
    moved = pairs.moving + np.array([0, 0, 2])
    write_point_pairs(files / "b.csv", PointPairs(pairs.fixed, moved, pairs.ids))
    result = run("agreement", files / "l.csv", files / "b.csv", "--json", "--table", files / "t.csv")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["moving_mean_mm"] == pytest.approx(2.0, abs=1e-3)
    assert figures["fixed_max_mm"] == 0.0
    assert (files / "t.csv").read_text().splitlines()[1].startswith("a,0.0000,2.0000")
    write_point_pairs(files / "b.csv", PointPairs(pairs.fixed[1:], pairs.moving[1:], pairs.ids[1:]))
    refused("unpaired_ids", run("agreement", files / "l.csv", files / "b.csv"))


def test_propose_correct_in_slicer_and_read_back(files: Path) -> None:
    out = files / "proposal"
    call = (
        "propose",
        files / "fixed.nii.gz",
        files / "moving.nii.gz",
        "--fixed-mask",
        files / "mask.nii.gz",
        "--field",
        files / "field.nii.gz",
        "--out-dir",
        out,
        "--count",
        12,
        "--method",
        "shift",
    )
    result = run(*call, "--json")
    assert result.exit_code == 0, result.output
    again = propose_landmarks(
        read_image(files / "fixed.nii.gz"),
        read_image(files / "moving.nii.gz"),
        read_mask(files / "mask.nii.gz"),
        read_field(files / "field.nii.gz"),
        method="shift",
        settings=LandmarksSettings(count=12),
    )
    assert json.loads(result.stdout)["doubt_median_mm"] == pytest.approx(np.median(again.doubt))
    proposal = read_point_pairs(out / "proposal.csv")
    assert proposal.origin == ("predicted:shift",) * 12
    np.testing.assert_allclose(proposal.moving - proposal.fixed, [[2.0, 0, 0]] * 12, atol=1e-3)
    # The follow-up is the baseline, shifted by just that.
    assert proposal.weight is not None
    assert proposal.weight.min() > 0.95
    content = json.loads((out / "moving.mrk.json").read_text())
    assert content["markups"][0]["name"] == "moving moving.nii.gz"
    points = content["markups"][0]["controlPoints"]
    points[0]["position"][1] += 1.5
    points[1]["description"] += " reviewed"
    del points[2]["position"]
    points[2]["positionStatus"] = "undefined"
    (out / "moving.mrk.json").write_text(json.dumps(content))
    back = run(
        "convert",
        out / "fixed.mrk.json",
        out / "moving.mrk.json",
        files / "new.csv",
        "--proposed",
        out / "proposal.csv",
        "--json",
    )
    assert back.exit_code == 0, back.output
    assert "1 points without a position" in back.stderr
    figures = json.loads(back.stdout)
    assert (figures["landmarks"], figures["corrected"], figures["predicted"]) == (11, 2, 9)
    corrected = read_point_pairs(files / "new.csv")
    assert corrected.ids is not None
    assert corrected.origin is not None
    assert dict(zip(corrected.ids, corrected.origin, strict=True))["2"] == "corrected:shift"
    # What was corrected is not written over; elsewhere equal input gives equal bytes.
    assert "proposal" in refused("not_empty", run(*call))
    assert json.loads((out / "moving.mrk.json").read_text()) == content
    assert run(*call[:8], files / "again", *call[9:]).exit_code == 0
    assert (files / "again" / "proposal.csv").read_bytes() == (out / "proposal.csv").read_bytes()


def test_matches_outside_the_follow_up_have_no_weight(files: Path) -> None:
    def propose(millimetres: float, out: str) -> Result:
        vectors = np.full((*GRID.shape, 3), (millimetres, 0.0, 0.0), dtype=np.float32)
        write_field(files / "far.nii.gz", DisplacementField(vectors, GRID))
        return run(
            "propose",
            files / "fixed.nii.gz",
            files / "moving.nii.gz",
            "--fixed-mask",
            files / "mask.nii.gz",
            "--field",
            files / "far.nii.gz",
            "--out-dir",
            files / out,
            "--count",
            12,
            "--json",
        )

    result = propose(30.0, "far")
    assert result.exit_code == 0, result.output
    proposal = read_point_pairs(files / "far" / "proposal.csv")
    outside = ~GRID.contains(proposal.moving)
    assert 0 < outside.sum() < 12
    assert json.loads(result.stdout)["outside"] == outside.sum()
    assert proposal.weight is not None
    assert (proposal.weight[outside] == 0).all()
    (moving,) = read_markups(files / "far" / "moving.mrk.json")
    assert moving.notes is not None
    assert [n == "outside the follow-up" for n in moving.notes] == outside.tolist()
    refused("landmark_outside", propose(500.0, "farther"))
    assert not (files / "farther").exists()


def test_blind_proposal_has_labels_without_positions(files: Path) -> None:
    out = files / "blind"
    result = run(
        "propose",
        files / "fixed.nii.gz",
        "--fixed-mask",
        files / "mask.nii.gz",
        "--blind",
        "--count",
        8,
        "--out-dir",
        out,
    )
    assert result.exit_code == 0, result.output
    (fixed,), (moving,) = (read_markups(out / f"{n}.mrk.json") for n in ("fixed", "moving"))
    assert len(fixed.points) == 8
    assert moving.unset == fixed.labels
    assert not (out / "proposal.csv").exists()
    zero = run(
        "propose",
        files / "fixed.nii.gz",
        "--fixed-mask",
        files / "mask.nii.gz",
        "--blind",
        "--count",
        0,
        "--out-dir",
        files / "x",
    )
    assert zero.exit_code == 2
    assert "found 0" in zero.stderr
    refused(
        "missing_input",
        run("propose", files / "fixed.nii.gz", "--fixed-mask", files / "mask.nii.gz", "--out-dir", files / "x"),
    )
    refused(
        "too_few_points",
        run(
            "propose",
            files / "fixed.nii.gz",
            "--fixed-mask",
            files / "mask.nii.gz",
            "--blind",
            "--count",
            9000,
            "--out-dir",
            files / "x",
        ),
    )
    assert not (files / "x").exists()
