"""What an estimate is asked, from options, configuration and profile."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from lcsd.build.pairs import Pair
from lcsd.build.plan import Build
from lcsd.config import Config
from lcsd.errors import BadInputError
from lcsd.estimate.bound import Machines
from lcsd.estimate.measures import EVALUATE, Measures
from lcsd.estimate.profile import Profile
from lcsd.names import Basis, is_series_uid
from lcsd.settings.estimate import EstimateSettings

MBIT_PER_GB = 8000

LEAST_GIVEN, MOST_GIVEN = 1e-6, 1e9  # range of numbers with a unit; beyond it, hours and dollars could overflow


@dataclass(frozen=True)
class Options:
    """Options of ``lcsd estimate`` (see its help); None means not given."""

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


@dataclass(frozen=True)
class Question:
    """What is to be built, where, and at what price."""

    machines: Machines
    cases: int
    candidates: int = 0  # screened before; 0 without a selection
    landmarks: int = 0  # cases with landmarks
    # Downloaded by each screening and each conversion, 10^9 bytes: their mean where only some scans are fetched, 0
    # for scans on the disk
    fetched_gb: float = 0.0
    keep: bool = True  # whether downloads stay, so that no conversion repeats the download of a screening
    group: int = 0  # cases of one cluster job; 0: each stage of a case is a cluster job of its own
    cluster: bool = False  # whether Snakemake submits the jobs to a scheduler
    batches: int = 1  # parts of the cases that are built one after the other; the last one plans all cases again
    max_submitted: float = math.inf  # jobs that may be submitted to a scheduler and unfinished at a time
    basis: Basis = "wall"  # wall or CPU seconds of the finished build
    pages: int = 60  # most pages of cases in the report
    registration_cloud: str = "cloud"  # stage whose clouds are registered
    usd_per_hour: float = 0.0  # price of a node
    usd_per_gb: float = 0.0  # price of 10^9 downloaded bytes
    scheduler: str = "ilp"  # of Snakemake, as the profile names it
    limits: Mapping[str, int] = field(default_factory=dict)  # what the profile lets the jobs of one machine share

    @property
    def converts_downloads(self) -> bool:
        """Whether conversions download: not after screenings that keep their downloads."""
        return not (self.candidates and self.keep)


def ask(
    options: Options, *, config: Config | None, profile: Profile, measures: Measures, settings: EstimateSettings
) -> Question:
    """Return the question. Raises ``BadInputError`` (``bad_usage``, ``missing_option``) for unsuitable options."""
    _check(options)
    build = _build(options, config)
    cases, candidates = _cases(options, build)
    _check_batches(options, cases, candidates)
    given = [] if build is None else list(build.given.values())
    limits = profile.limits
    machines = Machines(
        nodes=options.nodes or 1,
        cores=options.cores,
        memory_mb=limits.get("mem_mb", math.inf) if options.memory_gb is None else options.memory_gb * 1000,
        gpus=limits.get("gpu", 0) if options.gpus is None else options.gpus,
        downloads=options.downloads or limits.get("downloads", 1),
        gb_per_s=math.inf if options.mbit is None else options.mbit / MBIT_PER_GB,
    )
    keypoints = config is not None and config.workflow.registration_cloud == "keypoints"
    return Question(
        machines,
        cases,
        candidates,
        landmarks=_landmarks(options, measures, cases, given, selected=bool(candidates)),
        fetched_gb=settings.pair_download_gb * _fetched(options, config, given),
        keep=config is None or config.fetch.keep,
        group=options.group,
        cluster=options.nodes is not None,
        batches=options.batches,
        max_submitted=profile.jobs or settings.max_submitted,
        scheduler=profile.scheduler,
        limits=limits,
        basis=options.basis,
        pages=(config or Config(manifest="pairs.tsv")).report.pages,
        registration_cloud="keypoints" if keypoints else "cloud",
        usd_per_hour=options.usd_per_hour,
        usd_per_gb=0.0 if config is None else config.cohort.egress_usd_per_gb,
    )


def _check(options: Options) -> None:
    if options.nodes is None and options.group:
        raise _bad("--group", "groups need a cluster", "give --nodes, too")
    if options.nodes is not None and options.memory_gb is None:
        raise _bad(
            "--memory-gb",
            "the memory of a node is missing",
            "give it, since a profile of a cluster has no limit for it",
        )
    given = {"--memory-gb": options.memory_gb, "--mbit": options.mbit, "--usd-per-hour": options.usd_per_hour or None}
    for name, value in given.items():
        if value is not None and not LEAST_GIVEN <= value <= MOST_GIVEN:
            raise _bad(name, f"{value:g} is out of range", f"{LEAST_GIVEN:g} to {MOST_GIVEN:g}")


def _check_batches(options: Options, cases: int, candidates: int) -> None:
    if candidates and options.batches > 1:
        raise _bad(
            "--batches",
            "cases are selected from all candidates at once",
            "write the selection to a manifest (docs/nlst.md) and estimate that",
        )
    if options.batches > cases:
        raise _bad("--batches", f"more parts than the {cases} cases", "give fewer")


def _build(options: Options, config: Config | None) -> Build | None:
    """Return the planned build; None without a configuration, or if the options give its numbers."""
    numbered = options.pairs is not None and options.candidates is not None
    if config is None or (config.candidates is not None and numbered):
        return None
    return Build.from_config(config.model_dump(mode="json"))


def _cases(options: Options, build: Build | None) -> tuple[int, int]:
    """Return the numbers of cases and of candidates."""
    if build is None:
        if options.pairs is None:
            raise BadInputError(
                "the number of cases is missing", code="missing_option", field="--pairs", remedy="give it, or --config"
            )
        return options.pairs, options.candidates or 0
    candidates = len(build.screened()) if options.candidates is None else options.candidates
    return options.pairs or build.expected_cases(), candidates


def _landmarks(options: Options, measures: Measures, cases: int, given: list[Pair], *, selected: bool) -> int:
    """Return how many cases have landmarks: as in the manifest, else the finished build's share; candidates: none."""
    if options.landmarks is not None:
        return min(options.landmarks, cases)
    if selected:
        return 0
    having = [pair.landmarks is not None for pair in given] or [
        any(job.stage == EVALUATE for job in case.jobs) for case in measures.cases
    ]
    return round(statistics.fmean(having) * cases)


def _fetched(options: Options, config: Config | None, given: list[Pair]) -> float:
    """Return the share of scans to download: all candidates, series in the manifest, or with ``--mbit`` all."""
    if given:
        sources = [source for pair in given for source in (pair.fixed_source, pair.moving_source)]
        return statistics.fmean(map(is_series_uid, sources))
    return float(config is not None or options.mbit is not None)


def _bad(field: str, what: str, remedy: str) -> BadInputError:
    return BadInputError(what, code="bad_usage", field=field, remedy=remedy)
