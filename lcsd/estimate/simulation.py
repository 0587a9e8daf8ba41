"""A build in simulated time: jobs, what they wait for, and the machines that do them.

Snakemake is modelled as it works: one loop that, for each job that ended, looks at every job that
is ready, and starts what fits. No place is kept for a job that does not fit, so jobs of two threads
wait for as long as jobs of one thread are ready. On a cluster the loop submits instead, a scheduler
there gives the jobs to nodes by the same rule, and ends are noticed when the scheduler is asked.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

Event = int
END, QUEUED, SEEN, LOOP = 0, 1, 2, 3
"""What happens, in the order in which it happens at one moment."""


@dataclass(frozen=True)
class Kind:
    """What the jobs of a stage ask for.

    Parameters
    ----------
    name
        Of the stage.
    cores, memory_mb, gpus
        Taken on one node while the job runs.
    fetched_gb
        Downloaded first, 10^9 bytes; a job that downloads takes one of the download slots.
    temporary_gb
        On the disk only while the job runs, 10^9 bytes.
    """

    name: str
    cores: int = 1
    memory_mb: float = 0.0
    gpus: int = 0
    fetched_gb: float = 0.0
    temporary_gb: float = 0.0


@dataclass
class Jobs:
    """Jobs by number: the kind of each, its seconds, and the numbers of the jobs that it waits for.

    ``seconds`` are those of the work alone: neither downloads nor what Snakemake adds.
    """

    kinds: Sequence[Kind]
    kind: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    after: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, kind: int, seconds: float, after: Sequence[int] = ()) -> int:
        """Add a job and return its number."""
        self.kind.append(kind)
        self.seconds.append(seconds)
        self.after.append(tuple(after))
        return len(self.kind) - 1

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Machines:
    """Equal nodes, and what they share.

    Parameters
    ----------
    nodes
        How many.
    cores, memory_mb, gpus
        Of each.
    downloads
        Jobs that download at a time, on all nodes together.
    gb_per_s
        The link to the archive, 10^9 bytes per second; downloads follow one another on it.
    """

    nodes: int = 1
    cores: int = 1
    memory_mb: float = math.inf
    gpus: int = 0
    downloads: int = 1
    gb_per_s: float = math.inf

    def most_at_once(self, kind: Kind) -> int:
        """Return how many jobs of a kind alone an empty node holds."""
        rooms = [self.cores // kind.cores]
        if kind.memory_mb:
            rooms.append(int(min(self.memory_mb / kind.memory_mb, self.cores)))
        if kind.gpus:
            rooms.append(self.gpus // kind.gpus)
        if kind.fetched_gb:
            rooms.append(self.downloads)
        return min(rooms)


@dataclass(frozen=True)
class Engine:
    """What Snakemake and a cluster's scheduler add.

    Parameters
    ----------
    loop_s, ready_s
        Of the loop for each job that ended, and for each job that is ready then, seconds.
    cluster
        Whether jobs are submitted to a scheduler.
    submit_s
        Of a submission, one after the other, seconds.
    start_s
        From a place on a node to the work itself, on that node, seconds.
    poll_s
        Between two questions to the scheduler for jobs that ended, seconds.
    most_submitted
        Jobs that may be submitted and unfinished at a time.
    """

    loop_s: float = 0.0
    ready_s: float = 0.0
    cluster: bool = False
    submit_s: float = 0.0
    start_s: float = 0.0
    poll_s: float = 0.0
    most_submitted: float = math.inf


@dataclass
class Timeline:
    """What came of a simulation.

    Parameters
    ----------
    starts, ends
        Of each job, seconds from the start of the loop; a start is that of its place on a node.
    seconds
        Until the loop has seen the last end.
    loop_s
        In which the loop worked.
    looked_at
        Ready jobs that it looked at, counted each time.
    most_ready, most_submitted, most_running
        Largest numbers of jobs at a time.
    temporary_gb
        Most of it at a time.
    """

    starts: list[float]
    ends: list[float]
    seconds: float = 0.0
    loop_s: float = 0.0
    looked_at: int = 0
    most_ready: int = 0
    most_submitted: int = 0
    most_running: int = 0
    temporary_gb: float = 0.0


class _Queues:
    """Jobs that wait, first come first, one queue for each kind."""

    def __init__(self, kinds: int) -> None:
        self.waiting: list[deque[tuple[int, int]]] = [deque() for _ in range(kinds)]
        self.count = 0
        self._added = 0

    def add(self, kind: int, job: int) -> None:
        self.waiting[kind].append((self._added, job))
        self._added += 1
        self.count += 1

    def first(self, fitting: list[bool]) -> int | None:
        """Return the kind whose first job came first, among those that fit."""
        heads = [(queue[0][0], kind) for kind, queue in enumerate(self.waiting) if queue and fitting[kind]]
        return min(heads)[1] if heads else None

    def take(self, kind: int) -> int:
        self.count -= 1
        return self.waiting[kind].popleft()[1]


class _Simulation:
    def __init__(self, jobs: Jobs, machines: Machines, engine: Engine) -> None:
        self.jobs, self.machines, self.engine = jobs, machines, engine
        self.kinds = jobs.kinds
        count = len(jobs)
        self.line = Timeline([math.nan] * count, [math.nan] * count)
        self.open = [len(after) for after in jobs.after]
        self.followers: list[list[int]] = [[] for _ in range(count)]
        for job, after in enumerate(jobs.after):
            for before in after:
                self.followers[before].append(job)
        self.cores = [machines.cores] * machines.nodes
        self.memory = [machines.memory_mb] * machines.nodes
        self.gpus = [machines.gpus] * machines.nodes
        self.place_of = [0] * count
        self.ready = _Queues(len(self.kinds))
        self.queued = _Queues(len(self.kinds))
        self.downloads = machines.downloads
        self.submitted = self.running = 0
        self.temporary_gb = self.link_free = self.loop_free = 0.0
        self.seen: list[int] = []
        self.loop_planned = True
        self.events: list[tuple[float, int, int, int]] = [(0.0, LOOP, 0, -1)]
        self.pushed = 1

    def run(self) -> Timeline:
        for job, number in enumerate(self.open):
            if not number:
                self.ready.add(self.jobs.kind[job], job)
        while self.events:
            now, event, _, job = heapq.heappop(self.events)
            if event == END:
                self._end(now, job)
            elif event == QUEUED:
                self._queued(now, job)
            elif event == SEEN:
                self.seen.append(job)
                if not self.loop_planned:
                    self._push(max(now, self.loop_free), LOOP)
                    self.loop_planned = True
            else:
                self._loop(now)
        self.line.seconds = self.loop_free
        return self.line

    def _push(self, when: float, event: Event, job: int = -1) -> None:
        heapq.heappush(self.events, (when, event, self.pushed, job))
        self.pushed += 1

    def _fits(self, kind: Kind, node: int) -> bool:
        return self.cores[node] >= kind.cores and self.memory[node] >= kind.memory_mb and self.gpus[node] >= kind.gpus

    def _may(self, kind: Kind) -> bool:
        """Whether the loop may start a job of a kind now."""
        if kind.fetched_gb and not self.downloads:
            return False
        if self.engine.cluster:
            return self.submitted < self.engine.most_submitted
        return self._fits(kind, 0)

    def _take(self, kind: Kind, node: int, sign: int) -> None:
        self.cores[node] -= sign * kind.cores
        self.memory[node] -= sign * kind.memory_mb
        self.gpus[node] -= sign * kind.gpus

    def _loop(self, now: float) -> None:
        """Do what Snakemake does for the jobs whose end it has seen."""
        self.loop_planned = False
        for job in self.seen:
            kind = self.kinds[self.jobs.kind[job]]
            self.downloads += bool(kind.fetched_gb)
            self.submitted -= 1
            if not self.engine.cluster:
                self._take(kind, 0, -1)
            for follower in self.followers[job]:
                self.open[follower] -= 1
                if not self.open[follower]:
                    self.ready.add(self.jobs.kind[follower], follower)
        ready = self.ready.count
        rounds = max(1, len(self.seen))
        self.seen = []
        cost = rounds * (self.engine.loop_s + ready * self.engine.ready_s)
        self.line.looked_at += rounds * ready
        self.line.most_ready = max(self.line.most_ready, ready)
        then = now + cost
        while True:
            chosen = self.ready.first([self._may(kind) for kind in self.kinds])
            if chosen is None:
                break
            job = self.ready.take(chosen)
            self.downloads -= bool(self.kinds[chosen].fetched_gb)
            self.submitted += 1
            if self.engine.cluster:
                then += self.engine.submit_s
                self._push(then, QUEUED, job)
            else:
                self._start(then, job, 0)
        self.line.most_submitted = max(self.line.most_submitted, self.submitted)
        self.line.loop_s += then - now
        self.loop_free = then

    def _queued(self, now: float, job: int) -> None:
        """Give a submitted job to the first node that has room, or let it wait."""
        number = self.jobs.kind[job]
        # Where one of its kind waits, no node has room: each end tries all kinds.
        if not self.queued.waiting[number]:
            for node in range(self.machines.nodes):
                if self._fits(self.kinds[number], node):
                    self._start(now, job, node)
                    return
        self.queued.add(number, job)

    def _start(self, now: float, job: int, node: int) -> None:
        kind = self.kinds[self.jobs.kind[job]]
        self._take(kind, node, 1)
        self.place_of[job] = node
        self.running += 1
        self.temporary_gb += kind.temporary_gb
        self.line.most_running = max(self.line.most_running, self.running)
        self.line.temporary_gb = max(self.line.temporary_gb, self.temporary_gb)
        self.line.starts[job] = now
        begin = now + self.engine.start_s
        if kind.fetched_gb:
            self.link_free = max(begin, self.link_free) + kind.fetched_gb / self.machines.gb_per_s
            begin = self.link_free
        self._push(begin + self.jobs.seconds[job], END, job)

    def _end(self, now: float, job: int) -> None:
        kind = self.kinds[self.jobs.kind[job]]
        self.line.ends[job] = now
        self.running -= 1
        self.temporary_gb -= kind.temporary_gb
        if not self.engine.cluster:
            self._push(now, SEEN, job)
            return
        node = self.place_of[job]
        self._take(kind, node, -1)
        while True:
            chosen = self.queued.first([self._fits(kind, node) for kind in self.kinds])
            if chosen is None:
                break
            self._start(now, self.queued.take(chosen), node)
        poll = self.engine.poll_s
        self._push(math.ceil(now / poll) * poll if poll else now, SEEN, job)


def simulate(jobs: Jobs, machines: Machines, engine: Engine | None = None) -> Timeline:
    """Return when each job runs.

    Parameters
    ----------
    jobs
        A job waits for jobs of smaller numbers only.
    machines
        Each must hold every kind of job.
    engine
        None: Snakemake takes no time.
    """
    return _Simulation(jobs, machines, engine or Engine()).run()
