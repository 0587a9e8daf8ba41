"""The jobs of a build: those of each case as in the rules, with the seconds of measured cases."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lcsd.errors import BadInputError
from lcsd.estimate.bound import Amount, Engine, Kind, Machines, Work, limits
from lcsd.estimate.measures import EVALUATE, SCREEN, Case, Job, Measures
from lcsd.estimate.profile import Profile
from lcsd.estimate.question import Question
from lcsd.settings.estimate import EstimateSettings

AFTER: Mapping[str, tuple[str, ...]] = {
    "convert": (),
    "lungs": ("convert",),
    "prealign": ("lungs",),
    "vessels": ("prealign",),
    "cloud": ("vessels",),
    "keypoints": ("cloud",),
    "correspond": ("prealign",),
    "register": ("cloud",),
    EVALUATE: ("correspond", "register"),
    "gates": ("vessels", "correspond", "register"),
}
"""What the job of a stage waits for in its case; the evaluation of a method for one of these."""

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
"""Output files of a job's rule; Snakemake keeps a record of each, one more file."""

GROUP = "group"


def stage_kinds(measures: Measures, profile: Profile, question: Question) -> dict[str, Kind]:
    """Return what each stage's jobs ask for. Raises ``BadInputError`` (``job_too_large``) if no node holds one."""
    machines, measured = question.machines, measures.by_stage()
    per_case = max(case.size_bytes for case in measures.cases) / 1e9
    outputs = sum(OUTPUTS[stage] for stage in AFTER)
    kinds = {}
    for stage in (SCREEN, *AFTER):
        fetches = stage == SCREEN or (stage == "convert" and question.converts_downloads)
        fetched = question.fetched_gb if fetches else 0.0
        # At most, a job holds all its outputs under temporary names.
        written = OUTPUTS[stage] / outputs if stage in AFTER else 0.0
        kinds[stage] = kind = Kind(
            stage,
            # Snakemake, too, lowers threads to the cores that there are.
            cores=min(profile.threads.get(stage, 1), machines.cores),
            memory_mb=profile.memory_mb.get(stage, profile.default_mb),
            gpus=int(any(job.gpu for job in measured.get(stage, ()))),
            fetched_gb=fetched,
            temporary_gb=(0.0 if question.keep else fetched) + written * per_case,
        )
        if machines.max_at_once(kind) < 1:
            raise BadInputError(
                "no machine is large enough for a job",
                code="job_too_large",
                field=stage,
                expected=f"{kind.memory_mb:g} MB, {kind.gpus} GPUs, {int(fetched > 0)} downloads at a time",
                found=f"{machines.memory_mb:g} MB, {machines.gpus} GPUs, {machines.downloads} downloads at a time",
                remedy="give larger machines, or a profile with other resources",
            )
    return kinds


class Workload:
    """Turns measured cases into the work of a question; ``kinds`` as of :func:`stage_kinds`."""

    def __init__(
        self, measures: Measures, question: Question, kinds: Mapping[str, Kind], settings: EstimateSettings
    ) -> None:
        self.measures, self.question, self.kinds, self.settings = measures, question, kinds, settings
        self.after = {**AFTER, "register": (question.registration_cloud,)}
        measured = measures.starts_s if question.basis == "wall" else None
        self.start_s = settings.command_start_s if measured is None else max(0.0, measured)
        self.evaluations = self._evaluations()
        self.cases = [self._case(case) for case in measures.cases]

    def _seconds(self, job: Job) -> float:
        """Return the seconds of a job with its threads: fewer take longer in proportion, more gain nothing."""
        found = self.measures.seconds(job, start_s=self.start_s, basis=self.question.basis)
        return found * max(1.0, job.threads / self.kinds[job.stage].cores)

    def _evaluations(self) -> Amount:
        """Return the evaluations of a case with landmarks: the mean of the measured ones."""
        by_case = [[self._seconds(job) for job in case.jobs if job.stage == EVALUATE] for case in self.measures.cases]
        scored = [seconds for seconds in by_case if seconds]
        if not scored or not self.question.landmarks:
            return Amount(0.0, 0.0)
        return Amount(statistics.fmean(map(len, scored)), statistics.fmean(map(sum, scored)))

    def _case(self, case: Case) -> Work:
        """Return the work of one case like a measured one, with its share of the evaluations."""
        seconds = {job.stage: self._seconds(job) for job in case.jobs if job.stage != EVALUATE}
        amounts = {self.kinds[stage]: Amount(1, seconds[stage]) for stage in self.after if stage in seconds}
        ends: dict[str, tuple[float, int]] = {}
        for stage in (stage for stage in self.after if stage in seconds):
            # A stage that the measured build did not have delays nobody.
            before = max((ends[name] for name in self.after[stage] if name in ends), default=(0.0, 0))
            ends[stage] = (before[0] + seconds[stage], before[1] + 1)
        chain_s, chain_jobs = max(ends.values())
        if self.evaluations.jobs:
            share = self.question.landmarks / self.question.cases
            amounts[self.kinds[EVALUATE]] = Amount(self.evaluations.jobs * share, self.evaluations.seconds * share)
            chain_s += share * self.evaluations.seconds / self.evaluations.jobs
        return Work(amounts, 1, chain_s, chain_jobs)

    def screening(self, counts: Sequence[int]) -> Work:
        """Return the work of screening all candidates.

        Like the measured screenings, else like convert and lungs of cases drawn so often, and the alignment.
        """
        kind, candidates = self.kinds[SCREEN], self.question.candidates
        found = [self._seconds(job) for job in self.measures.screenings]
        if not found:
            per_case = [
                sum(amount.seconds for kind, amount in work.amounts.items() if kind.name in ("convert", "lungs"))
                for work in self.cases
            ]
            drawn = [(seconds, count) for seconds, count in zip(per_case, counts, strict=True) if count]
            total = sum(seconds * count for seconds, count in drawn) / sum(count for _, count in drawn)
            found = [self.settings.screen_align_s + total]
        return Work({kind: Amount(candidates, candidates * statistics.fmean(found))}, candidates, max(found), 1)

    def grouped(self, counts: Sequence[float], engine: Engine) -> Work:
        """Return the work of measured cases, each so many times, in groups of ``question.group``.

        A group is one job. It takes the cores of its widest moment, at most a node's; its seconds
        are the bound of its cases on that many, built by a Snakemake of its own.
        """
        size, machines, kinds = self.question.group, self.question.machines, self.kinds.values()
        cores = min(machines.cores, size * (1 + max(kind.cores for kind in kinds)))
        memory = min(machines.memory_mb, size * 2 * max(kind.memory_mb for kind in kinds))
        group = Kind(
            GROUP,
            cores=cores,
            memory_mb=memory,
            gpus=max(kind.gpus for kind in kinds),
            fetched_gb=size * self.kinds["convert"].fetched_gb,
            temporary_gb=size * sum(kind.temporary_gb for kind in kinds),
        )
        inside = Machines(1, cores, memory, group.gpus, downloads=self.question.cases)
        own = Engine(loop_s=engine.loop_s, ready_s=engine.ready_s)
        cases = sum(counts)
        average = times(self.cases, [size * count / cases for count in counts])
        chain_s = _expected_longest([case.chain_s for case in self.cases], counts, size)
        seconds = max(limits(replace(average, chain_s=chain_s), inside, own).values())
        longest = max(limits(average, inside, own).values())
        return Work({group: Amount(cases / size, cases / size * seconds)}, cases / size, longest, 1)


def _expected_longest(values: Sequence[float], counts: Sequence[float], draws: int) -> float:
    """Return the mean of the largest of a few values, each drawn as often as its count says."""
    total, below, found = sum(counts), 0.0, 0.0
    for value, count in sorted(zip(values, counts, strict=True)):
        up_to = below + count / total
        found += value * (up_to**draws - below**draws)
        below = up_to
    return found


def times(cases: Sequence[Work], counts: Iterable[float]) -> Work:
    """Return the work of cases, each so many times; the longest is the longest of those drawn."""
    amounts: dict[Kind, Amount] = {}
    drawn = [(case, count) for case, count in zip(cases, counts, strict=True) if count]
    for case, count in drawn:
        for kind, (jobs, seconds) in case.amounts.items():
            before = amounts.get(kind, Amount(0.0, 0.0))
            amounts[kind] = Amount(before.jobs + count * jobs, before.seconds + count * seconds)
    longest = max((case for case, _ in drawn), key=lambda case: case.chain_s)
    return replace(longest, amounts=amounts, cases=sum(count for _, count in drawn))
