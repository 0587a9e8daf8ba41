"""Landmarks of other programs given to the commands that use them: the right positions, or a refusal."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.evaluate import command as evaluate
from lcsd.cli.landmarks import command as landmarks
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.images import Image, write_image
from lcsd.io.points import PAIR_COLUMNS

GRID = Grid((24, 20, 22), (5.0, 6.0, 5.0), (20.0, -250.0, -400.0))
MOTION = np.array([2.0, -3.0, 8.0])
ERROR = np.array([0.0, 0.0, 1.5])
FIXED = GRID.voxel_to_world(np.random.default_rng(3).uniform(4, 15, (9, 3)))
MOVING = FIXED + MOTION + ERROR
TO_RAS = np.array([-1, -1, 1])
FULL = "label,{},defined,selected,visible,locked,description"


def table(header: str, points: np.ndarray, name: str = "P", separator: str = ",") -> str:
    """Return a table of labelled points; further columns are 1."""
    width = len(header.split(separator)) - 4
    rows = [separator.join([f"{name}-{n}", *map(str, p), *["1"] * width]) for n, p in enumerate(points.tolist(), 1)]
    return "\n".join([header, *rows]) + "\n"


def point_set(points: np.ndarray, word: str = "point") -> str:
    return f"{word}\n{len(points)}\n" + "".join(" ".join(map(str, p)) + "\n" for p in points.tolist())


def markups(frame: str, *lists: np.ndarray) -> str:
    parts = [
        {
            "type": "Fiducial",
            "coordinateSystem": frame,
            "controlPoints": [{"label": f"P-{n}", "position": p} for n, p in enumerate(points.tolist(), 1)],
        }
        for points in lists
    ]
    return json.dumps({"markups": parts})


def fcsv(frame: str, points: np.ndarray) -> str:
    head = f"# Markups fiducial file version = 4.10\n# CoordinateSystem = {frame}\n# columns = id,x,y,z,label\n"
    return head + "".join(f"{n},{p[0]},{p[1]},{p[2]},P-{n}\n" for n, p in enumerate(points.tolist(), 1))


def ours(points: np.ndarray, others: np.ndarray, head: str = "") -> str:
    rows = "".join(",".join(map(str, row)) + "\n" for row in np.hstack([points, others]).tolist())
    return head + ",".join(PAIR_COLUMNS) + "\n" + rows


@dataclass(frozen=True)
class Case:
    """Files of the fixed and perhaps the moving points, where this was reported, and the refusal's code if any."""

    source: str
    files: dict[str, str]
    code: str | None = None


RAS, LPS = FULL.format("r,a,s"), FULL.format("l,p,s")
TAB = "label\tr\ta\ts"


def unplaced(header: str, points: np.ndarray) -> str:
    """Return Slicer's table with one more point, which was not placed: it has the origin and a 0 for ``defined``."""
    return table(header, points) + "P-99,0,0,0,0,1,1,1,\n"


CASES = [
    # Silent before, where a scan holds the origin.
    Case("Slicer 5325", {"f.csv": unplaced(RAS, FIXED * TO_RAS), "m.csv": unplaced(LPS, MOVING)}),
    Case("Slicer 5325", {"f.csv": unplaced(RAS, FIXED * TO_RAS), "m.csv": table(LPS, MOVING)}),
    Case("Slicer 5677", {"f.csv": table(RAS, FIXED * TO_RAS), "m.csv": table(RAS, MOVING * TO_RAS)}),
    Case("Slicer 6263", {"f.csv": table(LPS, FIXED), "m.csv": table(LPS, MOVING)}),
    Case("Slicer 5703", {"f.csv": table(RAS, FIXED * TO_RAS), "m.csv": table(LPS, MOVING)}),
    Case(
        "Slicer 5677",
        {"f.tsv": table(TAB, FIXED * TO_RAS, separator="\t"), "m.tsv": table(TAB, MOVING * TO_RAS, separator="\t")},
    ),
    Case("Slicer 5677", {"F.csv": table(RAS, FIXED * TO_RAS, "F"), "M.csv": table(RAS, MOVING * TO_RAS, "M")}),
    Case(
        "SlicerMorph 82", {"f.csv": table(RAS, FIXED * TO_RAS), "m.csv": table("label,x,y,z", MOVING)}, "unknown_format"
    ),
    Case(
        "SlicerMorph 82",
        {"f.csv": table("label,x,y,z", FIXED), "m.csv": table("label,x,y,z", MOVING)},
        "unknown_format",
    ),
    Case("SimpleElastix 229", {"f.txt": point_set(FIXED), "m.txt": point_set(MOVING)}),
    Case("SimpleElastix 147", {"f.pts": point_set(FIXED), "m.pts": point_set(MOVING)}),
    Case("elastix 156", {"f.txt": point_set(FIXED), "m.csv": table(RAS, MOVING * TO_RAS)}),
    Case(
        "SimpleElastix 107",
        {"f.txt": point_set(FIXED.round(), "index"), "m.txt": point_set(MOVING.round(), "index")},
        "voxel_landmarks",
    ),
    Case("elastix 19", {"f.txt": point_set(FIXED) + "1 2 3\n", "m.txt": point_set(MOVING)}, "bad_count"),
    Case("Slicer 4938", {"f.mrk.json": markups("RAS", FIXED * TO_RAS), "m.mrk.json": markups("LPS", MOVING)}),
    Case("Slicer 4938", {"both.mrk.json": markups("RAS", FIXED * TO_RAS, MOVING * TO_RAS)}),
    Case("Morpho 17", {"f.fcsv": fcsv("0", FIXED * TO_RAS), "m.fcsv": fcsv("LPS", MOVING)}),
    Case("tried here", {"both.csv": ours(FIXED * TO_RAS, MOVING * TO_RAS, "# SPACE=RAS\n")}),
    Case("tried here", {"both.csv": ours(FIXED, MOVING)}),
    Case("Slicer 5677", {"f.csv": table(RAS, FIXED * TO_RAS)}, "missing_list"),
    Case("tried here", {"both.csv": ours(FIXED, MOVING), "m.csv": table(LPS, MOVING)}, "too_many_files"),
]


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments), "--json"])  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.source}-{'-'.join(case.files)}".replace(" ", "_"))
def test_commands_read_the_right_positions_or_refuse(tmp_path: Path, case: Case) -> None:
    for name, content in case.files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    files = [tmp_path / name for name in case.files]
    field = DisplacementField(np.broadcast_to(MOTION, (*GRID.shape, 3)).astype(np.float32), GRID)
    write_field(tmp_path / "field.nii.gz", field)
    write_image(tmp_path / "ct.nii.gz", Image(np.zeros(GRID.shape, np.int16), GRID), dtype=np.int16)
    options = ["--moving-landmarks", files[1]] if len(files) == 2 else []
    scored = run(evaluate, "--landmarks", files[0], *options, "--field", tmp_path / "field.nii.gz")
    # Points of another frame would lie outside the scans.
    scans = ["--fixed-image", tmp_path / "ct.nii.gz", "--moving-image", tmp_path / "ct.nii.gz"]
    checked = run(landmarks, "check", *files, *scans)
    if case.code is not None:
        for result in (scored, checked):
            assert result.exit_code == 2
            assert result.output.rstrip().endswith(f"[{case.code}]")
        return
    assert scored.exit_code == checked.exit_code == 0, scored.output + checked.output
    assert json.loads(scored.stdout)["tre_mean_mm"] == pytest.approx(1.5, abs=1e-4)
    assert json.loads(checked.stdout)["landmarks"] == len(FIXED)


@pytest.mark.parametrize("silent", ["f.csv", "m.csv"])
def test_one_file_alone_names_its_frame(tmp_path: Path, silent: str) -> None:
    """SlicerMorph 82: a RAS list beside one that says nothing was read as LPS."""
    for name, points in (("f.csv", FIXED), ("m.csv", MOVING)):
        plain, stated = table("label,x,y,z", points), table(RAS, points * TO_RAS)
        (tmp_path / name).write_text(plain if name == silent else stated)
    call = ["convert", tmp_path / "f.csv", tmp_path / "m.csv", tmp_path / "out.csv", "--from", "generic"]
    refused = run(landmarks, *call)
    assert (refused.exit_code, f"{silent}: one table names its frame" in refused.output) == (2, True)
    assert "[missing_frame]" in refused.output
    assert not (tmp_path / "out.csv").exists()


def test_points_without_a_position_are_named(tmp_path: Path) -> None:
    content = json.loads(markups("LPS", FIXED, MOVING))
    del content["markups"][1]["controlPoints"][2]["position"]
    (tmp_path / "both.mrk.json").write_text(json.dumps(content))
    field = DisplacementField(np.broadcast_to(MOTION, (*GRID.shape, 3)).astype(np.float32), GRID)
    write_field(tmp_path / "field.nii.gz", field)
    result = run(evaluate, "--landmarks", tmp_path / "both.mrk.json", "--field", tmp_path / "field.nii.gz")
    assert result.exit_code == 0
    assert "1 points without a position" in result.stderr
    assert json.loads(result.stdout)["count"] == len(FIXED) - 1
