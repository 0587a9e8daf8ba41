"""The state of every case of a build, and what the files of a case hold.

Reports, comparisons, releases, selections, estimates and ``lcsd status`` ask here, so that a case has one state
everywhere. A broken file is named and stops nothing. Light at import: what reads clouds and tables is imported where
it is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lcsd.build.jobs import INSIDE, METHOD_STAGES, METHODS, BuildFiles, CaseFiles, case_jobs, method_of, visible_files
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.build.records import GIVEN, Records, read_records
from lcsd.build.rejections import UNREADABLE_REJECTION, Rejection, read_rejection
from lcsd.build.verdicts import Verdict, read_keeps_flagged, read_quality, read_registration_verdicts, read_verdicts
from lcsd.errors import LcsdError
from lcsd.io.files import read_json
from lcsd.io.tables import as_number, numbers, read_table
from lcsd.names import CASE_PATTERN, SCANS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

Status = Literal["done", "borderline", "discarded", "rejected", "broken", "waiting"]

UNREADABLE = (LcsdError, OSError, ValueError, KeyError, TypeError, IndexError, ArithmeticError, MemoryError)
"""What reading or drawing a broken file can raise; a report must survive all of it."""

CLOUDS = ("dense", "keypoints")

STAGE_OUTPUTS = {
    job.stage: tuple(path.removeprefix(f"cases/{job.case}/") for path in job.outputs)
    for job in case_jobs("any", scored=False)
    if job.stage != "gates"
}
"""Stages in the order of the pipeline and the files that show that a case has passed them. Without gates, which judge
a case, and evaluations, which score it."""

FINAL_STAGES = ("keypoints", "correspond", "register")
"""A case is done when these have finished, its evaluation if it has landmarks, and its gates have judged it."""

NAMED_CASES = 10
"""Cases that a line on gates names; the report lists all."""

BROKEN_FILE = "broken_file"
"""Reason code of a case whose state a broken file hides."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be used."""

    file: str
    message: str

    def line(self) -> str:
        """Return the problem as one line."""
        return f"{self.file}: {self.message}"


@dataclass(frozen=True)
class Run:
    """Cost, versions and settings of one command, from its provenance.

    ``given`` says that a user gave the output, so that the settings made nothing.
    """

    stage: str
    output: str
    seconds: float | None
    memory_gib: float | None
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    given: bool = False
    registration: Mapping[str, Any] = field(default_factory=dict)  # of an evaluation: cost of what it scores


@dataclass(frozen=True)
class Evaluation:
    """Landmark errors of one method on one case.

    ``tre`` and ``before`` are per landmark, shape (N,), mm, or None without a landmark table.
    """

    method: str
    figures: Mapping[str, Any]
    tre: "NDArray[np.float64] | None"
    before: "NDArray[np.float64] | None"


@dataclass(frozen=True, kw_only=True)
class CaseState:
    """State of a case, from the files that decide about it.

    ``status`` is ``rejected``: a stage failed; ``broken``: a file that decides cannot be read; ``discarded``: a gate
    failed; ``borderline``: a gate flagged the case, and the build does not keep such cases; ``done``: all stages have
    finished; or ``waiting``: stages are left.
    """

    name: str
    folder: Path
    status: Status
    role: str = ""
    passed: tuple[str, ...] = ()  # finished stages of ``STAGE_OUTPUTS``
    rejection: Rejection | None = None
    gates: tuple[Verdict, ...] = ()
    # Files that decide: ``rejected.json``, ``gates.json``, ``registration.json``, provenance
    broken: tuple[Problem, ...] = ()
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each evaluation, by method
    # runs, records: commands that made the files, and their whole provenance; empty if it was not asked for
    runs: tuple[Run, ...] = ()
    records: Records = field(default_factory=Records)

    @property
    def files(self) -> CaseFiles:
        """Paths of its files."""
        return CaseFiles(self.folder)

    @property
    def counts(self) -> bool:
        """Whether statistics over cases include this case."""
        return self.status == "done"

    @property
    def failed_gates(self) -> tuple[Verdict, ...]:
        """Verdicts that discard the case."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def flagged_gates(self) -> tuple[Verdict, ...]:
        """Verdicts that ask for a look at the case."""
        return tuple(gate for gate in self.gates if gate.flagged)

    def seconds(self, method: str) -> float | None:
        """Return the wall seconds of the command that registered the case; None if not known."""
        return self._cost(method)[0]

    def memory_gib(self, method: str) -> float | None:
        """Return the peak memory of the command that registered the case, GiB; None if not known."""
        return self._cost(method)[1]

    def _cost(self, method: str) -> tuple[float | None, float | None]:
        found = [(run.seconds, run.memory_gib) for run in self.runs if run.stage == METHOD_STAGES.get(method)]
        if method not in METHOD_STAGES:
            scored = [run.registration for run in self.runs if method_of(Path(run.output)) == method]
            found = [(as_number(part.get("wall_s")), as_number(part.get("peak_memory_gib"))) for part in scored if part]
        return found[0] if len(found) == 1 else (None, None)

    @property
    def left_out(self) -> str | None:
        """Reason code of a case that is rejected, broken, discarded or borderline; None for others."""
        if self.rejection is not None:
            return self.rejection.code or UNREADABLE_REJECTION.code
        if self.broken:
            return BROKEN_FILE
        if self.status == "borderline":
            return "+".join(sorted({f"flagged_{gate.name}" for gate in self.flagged_gates}))
        return "+".join(sorted({f"gate_{gate.name}" for gate in self.failed_gates})) or None


@dataclass(frozen=True, kw_only=True)
class Case(CaseState):
    """A case with what its files hold."""

    evaluations: tuple[Evaluation, ...] = ()
    points: Mapping[tuple[str, str], int] = field(default_factory=dict)  # points of each cloud by scan and kind
    correspondences: int | None = None  # number of corresponding points
    prealign: Mapping[str, Any] = field(default_factory=dict)  # figures of the rigid step
    registration: Mapping[str, Any] = field(default_factory=dict)  # figures of the registration of the clouds
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # figures without landmarks, by method


@dataclass
class Inventory:
    """Reads a build and remembers which files it could not use."""

    results: Path  # folder of the build
    names: frozenset[str] | set[str] | None = None  # all files inside the results, if known; else each one is looked up
    provenance: bool = True  # whether it is read; without it, a broken one goes unnoticed
    problems: list[Problem] = field(default_factory=list)
    _kept: dict[tuple[Path, Callable[[Path], Any]], Any] = field(default_factory=dict, repr=False)

    def once(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return what :meth:`attempt` does, and keep it for the next call: several pictures show the same volumes."""
        key = (path, read)
        if key not in self._kept:
            self._kept[key] = self.attempt(path, read)
        found: T | None = self._kept[key]
        return found

    def attempt(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return ``read(path)``, or None if the file is missing or broken (then a problem)."""
        found, problem = self._try(path, read)
        self.remember([problem] if problem else [])
        return found

    def problem(self, path: Path, message: str) -> None:
        """Remember that a file could not be used."""
        self.remember([self._problem(path, message)])

    def _try(self, path: Path, read: Callable[[Path], T]) -> tuple[T | None, Problem | None]:
        if not path.exists():
            return None, None
        try:
            return read(path), None
        except UNREADABLE as error:
            return None, self._problem(path, error.complaint if isinstance(error, LcsdError) else str(error))

    def _problem(self, path: Path, message: str) -> Problem:
        inside = path.is_relative_to(self.results)
        name = str(path.relative_to(self.results) if inside else path)
        return Problem(name, " ".join(message.split()))

    def remember(self, problems: Iterable[Problem]) -> None:
        """Add problems that are not known yet."""
        # Several pictures may need the same file.
        self.problems += [problem for problem in problems if problem not in self.problems]

    def cases(self, manifest: Path | None) -> list[Case]:
        """Return all cases with what their files hold.

        Expected cases come in the manifest's order, then other folders by name. With a manifest, others are only
        rejected ones, such as candidates with a broken scan: cases of an earlier selection are not part of the dataset.
        """
        pairs: Sequence[Pair] = ()
        if manifest is not None:
            if manifest.exists():
                pairs = self.attempt(manifest, read_pairs) or ()
            else:
                self.problem(manifest, "the manifest is missing; cases are taken from the folders")
        return [self._case(state) for state in self.states(pairs)]

    def states(self, pairs: Sequence[Pair] = ()) -> Iterable[CaseState]:
        """Yield the states of all cases, in the order of :meth:`cases`."""
        for pair in pairs:
            yield self.state(pair.case, pair)
        expected = {pair.case for pair in pairs}
        root = BuildFiles(self.results).cases
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if not folder.is_dir() or folder.name in expected:
                continue
            if not CASE_PATTERN.fullmatch(folder.name):
                self.problem(folder, "not a case name; the folder is left out")
            elif not expected or CaseFiles(folder).rejected.exists():
                yield self.state(folder.name)

    def state(self, name: str, pair: Pair | None = None) -> CaseState:
        """Return the state of a case; ``pair`` is its row of the manifest, if there is one."""
        files = BuildFiles(self.results).case(name)
        unasked = pair is not None and pair.landmarks is None
        rejection, wrong = self._rejection(files)
        broken = [wrong] if wrong else []
        # The manifest no longer names the landmarks, so the failure of their evaluation does not matter.
        if unasked and rejection is not None and rejection.stage == "evaluate":
            rejection = None
        gates: list[Verdict] = []
        for path, read in ((files.gates, read_verdicts), (files.registration_figures, read_registration_verdicts)):
            verdicts, wrong = self._try(path, read)
            gates += verdicts or []
            broken += [wrong] if wrong else []
        keeps, _ = self._try(files.gates, read_keeps_flagged)
        records = self._records(files) if self.provenance else Records()
        broken += [Problem(file, f"broken provenance: {why}") for file, why in records.broken.items()]
        self.remember(broken)
        figures = {method: self.attempt(path, read_figures) for method, path in files.evaluations().items()}
        known = {method: found for method, found in figures.items() if found is not None}
        passed = tuple(
            stage
            for stage, outputs in STAGE_OUTPUTS.items()
            if all(self._exists(f"cases/{name}/{output}") for output in outputs)
        )
        scored = pair is None or unasked or len(known) >= len(METHODS)
        judged = self._exists(f"cases/{name}/{INSIDE.gates}")
        finished = scored and judged and all(stage in passed for stage in FINAL_STAGES)
        return CaseState(
            name=name,
            folder=files.folder,
            role="" if pair is None else pair.role,
            status=_status(rejection, broken, gates, finished=finished, keeps=bool(keeps)),
            passed=passed,
            rejection=rejection,
            gates=tuple(gates),
            broken=tuple(broken),
            figures=known,
            runs=tuple(map(_run, records.contents.values())),
            records=records,
        )

    def rejection(self, name: str) -> Rejection | None:
        """Return why a stage failed on a case, also one that the manifest does not ask for; None if none did."""
        found, wrong = self._rejection(BuildFiles(self.results).case(name))
        self.remember([wrong] if wrong else [])
        return found

    def _rejection(self, files: CaseFiles) -> tuple[Rejection | None, Problem | None]:
        found, wrong = self._try(files.rejected, read_rejection)
        return UNREADABLE_REJECTION if wrong else found, wrong

    def _exists(self, name: str) -> bool:
        return (self.results / name).exists() if self.names is None else name in self.names

    def _records(self, files: CaseFiles) -> Records:
        paths = visible_files(files.folder, f"**/*{PROVENANCE_SUFFIX}")
        return read_records(self.results, (str(path.relative_to(self.results)) for path in paths))

    def _case(self, state: CaseState) -> Case:
        from lcsd.io.points import read_cloud, read_point_pairs

        files = state.files
        clouds = {(s, kind): self.attempt(files.cloud(s, kind), read_cloud) for s in SCANS for kind in CLOUDS}
        pairs = self.attempt(files.correspondences, read_point_pairs)
        # Without the records, which hold far more than the runs.
        return Case(
            **{**vars(state), "records": Records()},
            evaluations=tuple(self._evaluation(state, method) for method in state.figures),
            points={key: len(cloud) for key, cloud in clouds.items() if cloud is not None},
            correspondences=None if pairs is None else len(pairs),
            prealign=self.attempt(files.prealign, read_json) or {},
            registration=self.attempt(files.registration_figures, read_json) or {},
            quality=self.attempt(files.gates, read_quality) or {},
        )

    def _evaluation(self, state: CaseState, method: str) -> Evaluation:
        path = state.files.landmark_errors(method)
        table = self.attempt(path, _read_errors)
        if not path.exists():
            self.problem(path, "missing; the statistics leave this evaluation out")
        return Evaluation(method, state.figures[method], *(table if table is not None else (None, None)))


def _status(
    rejection: Rejection | None, broken: Sequence[Problem], gates: Sequence[Verdict], *, finished: bool, keeps: bool
) -> Status:
    if rejection is not None:
        return "rejected"
    if broken:
        return "broken"
    # Whatever a judged case still lacks, it is left out.
    if any(not gate.passed for gate in gates):
        return "discarded"
    if not keeps and any(gate.flagged for gate in gates):
        return "borderline"
    return "done" if finished else "waiting"


def gates_line(states: Iterable[CaseState]) -> str | None:
    """Return one line on the cases that gates leave out: how many, which, why, and how to include them; or None."""
    known = list(states)
    judged = {status: [state for state in known if state.status == status] for status in ("discarded", "borderline")}
    parts = []
    for status, verb in (("discarded", "failed"), ("borderline", "flagged")):
        found = judged[status]
        named = [f"{state.name} ({', '.join(_gate_names(state))})" for state in found[:NAMED_CASES]]
        named += ["..."] if len(found) > NAMED_CASES else []
        parts += [f"{len(found)} {verb} by gates: {', '.join(named)}"] if found else []
    if not parts:
        return None
    remedy = "; gates.keep_flagged: true includes flagged ones" if judged["borderline"] else ""
    return f"left out of statistics and release: {'; '.join(parts)}{remedy}"


def _gate_names(state: CaseState) -> list[str]:
    """Return the names of the gates that decide about a case."""
    gates = state.failed_gates if state.status == "discarded" else state.flagged_gates
    return sorted({gate.name for gate in gates})


def read_figures(path: Path) -> dict[str, Any]:
    """Return the figures of an evaluation; raise ``ValueError`` if they are none."""
    content = read_json(path)
    if as_number(content.get("tre_mean_mm")) is None:
        raise ValueError("tre_mean_mm is missing or not a number")
    return content


def _read_errors(path: Path) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    columns = ("tre_mm", "tre_before_mm")
    errors = numbers(read_table(path, columns, dict.fromkeys(columns, "float64")), columns)
    return errors[:, 0], errors[:, 1]


def _run(record: Mapping[str, Any]) -> Run:
    return Run(
        stage=record["stage"],
        output=str(record.get("output", "")),
        seconds=as_number(record.get("wall_s")),
        memory_gib=as_number(record.get("peak_memory_gib")),
        settings=record.get("settings", {}),
        versions={name: str(value) for name, value in record.get("versions", {}).items()},
        given=GIVEN in record.get("inputs", {}),
        registration=record.get("facts", {}).get("registration", {}) if record["stage"] == "evaluate" else {},
    )
