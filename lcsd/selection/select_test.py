"""Test cases: of the test pool those that corrfield moves furthest, after gates on its figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.build.pairs import read_pairs
from lcsd.build.rejections import REJECTED_NAME
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
"""What is read of the last stage in ``correspondences.json``."""

DECIMALS = 4


@dataclass(frozen=True)
class Pool:
    """The judged test pool: content of ``test.tsv``, the largest displacement first."""

    rows: list[dict[str, object]]

    def count(self, verdict: str) -> int:
        """Return how many cases have a verdict."""
        return sum(row["verdict"] == verdict for row in self.rows)


def _last_stage(record: dict[str, Any], path: Path) -> dict[str, Any]:
    count = sum(key.startswith("stage_") for key in record)
    last: dict[str, Any] = record.get(f"stage_{count}") or {}
    if not all(isinstance(last.get(name), int | float) for name in FIGURES):
        raise BadInputError(
            "not the figures of corrfield",
            code="bad_figures",
            file=path,
            expected="a file of lcsd correspond",
            remedy="remove it and build the case again",
        )
    return last


def _judged(case: str, folder: Path, settings: SelectSettings) -> dict[str, object]:
    """Return the row of a finished case; ``verdict`` is empty if it passes the gates."""
    pairs = read_point_pairs(folder / "correspondences.csv")
    path = folder / "correspondences.json"
    figures = _last_stage(read_json(path), path)
    kept = figures["kept"] / max(1, figures["keypoints"])
    gates = [
        in_range("correspondences", len(pairs), low=settings.correspondences_least, high=None),
        in_range("kept_share", kept, low=settings.kept_least, high=None),
        in_range(
            "inconsistency_median_mm", figures["inconsistency_median_mm"], low=None, high=settings.inconsistency_most_mm
        ),
    ]
    broken = [gate["name"] for gate in gates if not gate["passed"]]
    length = float(np.median(np.linalg.norm(pairs.moving - pairs.fixed, axis=1)))
    return {
        "rank": "",
        "case": case,
        "median_displacement_mm": round(length, DECIMALS),
        **{gate["name"]: round(gate["value"], DECIMALS) for gate in gates},
        "verdict": "discarded" if broken else "",
        "code": f"gate_{broken[0]}" if broken else "",
    }


def _pool_cases(manifest: Path, settings: SelectSettings) -> list[str]:
    cases = [
        pair.case for pair in read_pairs(manifest) if pair.role == "test_pool" and pair.case not in settings.exclude
    ]
    if not cases:
        raise BadInputError(
            "the manifest has no test pool",
            code="empty_table",
            file=manifest,
            field="role",
            expected="rows of role test_pool",
            remedy="sample a test pool by cohort.test_pool",
        )
    return cases


def judge_pool(results: Path, manifest: Path, settings: SelectSettings) -> Pool:
    """Return every case of the test pool with its motion, verdict and rank.

    A case has either been rejected, or has correspondences and is judged by its gates; those
    that pass are ranked by the median length of their displacements, ties by case.

    Raises
    ------
    WorkError
        Some cases are not finished (``unfinished_cases``).
    BadInputError
        A file is missing or broken.
    """
    cases = _pool_cases(manifest, settings)
    folders = {case: results / "cases" / case for case in cases}
    rejected = {case for case in cases if (folders[case] / REJECTED_NAME).exists()}
    tables = {case: folders[case] / "correspondences" for case in cases}
    unfinished = [case for case in cases if case not in rejected and not _finished(tables[case])]
    if unfinished:
        shown = ", ".join(unfinished[:5]) + (", ..." if len(unfinished) > 5 else "")
        raise WorkError(
            f"{len(unfinished)} of {len(cases)} cases of the test pool are not finished",
            code="unfinished_cases",
            file=results / "cases",
            found=shown,
            expected="correspondences or a rejection of every case",
            remedy="finish the build",
        )
    rows = [_judged(case, tables[case], settings) for case in cases if case not in rejected]
    good = [row for row in rows if not row["verdict"]]
    good.sort(key=lambda row: (-float(str(row["median_displacement_mm"])), str(row["case"])))
    for rank, row in enumerate(good, 1):
        row |= {"rank": rank, "verdict": "selected" if rank <= settings.test_count else "spare"}
    rest = [row for row in rows if row["verdict"] == "discarded"]
    rest += [_rejected(case, folders[case]) for case in rejected]
    return Pool([*good, *sorted(rest, key=lambda row: str(row["case"]))])


def _finished(folder: Path) -> bool:
    return all((folder / f"correspondences.{kind}").exists() for kind in ("csv", "json"))


def _rejected(case: str, folder: Path) -> dict[str, object]:
    try:
        code = read_json(folder / REJECTED_NAME).get("code")
    except BadInputError:
        code = None
    return {"case": case, "verdict": "rejected", "code": code or "unreadable_rejection"}


def select_test(results: Path, manifest: Path, settings: SelectSettings) -> Pool:
    """Judge the test pool of a build and write ``test.tsv``; errors as :func:`judge_pool`."""
    pool = judge_pool(results, manifest, settings)
    write_table(results / "cohort" / "test.tsv", COLUMNS, pool.rows)
    return pool
