"""Select test cases: the cases of the test pool with the largest motion by corrfield, after gates on its figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.build.inventory import Inventory, Problem
from lcsd.build.jobs import BuildFiles, CaseFiles
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.verdicts import in_range
from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import read_json, write_table
from lcsd.io.points import read_point_pairs
from lcsd.settings.select import SelectSettings

COLUMNS = (
    "rank",
    "case",
    "median_displacement_mm",
    "correspondences",
    "kept_share",
    "inconsistency_median_mm",
    "verdict",
    "code",
)

FIGURES = ("keypoints", "kept", "inconsistency_median_mm")
"""Figures read from the last stage in ``correspondences.json``."""

DECIMALS = 4


@dataclass(frozen=True)
class Pool:
    """The judged test pool: content of ``test.tsv``, and broken files that keep a case out.

    The largest displacement comes first.
    """

    rows: list[dict[str, object]]
    problems: tuple[Problem, ...] = ()

    def count(self, verdict: str) -> int:
        """Return the number of cases with this verdict."""
        return sum(row["verdict"] == verdict for row in self.rows)


def _last_stage(record: dict[str, Any], path: Path) -> dict[str, Any]:
    count = sum(key.startswith("stage_") for key in record)
    last: dict[str, Any] = record.get(f"stage_{count}") or {}
    if not all(isinstance(last.get(name), int | float) for name in FIGURES):
        raise BadInputError(
            "not a result of corrfield",
            code="bad_figures",
            file=path,
            expected="a file of lcsd correspond",
            remedy="remove it and rebuild the case",
        )
    return last


def _judged(files: CaseFiles, settings: SelectSettings) -> dict[str, object]:
    """Return the row of a finished case; ``verdict`` is empty if all gates pass."""
    pairs = read_point_pairs(files.correspondences)
    figures = _last_stage(read_json(files.correspondence_figures), files.correspondence_figures)
    kept = figures["kept"] / max(1, figures["keypoints"])
    gates = [
        in_range("correspondences", len(pairs), low=settings.min_correspondences, high=None),
        in_range("kept_share", kept, low=settings.min_kept, high=None),
        in_range(
            "inconsistency_median_mm", figures["inconsistency_median_mm"], low=None, high=settings.max_inconsistency_mm
        ),
    ]
    broken = [gate["name"] for gate in gates if not gate["passed"]]
    length = float(np.median(np.linalg.norm(pairs.moving - pairs.fixed, axis=1)))
    return {
        "rank": "",
        "case": files.folder.name,
        "median_displacement_mm": round(length, DECIMALS),
        **{gate["name"]: round(gate["value"], DECIMALS) for gate in gates},
        "verdict": "discarded" if broken else "",
        "code": f"gate_{broken[0]}" if broken else "",
    }


def _pool(manifest: Path, settings: SelectSettings) -> list[Pair]:
    pairs = [pair for pair in read_pairs(manifest) if pair.role == "test_pool" and pair.case not in settings.exclude]
    if not pairs:
        raise BadInputError(
            "the manifest has no test pool",
            code="empty_table",
            file=manifest,
            field="role",
            expected="rows of role test_pool",
            remedy="sample a test pool with cohort.test_pool",
        )
    return pairs


def judge_pool(results: Path, manifest: Path, settings: SelectSettings) -> Pool:
    """Return every case of the test pool with its motion, verdict and rank.

    A rejected, discarded, borderline or broken case keeps its reason. All others must have correspondences and are
    judged by gates on their figures; those that pass are ranked by the median length of their displacements, ties by
    case.

    Raises ``WorkError`` (``unfinished_cases``) if some cases are not finished, ``BadInputError`` if a file is missing
    or broken.
    """
    inventory = Inventory(results)
    states = [inventory.state(pair.case, pair) for pair in _pool(manifest, settings)]
    good = [state for state in states if state.left_out is None]
    unfinished = [state.name for state in good if not _is_finished(state.files)]
    if unfinished:
        shown = ", ".join(unfinished[:5]) + (", ..." if len(unfinished) > 5 else "")
        raise WorkError(
            f"{len(unfinished)} of {len(states)} cases of the test pool are not finished",
            code="unfinished_cases",
            file=BuildFiles(results).cases,
            found=shown,
            expected="correspondences or a rejection of every case",
            remedy="finish the build",
        )
    rows = [_judged(state.files, settings) for state in good]
    ranked = [row for row in rows if not row["verdict"]]
    ranked.sort(key=lambda row: (-float(str(row["median_displacement_mm"])), str(row["case"])))
    for rank, row in enumerate(ranked, 1):
        row |= {"rank": rank, "verdict": "selected" if rank <= settings.test_count else "spare"}
    rest: list[dict[str, object]] = [row for row in rows if row["verdict"] == "discarded"]
    rest += [{"case": s.name, "verdict": s.status, "code": s.left_out} for s in states if s.left_out is not None]
    broken = tuple(problem for state in states for problem in state.broken)
    return Pool([*ranked, *sorted(rest, key=lambda row: str(row["case"]))], broken)


def _is_finished(files: CaseFiles) -> bool:
    return files.correspondences.exists() and files.correspondence_figures.exists()


def select_test(results: Path, manifest: Path, settings: SelectSettings) -> Pool:
    """Judge the test pool of a build and write ``test.tsv``; errors as :func:`judge_pool`."""
    pool = judge_pool(results, manifest, settings)
    write_table(BuildFiles(results).test_cases, COLUMNS, pool.rows)
    return pool
