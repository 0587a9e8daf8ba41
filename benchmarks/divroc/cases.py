"""Pairs of clouds with known motion, whole and spoilt, and what a registration of them scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lcsd.divroc.motion import covering_grid
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.io.files import read_json
from lcsd.io.images import read_rigid
from lcsd.io.points import read_cloud, read_point_pairs
from lcsd.names import SCANS
from lcsd.phantom.case import make_case
from lcsd.settings.register import RegisterSettings

Points = NDArray[np.float64]

FIELD_MM = 4.0
"""Spacing of the scored field."""


@dataclass(frozen=True)
class Case:
    """Two clouds, places whose motion is known, and the true spread of log det J if known."""

    name: str
    fixed: Points
    moving: Points
    places: Points
    targets: Points
    std_log_jacobian: float | None = None

    @property
    def before_mm(self) -> float:
        return float(np.linalg.norm(self.places - self.targets, axis=1).mean())


def _clouds(folder: Path, kind: str) -> tuple[Points, Points]:
    fixed, moving = (read_cloud(folder / "clouds" / f"{scan}_{kind}.npz").points.astype(np.float64) for scan in SCANS)
    return fixed, moving


def phantom_cases(cohort: Path, results: Path, *, kind: str = "dense") -> list[Case]:
    """Return the phantom pairs of a build with their exact motion at 5,000 lung points."""
    cases = []
    for truth in sorted(cohort.glob("*/truth/truth.json")):
        facts, name = read_json(truth), truth.parent.parent.name
        case = make_case(facts["seed"], case=facts["case"], size=facts["size"])
        folder = results / "cases" / name
        rigid = read_rigid(folder / "images" / "rigid.tfm").inverse()
        places, targets = case.points[0], rigid.apply(case.points[1])
        spread = float(np.log(case.determinant(places)).std())
        label = name if kind == "dense" else f"{name} {kind}"
        cases.append(Case(label, *_clouds(folder, kind), places, targets, spread))
    return cases


def real_case(folder: Path, truth: Path) -> Case:
    """Return a case of a build whose exact motion stands in a table of native points."""
    pairs = read_point_pairs(truth)
    rigid = read_rigid(folder / "images" / "rigid.tfm").inverse()
    return Case(folder.name, *_clouds(folder, "dense"), pairs.fixed, rigid.apply(pairs.moving))


def spoilt(case: Case) -> Iterator[Case]:
    """Yield a case with a fifth of one cloud's branches gone, thinned, jittered and swapped."""
    rng = np.random.default_rng(0)
    keep, tree = np.ones(len(case.moving), bool), cKDTree(case.moving)
    while keep.mean() > 0.8:
        centre, radius = case.moving[rng.integers(len(keep))], rng.uniform(5, 15)
        keep[tree.query_ball_point(centre, radius)] = False
    yield replace(case, name=f"{case.name} -20 %", moving=case.moving[keep])
    half = rng.random(len(keep)) < 0.5
    yield replace(case, name=f"{case.name} 2:1", moving=case.moving[half])
    noise = [rng.normal(scale=0.7, size=cloud.shape) for cloud in (case.fixed, case.moving)]
    yield replace(case, name=f"{case.name} jitter", fixed=case.fixed + noise[0], moving=case.moving + noise[1])
    yield replace(
        case,
        name=f"{case.name} swapped",
        fixed=case.moving,
        moving=case.fixed,
        places=case.targets,
        targets=case.places,
    )


@dataclass(frozen=True)
class Score:
    """What a registration of a case is worth."""

    mean_mm: float
    p95_mm: float
    std_log_jacobian: float
    folding_percent: float
    seconds: float


def score(case: Case, settings: RegisterSettings) -> Score:
    """Register a case and compare its field with the known motion."""
    grid = covering_grid(case.places, spacing_mm=FIELD_MM, margin_mm=10.0)
    found: RegistrationResult = register_clouds(case.fixed, case.moving, settings=settings, grid=grid)
    off = np.linalg.norm(case.places + found.field.at(case.places) - case.targets, axis=1)
    return Score(
        float(off.mean()),
        float(np.percentile(off, 95)),
        found.std_log_jacobian or np.nan,
        found.folding_percent,
        found.seconds,
    )
