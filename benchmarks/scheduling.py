"""What Snakemake itself costs while a build runs, for the settings of ``lcsd estimate``.

The real Snakefile runs with a command ``lcsd`` that only makes empty files, so all seconds are
Snakemake's: of each job that ends, by the number of jobs that wait, and of a job's own start on
a cluster, where every job reads the Snakefile and the manifest again. Seconds are CPU time, which
other programs on the machine hardly change.
Run: python -m benchmarks.scheduling [CASES ...]
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.planning import SNAKEFILE, write_manifest
from benchmarks.tables import write_rows

PROFILE = SNAKEFILE.parent / "workflow" / "profiles" / "workstation"
CASES = (100, 1000, 5000)
JOBS = 25
"""Jobs that are timed, after as many that are not."""
LIMIT_S = 500.0
REPEATS = 3


def write_environment(folder: Path) -> Path:
    """Return the Python of a virtual environment like ours, with an ``lcsd`` that does nothing.

    That is, the command makes its output as an empty file.
    """
    binaries = folder / "bin"
    binaries.mkdir()
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    (binaries / "python").symlink_to(sys.executable)
    command = binaries / "lcsd"
    command.write_text('#!/bin/sh\n: > "$3"\n')
    command.chmod(0o755)
    return binaries / "python"


def snakemake(python: Path, *arguments: str) -> list[str]:
    return [str(python), "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--config", "manifest=pairs.tsv", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SNAKEFILE.parent)}


def used_seconds(process: int) -> float:
    """Return the CPU time of a process and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def job_seconds(cases: int, scheduler: str) -> float:
    """Return the seconds from the end of a job to the end of the next while ``cases`` wait."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder / "pairs.tsv", cases)
        command = snakemake(
            write_environment(folder),
            "--profile",
            str(PROFILE),
            "--cores",
            "1",
            "--until",
            "convert",
            "--scheduler",
            scheduler,
        )
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ends: list[float] = []
        assert process.stdout is not None
        started = time.perf_counter()
        for line in process.stdout:
            if line.startswith("Finished jobid"):
                ends.append(used_seconds(process.pid))
            late = bool(ends) and time.perf_counter() - started > LIMIT_S
            if len(ends) > 2 * JOBS or late:
                break
        # At once: a Snakemake that ends in order waits for what it has started.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return between_ends(ends)


def between_ends(ends: list[float]) -> float:
    """Return the mean seconds between ends of jobs, those of the later half."""
    timed = ends[len(ends) // 2 :]
    if len(timed) < 2:
        sys.exit(
            f"{len(ends)} jobs ended, at least 3 are needed: Snakemake failed, or {LIMIT_S:g} s "
            "were over; give fewer cases"
        )
    return (timed[-1] - timed[0]) / (len(timed) - 1)


def child_seconds(command: list[str], folder: Path, code: int) -> float:
    """Return the least seconds of a command that ends with an exit code."""
    seconds = []
    for _ in range(REPEATS):
        before = sum(os.times()[2:4])
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        seconds.append(sum(os.times()[2:4]) - before)
    return min(seconds)


def start_seconds(cases: int) -> float:
    """Return the seconds in which Snakemake finds one job of a case and its inputs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder / "pairs.tsv", cases)
        target = "results/cases/case00000/scans/fixed.nii.gz"
        command = snakemake(Path(sys.executable), "--dry-run", "--quiet", "--", target)
        return child_seconds(command, folder, 0)


def command_seconds() -> float:
    """Return the seconds of ``lcsd`` before its own clock starts: Python, its options, settings.

    The command ends there, as it has no such setting.
    """
    code = "from lcsd.cli.main import main; main(['cloud', 'a', 'b', '--set', 'none=0'])"
    return child_seconds([sys.executable, "-c", code], Path(), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int, nargs="*", default=CASES)
    rows = [
        {
            "cases": cases,
            "ilp_job_s": job_seconds(cases, "ilp"),
            "greedy_job_s": job_seconds(cases, "greedy"),
            "start_s": start_seconds(cases),
            "command_s": command_seconds(),
        }
        for cases in parser.parse_args().cases
    ]
    write_rows("measurements/scheduling", rows)


if __name__ == "__main__":
    main()
