"""The least time in which machines can do the jobs of a build: the largest of eight limits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

CORES = "cores"
MEMORY = "memory"
GPUS = "GPUs"
DOWNLOADS = "downloads at a time"
LINK = "the link to the archive"
LOOP = "Snakemake's loop"
SUBMITTED = "jobs submitted at a time"
LONGEST = "the longest case"


@dataclass(frozen=True)
class Kind:
    """What the jobs of a stage ask for."""

    name: str  # the stage
    # cores, memory_mb, gpus: taken on one node while the job runs
    cores: int = 1
    memory_mb: float = 0.0
    gpus: int = 0
    fetched_gb: float = 0.0  # downloaded first, 10^9 bytes; a job that downloads takes one of the download slots
    temporary_gb: float = 0.0  # on the disk only while the job runs, 10^9 bytes


@dataclass(frozen=True)
class Machines:
    """Equal nodes, and what they share."""

    nodes: int = 1  # how many
    # cores, memory_mb, gpus: of each node
    cores: int = 1
    memory_mb: float = math.inf
    gpus: int = 0
    downloads: int = 1  # jobs that download at a time, on all nodes together
    gb_per_s: float = math.inf  # speed of the link to the archive, 10^9 bytes per second, shared by all downloads

    def in_memory(self, kind: Kind) -> float:
        """Return how many jobs of a kind the memory of a node holds: a whole number."""
        return self.memory_mb // kind.memory_mb if kind.memory_mb > 0 and self.memory_mb < math.inf else math.inf

    def max_at_once(self, kind: Kind) -> int:
        """Return how many jobs of a kind alone an empty node holds."""
        on_gpus = self.gpus // kind.gpus if kind.gpus else math.inf
        downloading = self.downloads if kind.fetched_gb else math.inf
        return int(min(self.cores // kind.cores, self.in_memory(kind), on_gpus, downloading))


@dataclass(frozen=True)
class Engine:
    """What Snakemake and a cluster's scheduler add to the work."""

    # loop_s, ready_s: Snakemake's loop: seconds for each job that ended, and more for each job that is ready then
    loop_s: float = 0.0
    ready_s: float = 0.0
    submit_s: float = 0.0  # one submission to a scheduler, seconds; the loop makes them one after the other
    start_s: float = 0.0  # from a place on a node to the work itself, seconds; the job holds its place meanwhile
    notice_s: float = 0.0  # from the end of a job until Snakemake notices it, seconds, on average
    max_submitted: float | None = None  # jobs that may be submitted and unfinished at a time; None without a scheduler


class Amount(NamedTuple):
    """Jobs of one kind: how many, and seconds of work of all together. Means need not be whole."""

    jobs: float
    seconds: float


@dataclass(frozen=True)
class Work:
    """Jobs of equal cases, each a graph of jobs that wait for each other."""

    amounts: Mapping[Kind, Amount]  # all cases together
    cases: float  # how many
    # chain_s, chain_jobs: the longest chain of jobs in the longest case: seconds of work, and jobs
    chain_s: float
    chain_jobs: int

    def jobs(self) -> float:
        """Return how many jobs there are."""
        return sum(amount.jobs for amount in self.amounts.values())

    def core_seconds(self) -> float:
        """Return the seconds of work times the cores that they take."""
        return sum(kind.cores * amount.seconds for kind, amount in self.amounts.items())

    def ready(self) -> float:
        """Return how many jobs are started or ready at a time, on average.

        Snakemake takes first what was ready first, so all cases advance together: each has as many
        jobs ready as its graph is wide, until the last jobs of the chains leave one after the other.
        """
        return self.jobs() / self.chain_jobs * (1 - 0.5 / self.chain_jobs)


def limits(work: Work, machines: Machines, engine: Engine) -> dict[str, float]:
    """Return the seconds that each limit asks for; the work takes at least the largest.

    Only whole jobs share a node. So a job of two cores on a node of three counts with all three, and
    one that leaves no memory for another of its kind counts with the whole node.
    """
    link_s = sum(kind.fetched_gb * amount.jobs for kind, amount in work.amounts.items()) / machines.gb_per_s
    # Jobs that wait for the link hold their places, as many as may download at a time.
    slots = min(machines.downloads, machines.nodes * machines.cores)
    held = {}
    for kind, (jobs, seconds) in work.amounts.items():
        alone_s = seconds + jobs * engine.start_s
        held[kind] = max(alone_s + link_s, slots * link_s) if kind.fetched_gb else alone_s
    waiting_s = sum(held.values()) + work.jobs() * engine.notice_s
    return {
        CORES: sum(s / (machines.cores // kind.cores) for kind, s in held.items()) / machines.nodes,
        MEMORY: sum(s / machines.in_memory(kind) for kind, s in held.items()) / machines.nodes,
        GPUS: sum(s / (machines.gpus // kind.gpus) for kind, s in held.items() if kind.gpus) / machines.nodes,
        DOWNLOADS: sum(s / machines.downloads for kind, s in held.items() if kind.fetched_gb),
        # The case that is downloaded last is still to be done.
        LINK: link_s + work.chain_s if link_s else 0.0,
        LOOP: work.jobs() * loop_seconds(work, engine),
        SUBMITTED: 0.0 if engine.max_submitted is None else waiting_s / engine.max_submitted,
        LONGEST: work.chain_s + work.chain_jobs * (engine.start_s + engine.notice_s + engine.loop_s + engine.submit_s),
    }


def loop_seconds(work: Work, engine: Engine) -> float:
    """Return the seconds of Snakemake's loop for each job."""
    ready = max(0.0, work.ready() - (engine.max_submitted or 0))
    return engine.loop_s + ready * engine.ready_s + engine.submit_s
