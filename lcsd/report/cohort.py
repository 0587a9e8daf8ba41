"""From a cohort to cases: rules on the index, screening, selection and test cases."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd.build.inventory import Case, Inventory, Status
from lcsd.build.jobs import BuildFiles
from lcsd.io.tables import DType, check_cases, read_table

ROLES = {"train": "training", "test_pool": "the test pool"}


@dataclass(frozen=True)
class Step:
    """A line of the funnel."""

    text: str  # condition, or reason why pairs are removed
    code: str = ""  # reason code of the removed pairs, or empty
    left: int | None = None  # number of patients left, with one pair each; None for a line that only gives a reason
    removed: int | None = None  # number of removed patients; None if there are none


@dataclass(frozen=True)
class Screened:
    """A screened candidate; ``dice`` of its aligned lung masks is None if unknown."""

    case: str
    role: str
    dice: float | None
    accepted: bool
    code: str
    selected: bool


@dataclass(frozen=True)
class PoolCase:
    """A case of the test pool with its rank and motion, or the reason why they are missing."""

    case: str
    rank: int | None
    displacement_mm: float | None
    verdict: str
    code: str


@dataclass(frozen=True)
class Cohort:
    """The cohort of a build; parts without a table are empty."""

    funnel: tuple[Step, ...]
    screened: tuple[Screened, ...]
    pool: tuple[PoolCase, ...]

    @property
    def test_cases(self) -> list[PoolCase]:
        """Cases selected for testing, largest motion first."""
        return [row for row in self.pool if row.verdict == "selected"]

    def steps(self, cases: Sequence[Case]) -> list[Step]:
        """Return all steps: rules on the index, screening, selection, cases of the build."""
        if not self.screened:
            return [*self.funnel]
        return [*self.funnel, *_screening_steps(self.screened, cases), *self._build_steps(cases)]

    def _build_steps(self, cases: Sequence[Case]) -> list[Step]:
        chosen = {row.case for row in self.screened if row.selected}
        status = Counter(case.status for case in cases if case.name in chosen)
        status["waiting"] += len(chosen) - status.total()
        return _end_steps(status)


def manifest_steps(cases: Sequence[Case]) -> list[Step]:
    """Return the steps of a build without a cohort: its cases and what became of them."""
    if not cases:
        return []
    return [Step("cases of the build", left=len(cases)), *_end_steps(Counter(case.status for case in cases))]


def _end_steps(status: Mapping[Status, int]) -> list[Step]:
    out = {
        "rejected in the build": status["rejected"],
        "discarded by gates": status["discarded"],
        "borderline by gates": status["borderline"],
        "with a broken file": status["broken"],
        "not finished": status["waiting"],
    }
    lost = [Step(text, removed=count) for text, count in out.items() if count]
    return [*lost, Step("cases done", left=status["done"])]


def _screening_steps(screened: Sequence[Screened], cases: Sequence[Case]) -> list[Step]:
    """Return the screened, rejected (by reason code), accepted and selected candidates."""
    stages = {c.name: c.rejection.stage for c in cases if c.rejection is not None}
    out: Counter[tuple[str, str]] = Counter()
    for row in screened:
        if not row.accepted:
            gate = row.code.startswith("gate_")
            stage = stages.get(row.case, "")
            text = "implausible lungs" if gate else f"broken scan, {stage}".removesuffix(", ")
            out[text, row.code] += 1
    accepted = sum(row.accepted for row in screened)
    steps = [Step("screened", left=len(screened))]
    # Broken scans first, then gates; the most frequent code first.
    for (text, code), count in sorted(out.items(), key=lambda item: (item[0][0], -item[1], item)):
        steps.append(Step(text, code, removed=count))
    steps.append(Step("accepted by the screening", left=accepted))
    for role, name in ROLES.items():
        count = sum(row.selected for row in screened if row.role == role)
        steps.append(Step(f"selected for {name}", left=count))
    return steps


def read_cohort(inventory: Inventory) -> Cohort | None:
    """Return the content of ``cohort/``; None if it has none of the tables.

    Broken tables are recorded and left out. Only the needed columns are read, so that no patient's name gets into the
    report.
    """
    files = BuildFiles(inventory.results)
    cohort = Cohort(
        tuple(inventory.attempt(files.cohort / "funnel.tsv", _read_funnel) or ()),
        tuple(inventory.attempt(files.selection, _read_selection) or ()),
        tuple(inventory.attempt(files.test_cases, _read_pool) or ()),
    )
    return cohort if cohort.funnel or cohort.screened or cohort.pool else None


def _read(path: Path, columns: Sequence[str], dtypes: Mapping[str, DType]) -> list[Any]:
    """Return the rows of a table as tuples of the named columns; an empty number is None."""
    table = read_table(path, columns, dtypes, separator="\t", allow_empty=True)
    if "case" in columns:
        check_cases(table["case"].items(), path)
    return [*table.astype(object).where(table.notna(), None)[[*columns]].itertuples(index=False, name=None)]


def _read_funnel(path: Path) -> list[Step]:
    rows = _read(
        path, ("asked", "reason", "patients", "patients_removed"), {"patients": "UInt64", "patients_removed": "UInt64"}
    )
    # A rule that removes nobody has a line without a number.
    return [Step(asked, reason, left, removed or None) for asked, reason, left, removed in rows]


def _read_selection(path: Path) -> list[Screened]:
    rows = _read(path, ("case", "role", "dice", "verdict", "code", "selected"), {"dice": "Float64"})
    return [
        Screened(case, role, dice, verdict == "accepted", code, selected == "yes")
        for case, role, dice, verdict, code, selected in rows
    ]


def _read_pool(path: Path) -> list[PoolCase]:
    columns = ("case", "rank", "median_displacement_mm", "verdict", "code")
    return [PoolCase(*row) for row in _read(path, columns, {"rank": "UInt64", "median_displacement_mm": "Float64"})]
