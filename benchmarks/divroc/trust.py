"""Expected error of registrations: fit the model on the choosing half, report on the other half.

Run: python -m benchmarks.divroc.trust [--cached]

It writes lcsd/divroc/trust.json and docs/divroc/trust.csv. Registrations stay in a temporary folder, one for each
version of the settings, so that a second run only fits; delete trust-* there after a change of the code. --cached makes
do with those that are there.

Cases are those of benchmarks.divroc.real_motion: centre lines at both scales, voxel clouds at one scale, in turn, both
kinds with effort fast at the other scale; and phantom pairs. The fit also sees further anatomies, and centre lines that
move twice as far, because lines that fail are rare and unlike each other. Pairs of two different people, as they are
and laid onto each other rigidly, have no true motion: all their points count as 10 mm off in the fit, and other pairs
are reported.
"""

import argparse
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.metrics import roc_auc_score

from benchmarks.divroc.anatomies import laid_onto
from benchmarks.divroc.real_motion import (
    CHOOSING,
    HALVES,
    KINDS,
    OFF_MM,
    SCALES,
    SPOILS,
    anatomy,
    cache_folder,
    data_folder,
    real_case,
)
from benchmarks.divroc.real_motion import real_cases as motion_cases
from benchmarks.tables import write_rows
from lcsd.divroc import trust
from lcsd.divroc.pair import CloudPair
from lcsd.divroc.register import register_clouds
from lcsd.divroc.trust import BlendedModel, TrustModel, backward_motion, blended, evidence, judged
from lcsd.geometry import fit_rigid
from lcsd.io.files import write_text
from lcsd.phantom.case import make_case
from lcsd.settings.register import RegisterSettings

Points = NDArray[np.float64]
Values = NDArray[np.float64]

COMMAND = "python -m benchmarks.divroc.trust"

PHANTOMS = {"choosing": (41, 42), "reporting": (51, 52)}
"""Seeds of phantom pairs, which share no vessels with the anatomies of the motions."""

PHANTOM_POINTS = 80_000

MORE_ANATOMIES = ("phantom_43", "phantom_44", "mirror_a")
"""Further anatomies in the choosing half: how far a registration fails depends on the tree."""

PEOPLE = {
    "choosing": (("chest_a", "phantom_40"), ("phantom_40", "phantom_41"), ("chest_a", "mirror_a")),
    "reporting": (("chest_a", "chest_b"), ("phantom_40", "phantom_50"), ("chest_a", "phantom_50")),
}
"""Pairs of anatomies of two people; a mirrored chest is another one."""

PEOPLE_MM = 10.0
"""Every point of two people counts as this far off: no place is right, and all of them must be untrusted."""

TERMS: tuple[str, ...] = (
    "return_mm",
    "return_around_mm",
    "gap_around_mm",
    "missed_around_mm",
    "difference",
    "disagreement_mm",
    "unexplained_mm",
)
"""Evidence in the models; what a fit without it did as well is left out."""

SCORED_POINTS = 5_000

LEAST_ERROR_MM = 0.1
"""Smaller errors count as this: nobody needs to tell 0.01 mm from 0.1 mm."""

KNOTS = (0.02, 0.2, 0.4, 0.6, 0.8, 0.93, 0.98, 0.999)
"""Quantiles of each piece of evidence between which its effect is linear."""

RIDGE = 1e-3
"""Weight of the squared coefficients for each case: evidence that says the same shares the effect."""

BASE = -6.0
"""Logarithm of an error below all others, so that the base is found among numbers above 0."""

ERROR_LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Quantiles of the model's sum between which the spread of the errors is taken."""

ERROR_QUANTILES = np.linspace(0.025, 0.975, 20)


@dataclass(frozen=True)
class Job:
    """A registration to make: clouds (N, 3) and (M, 3), targets (N, 3) or None, LPS mm, made when they are needed."""

    name: str
    half: str
    effort: str
    clouds: Callable[[], tuple[Points, Points, Points | None]]


@dataclass(frozen=True)
class Judged:
    """Evidence and errors of a registration at random fixed points."""

    name: str
    half: str
    effort: str
    evidence: Mapping[str, Values]
    errors: Values  # mm, shape (N,)

    @property
    def known(self) -> bool:
        """Whether the errors are measured: not for two people."""
        return not self.name.startswith("people")

    @property
    def kind(self) -> str:
        """Which of the blended models it belongs to."""
        return "sparse" if "lines" in self.name else "dense"

    @property
    def motion(self) -> str:
        """The motion, at any scale, or the phantom pair."""
        return self.name if self.name.startswith("phantom pair") else self.name.split()[0]

    @property
    def anatomy(self) -> str:
        """The vessels that move, or the phantom pair."""
        return self.name if self.name.startswith("phantom pair") else self.name.split()[2]


def jobs(folder: Path) -> Iterator[Job]:
    """Yield all registrations, choosing half first."""
    for half in HALVES:
        for number, case in enumerate(motion_cases(folder, half)):
            turn = number // 2 % 2 == number // 8 % 2  # the scale that is the motion's turn
            for effort in ("accurate", "fast"):
                if (effort == "accurate") == turn or (effort == "accurate" and " lines " in case.name):
                    yield Job(case.name, half, effort, lambda case=case: (case.fixed, case.moving, case.targets))
        if half == "choosing":
            yield from more_anatomies(folder)
        for seed in PHANTOMS[half]:
            yield Job(f"phantom pair {seed}", half, "accurate", lambda seed=seed: phantom_pair(seed))
        yield from people_jobs(folder, half)


def people_jobs(folder: Path, half: str) -> Iterator[Job]:
    """Yield pairs of two people, as they are and laid onto each other."""
    for (first, second), kind, laid in itertools.product(PEOPLE[half], ("lines", "dense"), (False, True)):
        both = (first, second, kind, laid)
        name = f"people {first} {second} {kind}" + (" laid" if laid else "")
        for effort in ("accurate", "fast") if half == "choosing" else ("accurate",):
            yield Job(name, half, effort, lambda both=both: people(folder, *both))


def more_anatomies(folder: Path) -> Iterator[Job]:
    """Yield further anatomies under the choosing half's motions: centre lines up to twice as far, voxels in turn."""
    for number, (motion, place) in enumerate(itertools.product(CHOOSING, MORE_ANATOMIES)):
        spoil = SPOILS[(number + number // len(MORE_ANATOMIES)) % len(SPOILS)]
        turn = SCALES[number % len(SCALES)]
        for kind, scale in (*itertools.product(("lines",), (*SCALES, 2.0)), ("voxels", turn)):
            case = real_case(folder, motion, scale, place, kind, spoil)
            for effort in ("accurate", "fast") if scale == turn else ("accurate",):
                yield Job(case.name, "choosing", effort, lambda case=case: (case.fixed, case.moving, case.targets))


def people(folder: Path, first: str, second: str, kind: str, laid: bool) -> tuple[Points, Points, None]:
    """Return the vessels of two people."""
    count = KINDS["voxels" if kind == "dense" else "lines"]
    fixed, moving = (getattr(anatomy(folder, name), kind)[:count].copy() for name in (first, second))
    return fixed, (laid_onto(fixed, moving) if laid else moving), None


def phantom_pair(seed: int) -> tuple[Points, Points, Points]:
    """Return the true vessels of both scans of a phantom, rigidly aligned, and where the fixed ones lie."""
    case, rng = make_case(seed), np.random.default_rng(seed)
    clouds = []
    for role in ("fixed", "moving"):
        voxels = np.argwhere(case.masks(role)[1])[:, ::-1].astype(np.float64)
        voxels = voxels[rng.permutation(len(voxels))[:PHANTOM_POINTS]]
        clouds.append(case.scan(role).to_world(voxels + rng.uniform(-0.5, 0.5, voxels.shape)))
    back = fit_rigid(*case.points[::-1])
    return clouds[0], back.apply(clouds[1]), back.apply(case.transform(clouds[0]))


def stored(job: Job) -> Path:
    """Return the file of a registration; settings that change it change the folder."""
    settings = RegisterSettings(trust="none").model_dump_json(exclude={"effort", "untrusted_share"})
    folder = cache_folder() / f"trust-{zlib.crc32(settings.encode()):08x}"
    folder.mkdir(exist_ok=True)
    return folder / (f"{job.half} {job.name} {job.effort}.npz".replace(" %", "").replace(" ", "-").replace(":", ""))


def registered(job: Job) -> Mapping[str, Points]:
    """Return ``fixed``, ``moving``, ``moved``, ``returned`` and ``targets`` of a job, stored if it has run before."""
    path = stored(job)
    if not path.exists():
        settings = RegisterSettings(effort=job.effort, trust="none")
        fixed, moving, targets = job.clouds()
        found = register_clouds(fixed, moving, settings=settings)
        moved = fixed + found.displacements
        returned = moved + backward_motion(CloudPair(fixed, moving, None, "cpu"), settings).at(moved)
        known = np.empty((0, 3)) if targets is None else targets
        np.savez(path, fixed=fixed, moving=moving, moved=moved, returned=returned, targets=known)
        print(f"registered {job.half} {job.name} ({job.effort})", flush=True)
    return dict(np.load(path))


def judge(job: Job) -> Judged:
    """Return the evidence and the errors of a registration."""
    made = registered(job)
    seen = evidence(made["fixed"], made["moving"], made["moved"], made["returned"])
    rows = np.random.default_rng(0).permutation(len(made["fixed"]))[:SCORED_POINTS]
    known = len(made["targets"]) > 0
    errors = np.linalg.norm(made["moved"] - made["targets"], axis=1)[rows] if known else np.full(len(rows), PEOPLE_MM)
    return Judged(job.name, job.half, job.effort, {name: values[rows] for name, values in seen.items()}, errors)


def _together(cases: Sequence[Judged], name: str) -> Values:
    return np.concatenate([case.evidence[name] for case in cases])


def _weights(cases: Sequence[Judged]) -> Values:
    """Return weights of points that give each case the same weight."""
    return np.concatenate([np.full(len(case.errors), 1 / len(case.errors)) for case in cases])


def _knots(logarithms: Values) -> Values:
    return np.unique(np.round(np.quantile(logarithms, KNOTS), 3))


def terms_of(*, backward: bool) -> list[str]:
    """Return the evidence in a model with or without a way back."""
    return [name for name in TERMS if backward or not name.startswith("return")]


def unbiased(cases: Sequence[Judged]) -> dict[str, Any]:
    """Return the content of a blended model whose 95th percentiles have no bias for cases that it has not seen.

    Each motion in each anatomy is judged by a fit that saw neither. The median ratio of expected to true 95th
    percentiles, dense clouds and centre lines apart, divides the errors, except at the largest sums, where
    registrations fail. Errors of centre lines only grow by it: these fail in more ways than any fit has seen.
    """
    content = both(cases)
    for kind, errors in ((kind, part["errors"]) for kind, part in content.items()):
        own = [case for case in cases if case.kind == kind]
        ratios = []
        for motion, place in sorted({(case.motion, case.anatomy) for case in own if case.known}):
            others = [case for case in own if motion != case.motion and not (case.known and place == case.anatomy)]
            model = TrustModel(fitted(others, TERMS, with_people=False))
            for case in own:
                if case.known and (case.motion, case.anatomy) == (motion, place):
                    expected = judged(model.possible(case.evidence)).p95_mm
                    ratios.append(np.log(expected / np.percentile(case.errors, 95)))
        quantiles = np.array(errors["quantiles"])
        bias = np.median(ratios)
        quantiles[:-1] -= bias if kind == "dense" else min(bias, 0.0)
        errors["quantiles"] = np.round(quantiles, 4).tolist()
    return content


def both(cases: Sequence[Judged], *, backward: bool = True) -> dict[str, Any]:
    """Return the content of a blended model: dense clouds and centre lines, fitted apart.

    Without a way back failures are seen less surely: the spread of the errors then includes that of two people, so that
    expected errors stay on the safe side.
    """
    return {
        kind: fitted(
            [case for case in cases if case.kind == kind], terms_of(backward=backward), with_people=not backward
        )
        for kind in ("dense", "sparse")
    }


def fitted(cases: Sequence[Judged], terms: Sequence[str], *, with_people: bool) -> dict[str, Any]:
    """Return the content of a model: non-negative least squares of the errors' logarithm on ramps of the evidence.

    ``with_people``: the spread of the errors includes that of pairs of two people.
    """
    errors = np.log(np.maximum(np.concatenate([case.errors for case in cases]), LEAST_ERROR_MM))
    weights = _weights(cases)
    ramps, knots = [np.ones((len(errors), 1))], {}
    for name in terms:
        logarithms = np.log(np.maximum(_together(cases, name), trust.LEAST))
        at = knots[name] = _knots(logarithms)
        ramps.append(np.clip((logarithms[:, None] - at[:-1]) / np.diff(at), 0, 1))
    matrix = np.concatenate(ramps, axis=1)
    shrink = np.sqrt(RIDGE * len(cases)) * np.eye(matrix.shape[1])[1:]
    root = np.sqrt(weights)
    found = nnls(
        np.concatenate([matrix * root[:, None], shrink]), np.append((errors - BASE) * root, np.zeros(len(shrink)))
    )[0]
    content: dict[str, Any] = {"base": BASE + found[0], "terms": {}}
    start = 1
    for name, at in knots.items():
        adds = np.append(0, np.cumsum(found[start : start + len(at) - 1]))
        content["terms"][name] = {"at": at.tolist(), "adds": np.round(adds, 4).tolist()}
        start += len(at) - 1
    total = TrustModel({**content, "errors": {"at": [0.0], "quantiles": [[0.0]]}}).total(
        {name: _together(cases, name) for name in terms}
    )
    counted = np.concatenate([np.full(len(case.errors), case.known or with_people) for case in cases])
    content["errors"] = _spread(total[counted], (errors - total)[counted], weights[counted])
    return content


def _spread(total: Values, beyond: Values, weights: Values) -> dict[str, Any]:
    """Return the weighted quantiles of what the errors' logarithm is beyond the model's sum, by that sum."""
    levels = np.quantile(total, ERROR_LEVELS)
    at, quantiles = [], []
    for low, high in itertools.pairwise(levels):
        rows = np.flatnonzero((total >= low) & (total <= high))
        rows = rows[np.argsort(beyond[rows])]
        share = np.cumsum(weights[rows]) / weights[rows].sum()
        at.append(round(float(np.average(total[rows], weights=weights[rows])), 4))
        quantiles.append(np.round(np.interp(ERROR_QUANTILES, share, beyond[rows]), 4).tolist())
    return {"at": at, "quantiles": quantiles}


def row_of(case: Judged, model: BlendedModel) -> dict[str, object]:
    """Return what is true of a registration and what is expected."""
    expected = judged(model.possible(case.evidence))
    row: dict[str, object] = {"half": case.half, "case": case.name, "effort": case.effort}
    known = case.known
    row["median_mm"] = float(np.median(case.errors)) if known else ""
    row["expected_median_mm"] = expected.median_mm
    row["p95_mm"] = float(np.percentile(case.errors, 95)) if known else ""
    row["expected_p95_mm"] = expected.p95_mm
    row["off_percent"] = float(100 * (case.errors > OFF_MM).mean()) if known else ""
    row["untrusted_percent"] = 100 * expected.untrusted_share
    return row


def auc(cases: Sequence[Judged], model: BlendedModel) -> float:
    """Return the area under the ROC of the expected error for points off by more than ``OFF_MM``."""
    expected = np.concatenate([judged(model.possible(case.evidence)).expected_mm for case in cases])
    off = np.concatenate([case.errors for case in cases]) > OFF_MM
    return float(roc_auc_score(off, expected, sample_weight=_weights(cases)))


def within(rows: Sequence[Mapping[str, object]], factor: float = 1.5) -> float:
    """Return the share of cases whose 95th percentile is expected within a factor."""
    ratios = np.array([float(str(row["expected_p95_mm"])) / float(str(row["p95_mm"])) for row in rows])
    return float(((ratios <= factor) & (ratios >= 1 / factor)).mean())


def show(check: str, cases: Sequence[Judged], model: BlendedModel) -> None:
    """Print the figures of a model for each half and kind."""
    for half in HALVES:
        for part in ("", " lines ", " voxels ", "phantom pair"):
            chosen = [case for case in cases if case.half == half and part in case.name]
            if any((case.errors > OFF_MM).any() for case in chosen):
                rows = [row_of(case, model) for case in chosen]
                text = f"AUC {auc(chosen, model):.3f}, p95 within 1.5: {within(rows):.0%}"
                print(f"{chosen[0].effort:9} {check:9} {half:10}{part or ' all ':13} {len(chosen):3} cases, {text}")


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--cached", action="store_true", help="leave out what has not been registered yet")
    cached = made.parse_args().cached
    cases = [judge(job) for job in jobs(data_folder()) if not cached or stored(job).exists()]
    models: dict[str, Any] = {}
    rows = []
    for effort in ("accurate", "fast"):
        own = [case for case in cases if case.effort == effort]
        choosing = [case for case in own if case.half == "choosing"]
        models[effort] = {"backward": unbiased(choosing), "forward": both(choosing, backward=False)}
        for check, content in models[effort].items():
            show(check, [case for case in own if case.known], blended(content))
        rows += [row_of(case, blended(models[effort]["backward"])) for case in own]
    text = json.dumps({"command": COMMAND, "models": models}) + "\n"
    write_text(Path(trust.__file__).with_name(trust.MODEL), text)
    write_rows("divroc/trust", rows)


if __name__ == "__main__":
    main()
