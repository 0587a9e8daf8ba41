"""Kill a small build at random moments, resume it, and compare every byte.

One phantom case is built undisturbed. Then builds are killed and resumed again and again until they
are complete. The last line is the tally; the exit code is 1 if anything differs.
Run: python -m benchmarks.reliability.kills [KILLS] [--seed SEED] [--folder FOLDER]
"""

import argparse
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reliability.processes import commands_of, kill, kill_tree, working_in
from benchmarks.reliability.small import (
    OPTIONS,
    Undisturbed,
    add_folder,
    faults_of,
    files_of,
    hashes_of,
    leftovers,
    run_campaign,
    small_build,
    small_cohort,
    undisturbed_build,
)
from lcsd.monitor.verify import verify
from tests.workflow.conftest import Workspace

KINDS = ("job", "snakemake", "tree")
"""What is killed: a command of lcsd, only Snakemake (its jobs continue), or all processes."""

LATEST_SHARE = 0.3  # latest moment of a kill after Snakemake starts, as a share of an undisturbed build
KILLS_MOST = 15  # after so many kills, a build is left alone, so that it completes

POLL_S = 0.02
ORPHANS_S = 60.0  # jobs without a build must have ended after so many seconds, also on a slow machine
RUN_S = 1800.0  # a run of a build that takes longer counts as hanging, seconds


@dataclass
class Tally:
    """What a campaign found."""

    wanted: int
    kills: Counter[str] = field(default_factory=Counter)
    builds: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    def line(self) -> str:
        """Return the tally as one line."""
        kinds = ", ".join(f"{self.kills[kind]} {kind}" for kind in KINDS)
        end = f"{len(self.faults)} faults" if self.faults else "0 outputs differ"
        return f"{self.total} kills ({kinds}) in {self.builds} builds: {end}"


def start(build: Workspace) -> subprocess.Popen[bytes]:
    """Start Snakemake in a new session, after removing the lock of a killed one."""
    if any((build.folder / ".snakemake" / "locks").glob("*")):
        build.snakemake("--unlock")
    with (build.folder / "printed.log").open("ab") as log:
        return subprocess.Popen(
            build.command(*OPTIONS), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def kill_a_job(process: subprocess.Popen[bytes], draw: random.Random) -> bool:
    """Kill one command of lcsd, waiting for the next one if none runs, and let the build end."""
    while process.poll() is None:
        if jobs := commands_of(process.pid):
            kill(draw.choice(jobs))
            return end_of(process) != 0
        time.sleep(POLL_S)
    return False


def end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for a build and return its exit code; kill it if it hangs."""
    try:
        return process.wait(RUN_S)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        process.wait()
        raise RuntimeError(f"the build hangs: no end within {RUN_S:g} s") from None


def disturb(build: Workspace, kind: str, draw: random.Random, latest_s: float) -> bool:
    """Start a build and kill it; return False if it was complete before."""
    process = start(build)
    try:
        code = process.wait(draw.uniform(0, latest_s))
    except subprocess.TimeoutExpired:
        if kind == "job":
            return kill_a_job(process, draw)
        (kill_tree if kind == "tree" else kill)(process.pid)
        process.wait()
        return True
    if code:
        raise RuntimeError(f"the build ended with {code} before the kill, see printed.log")
    return False


def differences(build: Workspace, expected: dict[str, str]) -> list[str]:
    """Return the differences between a finished build and the undisturbed one."""
    end = time.monotonic() + ORPHANS_S
    while (orphans := working_in(build.folder)) and time.monotonic() < end:
        time.sleep(POLL_S)
    found = hashes_of(build.results)
    faults = [f"process {process} still runs" for process in orphans]
    faults += [f"{name}: missing" for name in sorted(expected.keys() - found.keys())]
    faults += faults_of(build.results, expected)
    faults += [f"{one.file}: {one.why}" for one in verify(build.results).differences]
    faults += leftovers(build.results)
    faults += [f"{rule} would run again" for rule in build.planned()]
    return faults


def campaign(
    folder: Path, undisturbed: Undisturbed, *, kills: int, seed: int, say: Callable[[str], object] = lambda _: None
) -> Tally:
    """Kill builds of the cases of an undisturbed one ``kills`` times and return the tally.

    Builds are made in ``folder``; those without a fault are removed. A third of the ``kills`` is of each kind, at
    moments drawn from ``seed``. ``say`` gets a line after each kill and each build.
    """
    expected, latest_s = hashes_of(undisturbed.build.results), LATEST_SHARE * undisturbed.seconds
    say(f"undisturbed build: {undisturbed.seconds:.1f} s, {len(expected)} files")
    draw, tally = random.Random(seed), Tally(kills)  # noqa: S311 - not for secrets
    while tally.total < kills:
        tally.builds += 1
        build = small_build(folder / f"build{tally.builds}", undisturbed.build.manifest)
        faults = one_build(build, expected, tally, draw, latest_s, say)
        faults += differences(build, expected)
        say(f"build {tally.builds} is complete: {len(faults)} faults in it or before")
        tally.faults += [f"{build.folder}: {fault}" for fault in faults]
        if not faults:
            shutil.rmtree(build.folder)
    return tally


def one_build(
    build: Workspace,
    expected: dict[str, str],
    tally: Tally,
    draw: random.Random,
    latest_s: float,
    say: Callable[[str], object],
) -> list[str]:
    """Kill and resume a build until it is complete; return the faults meanwhile."""
    faults: list[str] = []
    for _ in range(KILLS_MOST):
        if tally.total == tally.wanted:
            break
        kind = KINDS[tally.total % len(KINDS)]
        try:
            if not disturb(build, kind, draw, latest_s):
                return faults
        except RuntimeError as error:
            return [*faults, str(error)]
        tally.kills[kind] += 1
        found = faults_of(build.results, expected)
        faults += [f"after kill {tally.total} ({kind}): {fault}" for fault in found]
        there = sum(1 for _ in files_of(build.results))
        say(f"kill {tally.total}/{tally.wanted}, {kind}: {there} files, {len(found)} faults")
    try:
        code = end_of(start(build))
    except RuntimeError as error:
        return [*faults, str(error)]
    return [*faults, f"the build ended with {code}"] if code else faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=0)
    add_folder(parser)
    arguments = parser.parse_args()
    run_campaign(
        lambda folder, say: campaign(
            folder,
            undisturbed_build(folder / "undisturbed", small_cohort(folder / "cohort")),
            kills=arguments.kills,
            seed=arguments.seed,
            say=say,
        ),
        arguments.folder,
    )


if __name__ == "__main__":
    main()
