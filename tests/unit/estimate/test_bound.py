"""Limits of a build by hand, and against the schedule of a few jobs."""

import math

import pytest

from lcsd.estimate import bound
from lcsd.estimate.bound import Amount, Engine, Kind, Machines, Work, limits

FREE = Engine()


def jobs_of(kind: Kind, jobs: float = 8, *, seconds: float = 10.0, chain_jobs: int = 1) -> Work:
    return Work({kind: Amount(jobs, jobs * seconds)}, jobs, seconds, chain_jobs)


@pytest.mark.parametrize(
    ("kind", "machines", "limit", "seconds"),
    [
        (Kind("a"), Machines(cores=4), bound.CORES, 20),
        (Kind("a"), Machines(nodes=2, cores=2), bound.CORES, 20),
        # Two cores of three: the third is left over.
        (Kind("a", cores=2), Machines(cores=3), bound.CORES, 80),
        (Kind("a", cores=2), Machines(cores=4), bound.CORES, 40),
        # 4 of 10 GB: two jobs, and 2 GB are left over.
        (Kind("a", memory_mb=4000), Machines(cores=8, memory_mb=10_000), bound.MEMORY, 40),
        (Kind("a", gpus=1), Machines(cores=8, gpus=2), bound.GPUS, 40),
        (Kind("a"), Machines(cores=64), bound.LONGEST, 10),
        # Each download takes 20 s of the link; the last job still works for 10 s.
        (Kind("a", fetched_gb=1), Machines(cores=64, downloads=8, gb_per_s=0.05), bound.LINK, 170),
        (Kind("a", fetched_gb=1), Machines(cores=64, downloads=2), bound.DOWNLOADS, 40),
    ],
)
def test_the_largest_limit(kind: Kind, machines: Machines, limit: str, seconds: float) -> None:
    found = limits(jobs_of(kind), machines, FREE)
    assert max(found.values()) == pytest.approx(seconds)
    assert found[limit] == pytest.approx(seconds)


def test_downloads_that_wait_for_the_link_hold_cores() -> None:
    fetching = Kind("a", fetched_gb=1)
    machines = Machines(cores=4, downloads=4, gb_per_s=0.05)
    found = limits(jobs_of(fetching), machines, FREE)
    # All four cores wait while the link carries 8 GB.
    assert found[bound.CORES] == pytest.approx(160)


def test_snakemakes_loop_looks_at_every_ready_job() -> None:
    work = jobs_of(Kind("a"), 1000, chain_jobs=10)
    # A hundred jobs are ready at a time, less the half of a round at the end.
    assert work.ready() == pytest.approx(95)
    found = limits(work, Machines(cores=10**6), Engine(loop_s=1.0, ready_s=0.1))
    assert found[bound.LOOP] == pytest.approx(1000 * (1 + 9.5))
    # Submitted jobs are not looked at.
    cluster = Engine(loop_s=1.0, ready_s=0.1, submit_s=2.0, max_submitted=90)
    assert limits(work, Machines(), cluster)[bound.LOOP] == pytest.approx(1000 * (3 + 0.5))


def test_starts_on_a_cluster_hold_nodes_and_submitted_jobs() -> None:
    engine = Engine(start_s=5.0, notice_s=3.0, max_submitted=2)
    found = limits(jobs_of(Kind("a")), Machines(nodes=4, cores=1), engine)
    assert found[bound.CORES] == pytest.approx(8 * 15 / 4)
    assert found[bound.SUBMITTED] == pytest.approx(8 * 18 / 2)
    assert found[bound.LONGEST] == pytest.approx(18)


def test_a_node_holds_whole_jobs() -> None:
    assert Machines(cores=9, memory_mb=10_000).max_at_once(Kind("a", cores=2, memory_mb=3000)) == 3
    assert Machines(cores=9).max_at_once(Kind("a", cores=2, memory_mb=3000)) == 4
    assert Machines(cores=9, memory_mb=10).in_memory(Kind("a")) == math.inf
