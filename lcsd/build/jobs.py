"""The files of a case and of a build, and the jobs that make them.

The one list of them outside of the rules (``rules/*.smk``); a test compares the two. Light at
import: the Snakefile needs it.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.provenance import PROVENANCE_SUFFIX, provenance_name
from lcsd.names import SCANS

METHODS = {"corrfield": "correspondences", "divroc": "registration"}
"""Methods that are scored at landmarks, and the folder of each one's displacement field."""

METHOD_STAGES = {"corrfield": "correspond", "divroc": "register"}
"""Scored methods and the stage that makes each one's field."""

LANDMARK_SUFFIX = "_landmarks.csv"
"""End of the name of a table of landmark errors; before it stands the method."""

WILDCARD = "*"
"""Stands for the case in lists of files that are made once and used for every case."""


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """Paths of the files of a case.

    ``scan`` is ``fixed`` or ``moving``, ``kind`` of a cloud ``dense`` or ``keypoints``, and
    ``method`` a scored one (``METHODS``). [N] is the native grid of a scan, [C] the common grid.
    """

    folder: Path

    @property
    def rejected(self) -> Path:
        """Why a stage failed, if one did."""
        return self.folder / "rejected.json"

    def scan(self, scan: str) -> Path:
        """CT scan [N]."""
        return self.folder / "scans" / f"{scan}.nii.gz"

    def lungs(self, scan: str) -> Path:
        """Lung mask [N]."""
        return self.folder / "lungs" / f"{scan}.nii.gz"

    def image(self, scan: str) -> Path:
        """CT scan [C]."""
        return self.folder / "images" / f"{scan}.nii.gz"

    def mask(self, scan: str) -> Path:
        """Lung mask [C]."""
        return self.folder / "images" / f"{scan}_mask.nii.gz"

    @property
    def rigid(self) -> Path:
        """Rigid transform from the common space to the follow-up's native space."""
        return self.folder / "images" / "rigid.tfm"

    @property
    def prealign(self) -> Path:
        """Figures of the rigid step."""
        return self.folder / "images" / "prealign.json"

    def vessels(self, scan: str) -> Path:
        """Vessel map [C]."""
        return self.folder / "vessels" / f"{scan}.nii.gz"

    @property
    def gates(self) -> Path:
        """Verdicts of the gates on the whole pair."""
        return self.folder / "gates.json"

    def cloud(self, scan: str, kind: str) -> Path:
        """Vessel cloud."""
        return self.folder / "clouds" / f"{scan}_{kind}.npz"

    @property
    def correspondences(self) -> Path:
        """Corresponding points of corrfield."""
        return self.folder / METHODS["corrfield"] / "correspondences.csv"

    @property
    def correspondence_figures(self) -> Path:
        """Figures of corrfield."""
        return self.folder / METHODS["corrfield"] / "correspondences.json"

    @property
    def moved_points(self) -> Path:
        """Registered points of the fixed cloud."""
        return self.folder / METHODS["divroc"] / "points.npz"

    @property
    def registration_figures(self) -> Path:
        """Figures of the registration of the clouds."""
        return self.folder / METHODS["divroc"] / "registration.json"

    def field(self, method: str) -> Path:
        """Displacement field [C] of a method."""
        return self.folder / METHODS[method] / "field.nii.gz"

    def evaluation(self, method: str) -> Path:
        """Figures of a method at landmarks; any program's result may have one."""
        return self.folder / "evaluation" / f"{method}.json"

    def landmark_errors(self, method: str) -> Path:
        """Errors of a method at each landmark."""
        return self.folder / "evaluation" / f"{method}{LANDMARK_SUFFIX}"

    def evaluations(self) -> dict[str, Path]:
        """Return the evaluations that exist by method: ``METHODS`` first, then others by name."""
        paths = visible_files(self.folder / "evaluation", "*.json")
        found = sorted(method_of(path) for path in paths if not path.name.endswith(PROVENANCE_SUFFIX))
        ordered = [*(method for method in METHODS if method in found), *(m for m in found if m not in METHODS)]
        return {method: self.evaluation(method) for method in ordered}


def method_of(path: Path) -> str:
    """Return the method after which the file of an evaluation is named; it may hold dots."""
    return path.name.removesuffix(".json")


INSIDE = CaseFiles(Path())
"""Paths inside the folder of a case."""


@dataclass(frozen=True, slots=True)
class BuildFiles:
    """Paths of the files of a build."""

    results: Path

    @property
    def cases(self) -> Path:
        """Folder of all cases."""
        return self.results / "cases"

    def case(self, name: str) -> CaseFiles:
        """Files of a case."""
        return CaseFiles(self.results / "cases" / name)

    @property
    def cohort(self) -> Path:
        """Folder of what is known of the candidates."""
        return self.results / "cohort"

    @property
    def pairs(self) -> Path:
        """Manifest that a selection makes."""
        return self.results / "cohort" / "pairs.tsv"

    @property
    def recorded_config(self) -> Path:
        """Configuration with which the build was last started."""
        return self.results / "build" / "config.yaml"

    @property
    def recorded_pairs(self) -> Path:
        """Copy of the manifest with which the build was last started."""
        return self.results / "build" / "pairs.tsv"

    @property
    def selection(self) -> Path:
        """Ranks and verdicts of the screened candidates."""
        return self.results / "cohort" / "selection.tsv"

    @property
    def names(self) -> Path:
        """Names under which cases are published."""
        return self.results / "cohort" / "names.tsv"

    @property
    def test_cases(self) -> Path:
        """Ranks and verdicts of the test pool."""
        return self.results / "cohort" / "test.tsv"

    def screening(self, case: str) -> Path:
        """Screening of a candidate."""
        return self.results / "cohort" / "screening" / f"{case}.json"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.results / "report"

    @property
    def report_complete(self) -> Path:
        """Empty; Snakemake makes it after the report."""
        return self.results / "report" / "complete"

    @property
    def series(self) -> Path:
        """Folder of downloaded series."""
        return self.results / "series"


WITHIN = BuildFiles(Path())
"""Paths inside the results of a build."""


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """Return matching files in a fixed order; hidden ones are leftovers of killed jobs."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith("."))


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the workflow; all paths are inside the results of the build."""

    stage: str  # name of its rule, its command and its section of the configuration
    case: str  # case whose files it makes; empty if it makes files of the whole build
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()  # files of other jobs that it reads
    records: tuple[str, ...] = ()  # outputs that have a provenance file, one for each command of the job
    log: str = ""  # file with the output of its commands
    method: str = ""  # that an evaluation scores

    @property
    def name(self) -> str:
        """The stage, and the method where that tells two jobs apart."""
        return f"{self.stage} {self.method}".rstrip()

    def provenance(self) -> list[str]:
        """Return the provenance files of its commands."""
        parts = [record.rpartition("/") for record in self.records]
        return [f"{folder}/{provenance_name(name)}" for folder, _, name in parts]

    def of(self, case: str) -> "Job":
        """Return the job of a case; this one is the job of ``WILDCARD``."""

        def named(paths: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(path.replace(WILDCARD, case) for path in paths)

        files = (named(self.outputs), named(self.inputs), named(self.records))
        return Job(self.stage, case, *files, self.log.replace(WILDCARD, case), self.method)


def _texts(*paths: Path | Callable[[str], Path]) -> tuple[str, ...]:
    """Return paths as text; a function gives those of both scans."""
    both = [[str(path)] if isinstance(path, Path) else [str(path(scan)) for scan in SCANS] for path in paths]
    return tuple(text for texts in both for text in texts)


def _case_stages(files: CaseFiles, cloud: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...], int]]:
    """Yield stage, outputs, inputs and the index of the recorded output; -1 stands for all."""
    dense = _texts(lambda scan: files.cloud(scan, "dense"))
    keypoints = _texts(lambda scan: files.cloud(scan, "keypoints"))
    images = _texts(files.image, files.mask)
    yield "convert", _texts(files.scan), (), -1
    yield "lungs", _texts(files.lungs), _texts(files.scan), -1
    yield "prealign", _texts(files.prealign, files.image, files.mask, files.rigid), _texts(files.scan, files.lungs), 0
    yield "vessels", _texts(files.vessels), (*images, str(files.rigid)), -1
    yield "cloud", dense, _texts(files.vessels), -1
    yield "keypoints", keypoints, dense, -1
    made = _texts(files.correspondences, files.field("corrfield"), files.correspondence_figures)
    yield "correspond", made, _texts(files.image, files.mask("fixed")), 0
    made = _texts(files.registration_figures, files.field("divroc"), files.moved_points)
    yield "register", made, (*(dense if cloud == "dense" else keypoints), str(files.image("fixed"))), 0


@functools.cache
def _jobs_of_any(cloud: str, scored: bool) -> tuple[Job, ...]:
    files = WITHIN.case(WILDCARD)
    jobs = []
    for stage, outputs, inputs, recorded in _case_stages(files, cloud):
        records = outputs if recorded < 0 else outputs[recorded : recorded + 1]
        jobs.append(Job(stage, WILDCARD, outputs, inputs, records, f"logs/{stage}/{WILDCARD}.log"))
    for method in METHODS if scored else ():
        made = _texts(files.evaluation(method), files.landmark_errors(method))
        read = _texts(files.field(method), files.rigid, files.mask("fixed"))
        log = f"logs/evaluate/{WILDCARD}_{method}.log"
        jobs.append(Job("evaluate", WILDCARD, made, read, made[:1], log, method))
    return (*jobs, _gates_job(files, scored))


def _gates_job(files: CaseFiles, scored: bool) -> Job:
    """Return the last job of a case, which judges what all others made."""
    made = _texts(files.gates)
    read = _texts(files.vessels, files.mask, files.scan, files.lungs, files.image, files.prealign)
    read += _texts(files.correspondence_figures)
    read += _texts(*(files.field(method) for method in METHODS))
    read += _texts(*(files.evaluation(method) for method in METHODS)) if scored else ()
    return Job("gates", WILDCARD, made, read, made, f"logs/gates/{WILDCARD}.log")


def case_jobs(case: str, *, cloud: str = "dense", scored: bool = True) -> list[Job]:
    """Return the jobs of a case in the order of the pipeline.

    ``cloud`` is the kind that is registered (``workflow.registration_cloud``). A case is ``scored`` if it has
    landmarks, so that its registrations are evaluated.
    """
    return [job.of(case) for job in _jobs_of_any(cloud, scored)]


@functools.cache
def _targets_of_any(scored: bool) -> tuple[str, ...]:
    files = WITHIN.case(WILDCARD)
    wanted = [*(files.cloud(scan, "keypoints") for scan in SCANS), files.gates]
    wanted += [files.field(method) for method in METHODS]
    wanted += [files.evaluation(method) for method in METHODS] if scored else []
    return _texts(*wanted)


def case_targets(case: str, *, scored: bool) -> list[str]:
    """Return the last files of a case, inside the results; all others are needed for them."""
    return [path.replace(WILDCARD, case) for path in _targets_of_any(scored)]


CASE_STAGES = tuple(dict.fromkeys(job.stage for job in case_jobs("any")))
"""Stages of a case in the order of the pipeline."""


def following(jobs: Iterable[Job], stage: str) -> list[Job]:
    """Return the jobs of a stage and those that read what they make, in the same order."""
    made: set[str] = set()
    found = []
    for job in jobs:
        if job.stage == stage or not made.isdisjoint(job.inputs):
            found.append(job)
            made |= set(job.outputs)
    return found


def last(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs whose outputs no other one of them reads."""
    found = list(jobs)
    read = {path for job in found for path in job.inputs}
    return [job for job in found if read.isdisjoint(job.outputs)]
