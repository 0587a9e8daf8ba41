"""The simulation against sums, chains and a schedule by whole seconds."""

import random

import pytest

from lcsd.estimate.simulation import Engine, Jobs, Kind, Machines, Timeline, simulate

PLAIN = [Kind("one"), Kind("two", cores=2), Kind("much", memory_mb=3000), Kind("gpu", gpus=1)]


def chain(kinds: list[Kind], *seconds: float) -> Jobs:
    jobs = Jobs(kinds)
    for number, length in enumerate(seconds):
        jobs.add(0, length, [number - 1] if number else [])
    return jobs


def equal_jobs(kind: Kind, count: int, seconds: float) -> Jobs:
    jobs = Jobs([kind])
    for _ in range(count):
        jobs.add(0, seconds)
    return jobs


def random_jobs(seed: int) -> Jobs:
    """Jobs of whole seconds, each after up to two earlier ones."""
    rng = random.Random(seed)  # noqa: S311 - made-up work, no secrets
    jobs = Jobs(PLAIN)
    for number in range(rng.randint(1, 25)):
        after = rng.sample(range(number), min(number, rng.randint(0, 2)))
        jobs.add(rng.randrange(len(PLAIN)), rng.randint(1, 6), after)
    return jobs


def second_by_second(jobs: Jobs, machines: Machines) -> dict[int, int]:
    """The starts of all jobs, second by second: of what is ready, the first that fits."""
    ready = [job for job, after in enumerate(jobs.after) if not after]
    starts: dict[int, int] = {}
    now = 0
    while len(starts) < len(jobs):
        ended = {job for job, at in starts.items() if at + jobs.seconds[job] <= now}
        new = [(at + jobs.seconds[job], job) for job, at in starts.items() if at + jobs.seconds[job] == now]
        for _, before in sorted(new, key=lambda end: list(starts).index(end[1])):
            for job, after in enumerate(jobs.after):
                if before in after and set(after) <= ended and job not in ready:
                    ready.append(job)
        for job in ready:
            kind = jobs.kinds[jobs.kind[job]]
            on = [jobs.kinds[jobs.kind[other]] for other in starts if other not in ended]
            if job not in starts and (
                sum(other.cores for other in on) + kind.cores <= machines.cores
                and sum(other.memory_mb for other in on) + kind.memory_mb <= machines.memory_mb
                and sum(other.gpus for other in on) + kind.gpus <= machines.gpus
            ):
                starts[job] = now
        now += 1
    return starts


@pytest.mark.parametrize("seed", range(40))
def test_equals_a_schedule_made_second_by_second(seed: int) -> None:
    jobs = random_jobs(seed)
    machines = Machines(cores=2 + seed % 3, memory_mb=3000 + 3000 * (seed % 2), gpus=1)
    line = simulate(jobs, machines)
    expected = second_by_second(jobs, machines)
    assert line.starts == [expected[job] for job in range(len(jobs))]


def test_one_core_takes_the_sum() -> None:
    jobs = random_jobs(3)
    jobs.kind = [0] * len(jobs)
    assert simulate(jobs, Machines(cores=1)).seconds == sum(jobs.seconds)


def test_cores_without_end_take_the_longest_chain() -> None:
    jobs = random_jobs(5)
    longest: list[float] = []
    for seconds, after in zip(jobs.seconds, jobs.after, strict=True):
        longest.append(seconds + max((longest[job] for job in after), default=0))
    line = simulate(jobs, Machines(cores=1000, gpus=1000))
    assert line.seconds == max(longest)
    assert line.ends == longest


def test_equal_jobs_come_in_rounds() -> None:
    assert simulate(equal_jobs(Kind("a"), 10, 7), Machines(cores=4)).seconds == 3 * 7


def test_memory_limits_jobs_at_once() -> None:
    line = simulate(equal_jobs(Kind("a", memory_mb=4000), 6, 1), Machines(cores=6, memory_mb=9000))
    assert (line.seconds, line.most_running) == (3, 2)


def test_jobs_of_two_threads_wait_while_others_fit() -> None:
    """No place is kept: with one core free after another, only jobs of one thread start."""
    jobs = Jobs(PLAIN)
    jobs.add(0, 1)
    jobs.add(0, 2)
    jobs.add(1, 5)
    for _ in range(3):
        jobs.add(0, 2)
    line = simulate(jobs, Machines(cores=2))
    # Ready from the start, but the two cores are free together only at the end.
    assert line.starts == [0, 0, 5, 1, 2, 3]
    assert line.seconds == 10


def test_downloads_share_slots_and_the_link() -> None:
    jobs = equal_jobs(Kind("a", fetched_gb=2.0, temporary_gb=2.0), 4, 10)
    link = Machines(cores=8, downloads=4, gb_per_s=0.5)
    # 4 s each, one after the other, then 10 s of work.
    assert simulate(jobs, link).ends == [14, 18, 22, 26]
    one = simulate(jobs, Machines(cores=8, downloads=1, gb_per_s=0.5))
    assert one.ends == [14, 28, 42, 56]
    assert (simulate(jobs, link).temporary_gb, one.temporary_gb) == (8.0, 2.0)


def test_the_loop_works_for_each_end_and_each_ready_job() -> None:
    jobs = equal_jobs(Kind("a"), 3, 10)
    line = simulate(jobs, Machines(cores=1), Engine(loop_s=1.0, ready_s=0.1))
    # Before each job the loop looks at those that are left, and once after the last.
    assert line.seconds == pytest.approx(30 + 4 * 1.0 + 0.1 * (3 + 2 + 1))
    assert (line.looked_at, line.most_ready) == (6, 3)
    assert line.loop_s == pytest.approx(4.6)


def test_the_loop_works_once_for_each_of_several_ends() -> None:
    line = simulate(equal_jobs(Kind("a"), 4, 10), Machines(cores=2), Engine(loop_s=1.0))
    # Two ends at a time take the loop two seconds.
    assert (line.starts, line.seconds) == ([1, 1, 13, 13], 25)


def cluster(**more: float) -> Engine:
    return Engine(cluster=True, **more)  # type: ignore[arg-type]


def test_nodes_are_filled_one_by_one() -> None:
    jobs = equal_jobs(Kind("a", cores=3), 5, 10)
    line = simulate(jobs, Machines(nodes=2, cores=4), cluster())
    # One of three cores fits into each node of four.
    assert line.starts == [0, 0, 10, 10, 20]
    assert (line.seconds, line.most_submitted) == (30, 5)


def test_a_job_is_submitted_started_and_noticed() -> None:
    line = simulate(chain(PLAIN, 5, 5), Machines(nodes=3), cluster(submit_s=2, start_s=3, poll_s=10))
    # Submitted until 2, works from 5 to 10, seen at 10; then 12, 15, 20.
    assert (line.starts, line.ends, line.seconds) == ([2, 12], [10, 20], 20)


def test_ends_are_noticed_when_the_scheduler_is_asked() -> None:
    line = simulate(chain(PLAIN, 1, 1), Machines(), cluster(poll_s=30))
    assert line.starts == [0, 30]


def test_no_more_jobs_are_submitted_than_may_be() -> None:
    line = simulate(equal_jobs(Kind("a"), 7, 1), Machines(nodes=100), cluster(most_submitted=3))
    assert (line.most_submitted, line.most_running, line.seconds) == (3, 3, 3)


def test_largest_number_of_jobs_on_a_node() -> None:
    machine = Machines(cores=16, memory_mb=9000, gpus=1)
    assert machine.most_at_once(Kind("a")) == 16
    assert machine.most_at_once(Kind("a", cores=3)) == 5
    assert machine.most_at_once(Kind("a", memory_mb=4000)) == 2
    assert machine.most_at_once(Kind("a", gpus=1)) == 1
    assert machine.most_at_once(Kind("a", memory_mb=9001)) == 0


def test_nothing_to_do_takes_no_time() -> None:
    line: Timeline = simulate(Jobs(PLAIN), Machines())
    assert line.seconds == 0
