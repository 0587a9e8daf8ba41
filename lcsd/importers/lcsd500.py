"""Import the published LCSD500: vessel maps and correspondences of rigidly aligned pairs, without scans.

Heinrich et al., ICCV 2023. The names of the files and the frame of the correspondences are not documented,
so the caller gives both.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lcsd.clouds.cloud import dense_cloud
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.importers.archives import add_once, check_complete
from lcsd.importers.cloud_table import write_cloud_pair
from lcsd.io.images import read_mask
from lcsd.io.points import PointPairs
from lcsd.landmarks.checks import check_frame
from lcsd.landmarks.formats import Given, Grids, read_landmarks
from lcsd.names import CASE_PATTERN, SCANS

PLACE = "{case}"
MARGIN_MM = 20.0  # matched points may lie this far outside the moving vessel map


class MapGrids(NamedTuple):
    """Grids of both vessel maps."""

    fixed: Grid
    moving: Grid


@dataclass(frozen=True)
class Layout:
    """What the archive does not document."""

    # File names by kind (``fixed``, ``moving``: vessel maps; ``correspondences``, ``landmarks``: tables of six
    # columns), with ``{case}`` for the name of the case
    patterns: Mapping[str, str]
    numbering: Given = field(default_factory=lambda: Given("voxel", 0))  # meaning of the numbers in the tables

    def __post_init__(self) -> None:
        for kind, pattern in self.patterns.items():
            if pattern.count(PLACE) != 1:
                raise BadInputError(
                    "the pattern does not mark the name of the case",
                    code="bad_pattern",
                    field=f"--{kind}",
                    expected=f"{PLACE} once",
                    found=pattern,
                )

    def case_of(self, name: str) -> tuple[str, str] | None:
        """Return the case and the kind of a file, or None if it is not needed."""
        for kind, pattern in self.patterns.items():
            before, after = (re.escape(part) for part in pattern.split(PLACE))
            match = re.fullmatch(f"{before}({CASE_PATTERN.pattern}){after}", name)
            if match:
                return match[1], kind
        return None


def find_cases(files: Iterable[Path], layout: Layout) -> dict[str, dict[str, Path]]:
    """Return the files of each case by kind, sorted by case.

    Raises ``BadInputError`` if there is no case (``no_cases``), if a case lacks one of its files
    (``incomplete_case``), or if a part has two files (``duplicate_file``).
    """
    cases: dict[str, dict[str, Path]] = {}
    for file in files:
        if found := layout.case_of(file.name):
            add_once(cases.setdefault(found[0], {}), found[1], file)
    if not cases:
        raise BadInputError(
            "no file matches the patterns", code="no_cases", expected=", ".join(layout.patterns.values())
        )
    for case, held in cases.items():
        missing = [kind for kind in layout.patterns if kind not in held and kind != "landmarks"]
        check_complete(case, missing, "correct the patterns")
    return dict(sorted(cases.items()))


def import_lcsd500(
    cases: Mapping[str, Mapping[str, Path]],
    folder: Path,
    layout: Layout,
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda names: names,
) -> list[dict[str, Any]]:
    """Write dense clouds and tables of all cases into a folder; return the rows of its table.

    Cases with landmarks have the role ``test``. Raises ``BadInputError`` if vessel maps or tables are invalid, or if
    points are outside the maps (``wrong_frame``, ``landmark_outside``); moving points may be outside by ``MARGIN_MM``.
    """
    rows = []
    for case in progress(list(cases)):
        held = cases[case]
        maps = {name: read_mask(held[name], kind="vessels") for name in SCANS}
        grids = MapGrids(maps["fixed"].grid, maps["moving"].grid)
        tables = {kind: _pairs(held[kind], grids, layout) for kind in ("correspondences", "landmarks") if kind in held}
        rows.append(
            write_cloud_pair(
                folder,
                case,
                {name: dense_cloud(vessels) for name, vessels in maps.items()},
                role="test" if "landmarks" in held else "train",
                times=("baseline", "followup"),
                **tables,
            )
        )
    return rows


def _pairs(file: Path, grids: MapGrids, layout: Layout) -> PointPairs:
    pairs = read_landmarks([file], "generic", grids=Grids(*grids), given=layout.numbering).pairs
    check_frame(pairs.fixed, grids.fixed, which="fixed", file=file)
    check_frame(pairs.moving, _wider(grids.moving), which="moving", file=file)
    return pairs


def _wider(grid: Grid) -> Grid:
    """Return a grid with a margin: a registration may move points a little outside the map."""
    more = [int(np.ceil(MARGIN_MM / size)) for size in grid.spacing]
    origin = grid.voxel_to_world(-np.array([more], dtype=np.float64))[0]
    size = [n + 2 * extra for n, extra in zip(grid.size, more, strict=True)]
    return replace(
        grid, size=(size[0], size[1], size[2]), origin=(float(origin[0]), float(origin[1]), float(origin[2]))
    )
