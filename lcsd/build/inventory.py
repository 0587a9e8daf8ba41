"""What a build holds, read from whatever exists; broken files are named and left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from lcsd.build.jobs import GATES_NAME, case_jobs
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.plan import METHODS, method_of
from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.build.records import GIVEN
from lcsd.build.rejections import REJECTED_NAME, Rejection, read_rejection
from lcsd.build.verdicts import Verdict, read_verdicts
from lcsd.errors import LcsdError
from lcsd.io.files import read_json
from lcsd.io.points import read_cloud, read_point_pairs
from lcsd.io.tables import as_number, numbers, read_table
from lcsd.names import CASE_PATTERN, SCANS

T = TypeVar("T")

Status = Literal["done", "discarded", "rejected", "waiting"]

UNREADABLE = (LcsdError, OSError, ValueError, KeyError, TypeError, IndexError, ArithmeticError, MemoryError)
"""What reading or drawing a broken file can raise; a report must survive all of it."""

CLOUDS = ("dense", "keypoints")
LANDMARK_SUFFIX = "_landmarks.csv"

STAGE_OUTPUTS = {
    job.stage: tuple(path.removeprefix(f"cases/{job.case}/") for path in job.outputs)
    for job in case_jobs("any", scored=False)
    if job.stage != "gates"
}
"""Stages in the order of the pipeline and the files that show that a case has passed them; gates
judge a case and evaluations score it, which is told apart."""

METHOD_STAGES = {"corrfield": "correspond", "divroc": "register"}
"""Scored methods and the stage whose time is theirs."""

FINAL_STAGES = ("keypoints", "correspond", "register")
"""A case is done when these have finished, and its evaluation if it has landmarks."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be used."""

    file: str
    message: str


@dataclass(frozen=True)
class Run:
    """Cost, versions and settings of one command, from its provenance.

    ``given`` says that a user gave what the command is to make: its settings made nothing.
    """

    stage: str
    output: str
    seconds: float | None
    memory_gib: float | None
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    given: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Landmark errors of one method on one case.

    ``tre`` and ``before`` are per landmark, shape (N,), mm, or None without a landmark table.
    """

    method: str
    figures: Mapping[str, Any]
    tre: NDArray[np.float64] | None
    before: NDArray[np.float64] | None


@dataclass(frozen=True)
class Case:
    """Everything the report says about one case."""

    name: str
    folder: Path
    role: str
    status: Status
    passed: tuple[str, ...]
    rejection: Rejection | None
    gates: tuple[Verdict, ...]
    evaluations: tuple[Evaluation, ...]
    points: Mapping[tuple[str, str], int]
    correspondences: int | None
    prealign: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def counts(self) -> bool:
        """Whether statistics over cases include this case."""
        return self.status == "done"

    @property
    def failed_gates(self) -> tuple[Verdict, ...]:
        """Verdicts for which the case is discarded."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def flagged_gates(self) -> tuple[Verdict, ...]:
        """Verdicts for which somebody should look at the case."""
        return tuple(gate for gate in self.gates if gate.flagged)


@dataclass
class Inventory:
    """Reads a build and remembers which files it could not use."""

    results: Path
    problems: list[Problem] = field(default_factory=list)

    def attempt(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return ``read(path)``, or None if the file is absent or broken (then a problem)."""
        if not path.exists():
            return None
        try:
            return read(path)
        except UNREADABLE as error:
            self.problem(path, error.complaint if isinstance(error, LcsdError) else str(error))
            return None

    def problem(self, path: Path, message: str) -> None:
        """Remember that a file could not be used."""
        inside = path.is_relative_to(self.results)
        name = str(path.relative_to(self.results) if inside else path)
        found = Problem(name, " ".join(message.split()))
        # Several pictures may need the same file.
        if found not in self.problems:
            self.problems.append(found)

    def cases(self, manifest: Path | None) -> list[Case]:
        """Return the expected cases in the manifest's order, then other folders by name.

        Where there is a manifest, others are only those that were rejected, such as candidates
        with a broken scan: what an earlier selection built is no part of this dataset.
        """
        pairs: list[Pair] = []
        if manifest is not None:
            if manifest.exists():
                pairs = self.attempt(manifest, read_pairs) or []
            else:
                self.problem(manifest, "the manifest is missing; cases are taken from the folders")
        expected = {pair.case: pair for pair in pairs}
        names = list(expected)
        root = self.results / "cases"
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if not folder.is_dir() or folder.name in expected:
                continue
            if CASE_PATTERN.fullmatch(folder.name):
                if not expected or (folder / REJECTED_NAME).exists():
                    names.append(folder.name)
            else:
                self.problem(folder, "not a case name; the folder is left out")
        return [self._case(root / name, expected.get(name)) for name in names]

    def _case(self, folder: Path, pair: Pair | None) -> Case:
        rejection = self.attempt(folder / REJECTED_NAME, read_rejection)
        evaluations = tuple(self._evaluations(folder / "evaluation"))
        passed = tuple(
            stage for stage, outputs in STAGE_OUTPUTS.items() if all((folder / output).exists() for output in outputs)
        )
        scored = pair is None or pair.landmarks is None or len(evaluations) >= len(METHODS)
        finished = scored and all(stage in passed for stage in FINAL_STAGES)
        # An unreadable rejection is still one; one by a stage that the manifest no longer asks for
        # (its landmarks were taken out) is none.
        unasked = pair is not None and pair.landmarks is None
        if unasked and rejection is not None and rejection.stage == "evaluate":
            rejection = None
            rejected = False
        else:
            rejected = (folder / REJECTED_NAME).exists()
        gates = tuple(self.attempt(folder / GATES_NAME, read_verdicts) or ())
        discarded = any(not gate.passed for gate in gates)
        counted = {
            (scan, kind): self._count(folder / "clouds" / f"{scan}_{kind}.npz") for scan in SCANS for kind in CLOUDS
        }
        pairs = self.attempt(folder / METHODS["corrfield"] / "correspondences.csv", read_point_pairs)
        return Case(
            name=folder.name,
            folder=folder,
            role="" if pair is None else pair.role,
            status=_status(rejected=rejected, discarded=discarded, finished=finished),
            passed=passed,
            rejection=rejection,
            gates=gates,
            evaluations=evaluations,
            points={key: count for key, count in counted.items() if count is not None},
            correspondences=None if pairs is None else len(pairs),
            prealign=self.attempt(folder / "images" / "prealign.json", read_json) or {},
            runs=tuple(self._runs(folder)),
        )

    def _count(self, path: Path) -> int | None:
        cloud = self.attempt(path, read_cloud)
        return None if cloud is None else len(cloud)

    def _evaluations(self, folder: Path) -> list[Evaluation]:
        found = []
        paths = [p for p in _files(folder, "*.json") if not p.name.endswith(PROVENANCE_SUFFIX)]
        order = {method: rank for rank, method in enumerate(METHODS)}
        for path in sorted(paths, key=lambda p: (order.get(p.stem, len(order)), p.stem)):
            figures = self.attempt(path, read_figures)
            if figures is None:
                continue
            table_path = path.with_name(path.stem + LANDMARK_SUFFIX)
            table = self.attempt(table_path, _read_errors)
            if not table_path.exists():
                self.problem(table_path, "missing; the statistics leave this evaluation out")
            tre, before = table if table is not None else (None, None)
            found.append(Evaluation(method_of(path), figures, tre, before))
        return found

    def _runs(self, folder: Path) -> list[Run]:
        runs = (self.attempt(p, _read_run) for p in _files(folder, f"**/*{PROVENANCE_SUFFIX}"))
        return [run for run in runs if run is not None]


def _status(*, rejected: bool, discarded: bool, finished: bool) -> Status:
    if rejected:
        return "rejected"
    # Whatever a discarded case still lacks, it is out.
    if discarded:
        return "discarded"
    return "done" if finished else "waiting"


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return matching files in a fixed order; hidden ones are leftovers of killed jobs."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith("."))


def read_figures(path: Path) -> dict[str, Any]:
    """Return the figures of an evaluation; raise ``ValueError`` if they are none."""
    content = read_json(path)
    if as_number(content.get("tre_mean_mm")) is None:
        raise ValueError("tre_mean_mm is missing or not a number")
    return content


def _read_errors(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = ("tre_mm", "tre_before_mm")
    errors = numbers(read_table(path, columns, dict.fromkeys(columns, "float64")), columns)
    return errors[:, 0], errors[:, 1]


def _read_run(path: Path) -> Run:
    content = read_json(path)
    settings, versions = content.get("settings", {}), content.get("versions", {})
    if not isinstance(settings, dict) or not isinstance(versions, dict):
        raise ValueError("settings or versions are not objects")
    return Run(
        stage=str(content["stage"]),
        output=str(content.get("output", "")),
        seconds=as_number(content.get("wall_s")),
        memory_gib=as_number(content.get("peak_memory_gib")),
        settings=settings,
        versions={name: str(value) for name, value in versions.items()},
        given=GIVEN in content.get("inputs", {}),
    )
