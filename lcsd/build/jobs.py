"""The jobs of a build: their files, what they read, and where they say what they did.

The one list of them outside of the rules (``rules/*.smk``); a test compares the two. Light.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.plan import METHODS, Build
from lcsd.build.provenance import provenance_name
from lcsd.names import SCANS


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the workflow; all paths are inside the folder of the build.

    Parameters
    ----------
    stage
        Name of its rule, its command and its section of the configuration.
    case
        Whose files it makes; empty where they are of the whole build.
    outputs
        What it makes.
    inputs
        What it reads of other jobs.
    records
        Those of its outputs beside which a provenance stands: one for each command that it runs.
    log
        What its commands print.
    method
        Of an evaluation: what is scored.
    """

    stage: str
    case: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    log: str = ""
    method: str = ""

    @property
    def name(self) -> str:
        """What users read: the stage, and the method where that tells two jobs apart."""
        return f"{self.stage} {self.method}".rstrip()

    def provenance(self) -> list[str]:
        """Return where the provenance of its commands stands."""
        parts = [record.rpartition("/") for record in self.records]
        return [f"{folder}/{provenance_name(name)}" for folder, _, name in parts]


def _both(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.replace("SCAN", scan) for scan in SCANS)


IMAGES = (*_both("images/SCAN.nii.gz"), *_both("images/SCAN_mask.nii.gz"))
GATES_NAME = "vessels/gates.json"
"""Verdicts of ``lcsd gates`` in a case's folder."""


def _case_stages(cloud: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...], int]]:
    """Yield stage, outputs, inputs and the place of the recorded output; -1 stands for all."""
    scans, lungs = _both("scans/SCAN.nii.gz"), _both("lungs/SCAN.nii.gz")
    vessels, dense = _both("vessels/SCAN.nii.gz"), _both("clouds/SCAN_dense.npz")
    rigid = "images/rigid.tfm"
    yield "convert", scans, (), -1
    yield "lungs", lungs, scans, -1
    yield "prealign", ("images/prealign.json", *IMAGES, rigid), (*scans, *lungs), 0
    yield "vessels", vessels, (*IMAGES, rigid), -1
    yield "gates", (GATES_NAME,), (*vessels, *_both("images/SCAN_mask.nii.gz")), 0
    yield "cloud", dense, vessels, -1
    yield "keypoints", _both("clouds/SCAN_keypoints.npz"), dense, -1
    folder = METHODS["corrfield"]
    names = ("correspondences.csv", "field.nii.gz", "correspondences.json")
    yield "correspond", tuple(f"{folder}/{name}" for name in names), IMAGES[:3], 0
    folder = METHODS["divroc"]
    names = ("registration.json", "field.nii.gz", "points.npz")
    clouds = _both(f"clouds/SCAN_{cloud}.npz")
    yield "register", tuple(f"{folder}/{name}" for name in names), (*clouds, IMAGES[0]), 0


def case_jobs(case: str, *, cloud: str = "dense", scored: bool = True) -> list[Job]:
    """Return the jobs of a case in the order of the pipeline.

    Parameters
    ----------
    cloud
        Kind of cloud that is registered (``workflow.registration_cloud``).
    scored
        Whether the case has landmarks, so that its registrations are evaluated.
    """

    def inside(paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"cases/{case}/{path}" for path in paths)

    jobs = []
    for stage, outputs, inputs, recorded in _case_stages(cloud):
        made = inside(outputs)
        records = made if recorded < 0 else made[recorded : recorded + 1]
        jobs.append(Job(stage, case, made, inside(inputs), records, f"logs/{stage}/{case}.log"))
    for method, folder in METHODS.items() if scored else ():
        made = inside((f"evaluation/{method}.json", f"evaluation/{method}_landmarks.csv"))
        read = inside((f"{folder}/field.nii.gz", "images/rigid.tfm", IMAGES[2]))
        log = f"logs/evaluate/{case}_{method}.log"
        jobs.append(Job("evaluate", case, made, read, made[:1], log, method))
    return jobs


CASE_STAGES = tuple(dict.fromkeys(job.stage for job in case_jobs("any")))
"""Stages of a case in the order of the pipeline."""


def build_jobs(build: Build) -> list[Job]:
    """Return the jobs of a whole build in the order of the pipeline, as far as they are known.

    Which cases a selection chooses is known only once it was made.

    Raises
    ------
    BadInputError
        The manifest of a selection is broken.
    """
    jobs = [_screen_job(build, path) for path in build.screened()]
    if build.candidates:
        made = ("cohort/pairs.tsv", "cohort/selection.tsv", "cohort/names.tsv")
        screened = tuple(job.outputs[0] for job in jobs)
        jobs.append(Job("select", "", made, screened, made[:1], "logs/select.log"))
        if not Path(build.manifest).exists():
            return jobs
    for case, pair in build.pairs.items():
        jobs += case_jobs(case, cloud=build.config.workflow.registration_cloud, scored=pair.landmarks is not None)
    inside = _insider(build.results)
    if build.has_test_pool():
        pool = tuple(inside(path) for path in build.test_pool())
        table = ("cohort/test.tsv",)
        jobs.append(Job("test_cases", "", table, pool, table, "logs/test_cases.log"))
    # Its log says nothing of a failure: after one, a report is made without it.
    read = tuple(inside(path) for path in build.targets())
    jobs.append(Job("report", "", ("report/complete",), read, ("report/index.html",)))
    return jobs


def _screen_job(build: Build, path: str) -> Job:
    case = Path(path).stem
    made = (_insider(build.results)(path),)
    return Job("screen", case, made, (), made, f"logs/screen/{case}.log")


def _insider(results: str) -> Callable[[str], str]:
    return lambda path: path.removeprefix(f"{results}/")


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
