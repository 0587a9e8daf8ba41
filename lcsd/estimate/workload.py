"""The jobs of a build: those of each case as in the rules, with the seconds of measured cases."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lcsd.errors import BadInputError
from lcsd.estimate.measures import EVALUATE, SCREEN, Basis, Job, Measures
from lcsd.estimate.profile import Profile
from lcsd.estimate.simulation import Engine, Jobs, Kind, Machines, simulate

AFTER: Mapping[str, tuple[str, ...]] = {
    "convert": (),
    "lungs": ("convert",),
    "prealign": ("lungs",),
    "vessels": ("prealign",),
    "gates": ("vessels",),
    "cloud": ("vessels",),
    "keypoints": ("cloud",),
    "correspond": ("prealign",),
    "register": ("cloud",),
    EVALUATE: ("correspond", "register"),
}
"""What the job of a stage waits for in its case; each evaluation for one of these, in turn."""

OUTPUTS: Mapping[str, int] = {
    "convert": 2,
    "lungs": 2,
    "prealign": 6,
    "vessels": 2,
    "gates": 1,
    "cloud": 2,
    "keypoints": 2,
    "correspond": 3,
    "register": 3,
    EVALUATE: 2,
    SCREEN: 1,
}
"""Files of a job's rule; Snakemake keeps a record of each, one more file."""

SELECT = "select"
GROUP = "group"


@dataclass(frozen=True)
class Plan:
    """What is to be built.

    Parameters
    ----------
    cases
        Cases built.
    candidates
        Candidates screened before; 0 without a selection.
    landmarks
        Cases with landmarks, the first ones.
    fetched_gb
        Downloaded by each screening and each conversion, 10^9 bytes: their mean where only some
        scans are fetched, 0 for scans on the disk.
    keep
        Whether what a screening downloads stays, so that no conversion downloads it again.
    group
        Cases of one cluster job; 0: each stage of a case is a cluster job of its own.
    """

    cases: int
    candidates: int = 0
    landmarks: int = 0
    fetched_gb: float = 0.0
    keep: bool = True
    group: int = 0


@dataclass(frozen=True)
class Costs:
    """Seconds of what is no stage of a case: start of a command, alignment, selection."""

    start_s: float
    align_s: float
    select_s: float
    basis: Basis


def stage_kinds(measures: Measures, profile: Profile, machines: Machines, plan: Plan) -> dict[str, Kind]:
    """Return what the jobs of each stage ask for.

    Raises
    ------
    BadInputError
        No node holds a job of a stage (``job_too_large``).
    """
    on_gpu = {job.stage for job in all_jobs(measures) if job.gpu}
    per_case = max(case.size_bytes for case in measures.cases) / 1e9
    kinds = {}
    for stage in (SCREEN, *AFTER, SELECT):
        fetches = stage == SCREEN or (stage == "convert" and not (plan.candidates and plan.keep))
        fetched = plan.fetched_gb if fetches else 0.0
        kinds[stage] = Kind(
            stage,
            # More threads than there are cores become fewer, as Snakemake does.
            cores=min(profile.threads.get(stage, 1), machines.cores),
            memory_mb=profile.memory_mb.get(stage, profile.default_mb),
            gpus=int(stage in on_gpu),
            fetched_gb=fetched,
            temporary_gb=(0.0 if plan.keep else fetched) + _written(stage) * per_case,
        )
        if machines.most_at_once(kinds[stage]) < 1:
            raise BadInputError(
                "no machine holds such a job",
                code="job_too_large",
                field=stage,
                expected=f"{kinds[stage].memory_mb:g} MB, {kinds[stage].gpus} GPUs, "
                f"{int(fetched > 0)} downloads at a time",
                found=f"{machines.memory_mb:g} MB, {machines.gpus} GPUs, {machines.downloads} downloads at a time",
                remedy="give larger machines, or a profile with other resources",
            )
    return kinds


def _written(stage: str) -> float:
    """Return the share of a case's bytes that a job holds under temporary names, at most."""
    return OUTPUTS.get(stage, 0) / sum(OUTPUTS[name] for name in AFTER) if stage in AFTER else 0.0


def all_jobs(measures: Measures) -> list[Job]:
    """Return the jobs of all measured cases, and the screenings."""
    return [*(job for case in measures.cases for job in case.jobs), *measures.screenings]


class Workload:
    """Makes the jobs of a plan from measured cases.

    Parameters
    ----------
    measures, costs
        Seconds of the work.
    kinds
        What each stage asks for (:func:`stage_kinds`).
    registration_cloud
        Stage whose clouds are registered: ``cloud`` or ``keypoints``.
    cores
        Of a machine.
    """

    def __init__(
        self, measures: Measures, costs: Costs, kinds: Mapping[str, Kind], *, registration_cloud: str, cores: int
    ) -> None:
        self.measures, self.costs, self.cores = measures, costs, cores
        self.kinds = list(kinds.values())
        self.number = {kind.name: number for number, kind in enumerate(self.kinds)}
        self.after = {**AFTER, "register": (registration_cloud,)}

    def seconds(self, job: Job) -> float:
        """Return the seconds of a job's work with the threads that it gets.

        Fewer than it was measured with take longer in proportion; what more would gain is not
        known, and nothing is assumed.
        """
        found = self.measures.seconds(job, start_s=self.costs.start_s, basis=self.costs.basis)
        return found * max(1.0, job.threads / self.kinds[self.number[job.stage]].cores)

    @functools.cached_property
    def _templates(self) -> list[tuple[list[tuple[str, float]], list[float]]]:
        """Stages in order and seconds of evaluations, of each measured case."""
        templates = []
        for case in self.measures.cases:
            evaluations = [self.seconds(job) for job in case.jobs if job.stage == EVALUATE]
            by_stage = {job.stage: job for job in case.jobs if job.stage != EVALUATE}
            stages = [(name, self.seconds(by_stage[name])) for name in self.after if name in by_stage]
            templates.append((stages, evaluations))
        return templates

    @functools.cached_property
    def _evaluations(self) -> list[list[float]]:
        return [found for _, found in self._templates if found]

    def add_case(self, jobs: Jobs, number: int, *, landmarks: bool, after: Sequence[int] = ()) -> None:
        """Add the jobs of a case like the measured one of that number."""
        stages, evaluations = self._templates[number]
        numbers: dict[str, int] = {}
        for stage, seconds in stages:
            # A stage that the measured build did not have stands in nobody's way.
            before = [numbers[name] for name in self.after[stage] if name in numbers]
            numbers[stage] = jobs.add(self.number[stage], seconds, before or after)
        if landmarks and self._evaluations:
            found = evaluations or self._evaluations[number % len(self._evaluations)]
            for index, seconds in enumerate(found):
                method = self.after[EVALUATE][index % len(self.after[EVALUATE])]
                jobs.add(self.number[EVALUATE], seconds, [numbers[method]])

    def screening_s(self, number: int) -> float:
        """Return the seconds of screening a candidate like a measured one, or like a case.

        A screening converts and segments as the stages of a case do, and aligns.
        """
        screened = self.measures.screenings
        if screened:
            return self.seconds(screened[number % len(screened)])
        stages, _ = self._templates[number]
        return self.costs.align_s + sum(seconds for name, seconds in stages if name in ("convert", "lungs"))

    def _selection(self, jobs: Jobs, plan: Plan, draws: Sequence[int]) -> list[int]:
        """Add all screenings and the selection, for which every case waits; return its number."""
        if not plan.candidates:
            return []
        screened = [
            jobs.add(self.number[SCREEN], self.screening_s(draws[index % len(draws)]))
            for index in range(plan.candidates)
        ]
        return [jobs.add(self.number[SELECT], self.costs.select_s, screened)]

    def jobs(self, plan: Plan, draws: Sequence[int]) -> Jobs:
        """Return all jobs of a plan; ``draws`` says which measured case each is like."""
        jobs = Jobs(self.kinds)
        start = self._selection(jobs, plan, draws)
        for index in range(plan.cases):
            self.add_case(jobs, draws[index], landmarks=index < plan.landmarks, after=start)
        return jobs

    def grouped(self, plan: Plan, draws: Sequence[int], engine: Engine, memory_mb: float) -> Jobs:
        """Return the jobs of a plan with ``plan.group`` cases in each.

        A group takes the cores of its widest moment, at most a machine's; its seconds are those of
        its jobs on as many, done by a Snakemake of its own.
        """
        width = 1 + max(kind.cores for kind in self.kinds)
        cores = min(self.cores, plan.group * width)
        memory = min(memory_mb, plan.group * 2 * max(kind.memory_mb for kind in self.kinds))
        fetched = sum(kind.fetched_gb for kind in self.kinds if kind.name == "convert")
        group = Kind(
            GROUP,
            cores=cores,
            memory_mb=memory,
            gpus=max(kind.gpus for kind in self.kinds),
            fetched_gb=fetched * plan.group,
            temporary_gb=plan.group * sum(kind.temporary_gb for kind in self.kinds),
        )
        local = [Kind(kind.name, kind.cores, kind.memory_mb, kind.gpus) for kind in self.kinds]
        inside = Machines(1, cores, memory, group.gpus, downloads=plan.cases)
        own = Engine(loop_s=engine.loop_s, ready_s=engine.ready_s)
        jobs = Jobs([*self.kinds, group])
        start = self._selection(jobs, plan, draws)
        for first in range(0, plan.cases, plan.group):
            few = Jobs(local)
            for index in range(first, min(first + plan.group, plan.cases)):
                self.add_case(few, draws[index], landmarks=index < plan.landmarks)
            jobs.add(len(self.kinds), simulate(few, inside, own).seconds, start)
        return jobs
