"""Landmarks as other programs write them: the right positions, or a refusal."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.landmarks.formats import NOTHING_GIVEN, Given, Grids, format_of, read_landmarks

GRID = Grid((60, 50, 40), (1.5, 1.5, 2.0), (-40.0, -90.0, 300.0))
VOXELS = np.random.default_rng(7).integers(2, 38, (12, 3)).astype(float)
POINTS = GRID.voxel_to_world(VOXELS)
RAS = POINTS * [-1, -1, 1]


def table(header: str, points: np.ndarray, separator: str = ",") -> str:
    """Return a table of labelled points."""
    width = len(header.split(separator)) - 4
    rows = (separator.join([f"F-{n}", *map(str, p), *["1"] * width]) for n, p in enumerate(points.tolist(), 1))
    return "\n".join([header, *rows]) + "\n"


def plain(points: np.ndarray, head: str = "", separator: str = " ") -> str:
    return head + "".join(separator.join(map(str, p)) + "\n" for p in points.tolist())


def markups(points: np.ndarray, frame: str) -> str:
    controls = [{"id": str(n), "label": f"F-{n}", "position": p} for n, p in enumerate(points.tolist(), 1)]
    return json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": frame, "controlPoints": controls}]})


def fcsv(points: np.ndarray, frame: str) -> str:
    head = f"# Markups fiducial file version = 4.10\n# CoordinateSystem = {frame}\n# columns = id,x,y,z\n"
    return head + "".join(f"{n},{p[0]},{p[1]},{p[2]}\n" for n, p in enumerate(points.tolist(), 1))


@dataclass(frozen=True)
class Row:
    """A file, where it was reported, and its outcome: None for the right points, or a reason code."""

    kind: str
    source: str
    name: str
    content: str
    code: str | None = None
    given: Given = NOTHING_GIVEN


FULL = "label,{},defined,selected,visible,locked,description"
TABLE = [
    Row("Slicer's table", "Slicer documentation", "a.csv", table(FULL.format("r,a,s"), RAS)),
    Row("Slicer's table", "Slicer documentation", "a.csv", table(FULL.format("l,p,s"), POINTS)),
    Row("Slicer's table", "tried here", "a.tsv", table("label\tr\ta\ts", RAS, "\t")),
    Row("Slicer's table", "tried here", "a.csv", table("label,R,A,S", RAS)),
    Row("Slicer's table", "tried here", "a.csv", table("label,r,a,s", RAS), "contradicting_frame", Given("lps")),
    Row("elastix", "SimpleElastix 229", "a.txt", plain(POINTS, "point\n12\n")),
    Row("elastix", "RegNet 13", "a.pts", plain(VOXELS, "index\n12\n")),
    Row("elastix", "elastix 19", "a.txt", plain(POINTS, "point\n13\n"), "bad_count"),
    Row("elastix", "RegNet 13", "a.pts", plain(VOXELS, "index\n12\n"), "contradicting_frame", Given("lps")),
    Row("names", "tried here", "a.csv", table("id,x_ras,y_ras,z_ras", RAS)),
    Row("names", "tried here", "a.csv", table("id,x_mm,y_mm,z_mm", POINTS)),
    Row("names", "tried here", "a.csv", table("id,x_m,y_m,z_m", POINTS / 1000)),
    Row("names", "mne-bids 821", "a.csv", table("id,i,j,k", VOXELS)),
    Row("names", "tried here", "a.txt", plain(POINTS[:, ::-1], "# z y x\n")),
    Row("comment", "tried here", "a.txt", plain(RAS, "# CoordinateSystem = RAS\n")),
    Row("markups", "Slicer 3731", "a.fcsv", fcsv(RAS, "0")),
    Row("markups", "Morpho 17", "a.fcsv", fcsv(POINTS, "LPS")),
    Row("markups", "Slicer 4938", "a.mrk.json", markups(RAS, "RAS")),
    Row("markups", "Slicer 4938", "a.mrk.json", markups(POINTS, "LPS")),
    Row(
        "index",
        "tried here",
        "a.txt",
        "".join(f"{n} {p[0]} {p[1]} {p[2]}\n" for n, p in enumerate(POINTS)),
        "index_column",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.kind}-{row.source}".replace(" ", "_"))
def test_positions_are_right_or_refused(tmp_path: Path, row: Row) -> None:
    paths = [tmp_path / f"{scan}{row.name[1:]}" for scan in "fm"]
    for path in paths:
        path.write_text(row.content, encoding="utf-8")
    is_stated = row.kind in {"Slicer's table", "elastix", "markups"}
    form = format_of(paths[0], reading=True) if is_stated else "generic"
    if row.code is not None:
        with pytest.raises(BadInputError) as caught:
            read_landmarks(paths, form, grids=Grids(GRID), given=row.given)
        assert caught.value.code == row.code
        return
    found = read_landmarks(paths, form, grids=Grids(GRID), given=row.given).pairs
    np.testing.assert_allclose(found.fixed, POINTS, atol=1e-6)
    np.testing.assert_allclose(found.moving, POINTS, atol=1e-6)
