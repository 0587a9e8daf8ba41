"""What an estimate is asked: options, configuration and profile put together."""

import math
from dataclasses import dataclass

from lcsd.build import Build
from lcsd.config import Config
from lcsd.errors import BadInputError
from lcsd.estimate.measures import EVALUATE, Basis, Measures
from lcsd.estimate.model import Question
from lcsd.estimate.simulation import Machines
from lcsd.estimate.workload import Plan
from lcsd.profile import Profile
from lcsd.settings.estimate import EstimateSettings

MBIT_PER_GB = 8000


@dataclass(frozen=True)
class Options:
    """Options of ``lcsd estimate``, which explains them; None was not given."""

    cores: int
    pairs: int | None = None
    candidates: int | None = None
    landmarks: int | None = None
    memory_gb: float | None = None
    gpus: int | None = None
    nodes: int | None = None
    group: int = 0
    batches: int = 1
    mbit: float | None = None
    downloads: int | None = None
    usd_per_hour: float = 0.0
    basis: Basis = "wall"
    resamples: int = 20
    seed: int = 0


def ask(
    options: Options, *, config: Config | None, profile: Profile, measures: Measures,
    settings: EstimateSettings,
) -> Question:  # fmt: skip
    """Return what is asked.

    Raises
    ------
    BadInputError
        Options that do not go together (``bad_usage``), no number of cases (``missing_option``), or
        a table of cases that cannot be read.
    """
    _check(options)
    cases, candidates = _cases(options, config)
    if candidates and options.batches > 1:
        raise _bad(
            "--batches", "cases are selected from all candidates at once",
            "freeze the selection (docs/nlst.md) and estimate its manifest",
        )  # fmt: skip
    plan = Plan(
        cases, candidates, landmarks=_landmarks(options, measures, cases, bool(candidates)),
        fetched_gb=0.0 if options.mbit is None else settings.pair_download_gb,
        keep=config is None or config.fetch.keep, group=options.group,
    )  # fmt: skip
    keypoints = config is not None and config.workflow.registration_cloud == "keypoints"
    return Question(
        plan, _machines(options, profile),
        cluster=options.nodes is not None,
        batches=options.batches,
        most_submitted=profile.jobs or settings.most_submitted,
        basis=options.basis,
        pages=(config or Config(manifest="pairs.tsv")).report.pages,
        registration_cloud="keypoints" if keypoints else "cloud",
        usd_per_hour=options.usd_per_hour,
        usd_per_gb=0.0 if config is None else config.cohort.egress_usd_per_gb,
        resamples=options.resamples,
        seed=options.seed,
    )  # fmt: skip


def _check(options: Options) -> None:
    if options.nodes is None and options.group:
        raise _bad("--group", "groups are of a cluster", "give --nodes, too")
    if options.nodes is not None and options.memory_gb is None:
        raise _bad("--memory-gb", "a node's memory is not known", "give it")


def _cases(options: Options, config: Config | None) -> tuple[int, int]:
    """Return the numbers of cases and of candidates."""
    if options.pairs is not None and (options.candidates is not None or config is None):
        return options.pairs, options.candidates or 0
    if config is None:
        raise BadInputError(
            "how many cases?", code="missing_option", field="--pairs",
            remedy="give their number, or --config",
        )  # fmt: skip
    build = Build.from_config(config.model_dump(mode="json"))
    candidates = len(build.screened()) if options.candidates is None else options.candidates
    return options.pairs or build.expected_cases(), candidates


def _landmarks(options: Options, measures: Measures, cases: int, selected: bool) -> int:
    """Return how many cases have landmarks; those of a selection have none."""
    if options.landmarks is not None:
        return min(options.landmarks, cases)
    having = sum(any(job.stage == EVALUATE for job in case.jobs) for case in measures.cases)
    return 0 if selected else round(having / len(measures.cases) * cases)


def _machines(options: Options, profile: Profile) -> Machines:
    memory_mb: float = profile.limits.get("mem_mb", math.inf)
    if options.memory_gb is not None:
        memory_mb = options.memory_gb * 1000
    return Machines(
        nodes=options.nodes or 1,
        cores=options.cores,
        memory_mb=memory_mb,
        gpus=profile.limits.get("gpu", 0) if options.gpus is None else options.gpus,
        downloads=options.downloads or profile.limits.get("downloads", 1),
        gb_per_s=math.inf if options.mbit is None else options.mbit / MBIT_PER_GB,
    )


def _bad(field: str, what: str, remedy: str) -> BadInputError:
    return BadInputError(what, code="bad_usage", field=field, remedy=remedy)
