"""Builds sent to a real SLURM: killed jobs, jobs out of memory, bad input, GPUs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from benchmarks.reliability.small import Undisturbed
from lcsd.io.files import read_json
from tests.slurm import CONFIG, cluster, reason_to_skip
from tests.workflow.conftest import MICRO, ROOT, Workspace, rows_of, write_manifest

# In the group of the other builds, whose undisturbed one it is compared with.
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.campaign,
    pytest.mark.slow,
    pytest.mark.xdist_group("workflow"),
    pytest.mark.timeout(1800),
]

PROFILE = ROOT / "workflow" / "profiles" / "slurm"
HERE = ("--slurm-no-account", "--slurm-status-command", "squeue", "--latency-wait", "5")
"""What a cluster without accounts and accounting, on one node, wants beside the profile."""

ASKS_OFTEN = """
import asyncio
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

async def sleep(self):
    await asyncio.sleep(1)

RemoteExecutor.sleep = sleep
main()
"""
"""Snakemake that looks at jobs each second; it would wait ten seconds more after each look without news."""

TOO_LITTLE_MB = 150
"""The snakemake around a job alone takes more, so that SLURM, which looks each second, sees it."""

MORE = 3
"""The memory grows by this power of the attempt: the second has enough on any machine."""

COLUMNS = ("JobID", "State", "Partition", "MinMemory", "tres-per-job", "WorkDir", "Comment")
GROUPS = {"short": ("vessels", "cloud", "keypoints"), "late": ("evaluate", "gates")}
"""Stages that share a job."""

KILL_SECONDS = 120.0
GONE_SECONDS = 30.0


@dataclass(frozen=True)
class Job:
    """A job as SLURM remembers it; ``rule`` is the comment, ``rule_NAME_wildcards_CASE``."""

    id: str
    state: str
    partition: str
    memory: str
    gpus: str
    folder: str
    rule: str


def jobs_of(workspace: Workspace, rule: str = "") -> list[Job]:
    """Return the jobs of a build in the order in which they were sent."""
    done = subprocess.run(
        ["squeue", "--states=all", "--noheader", "-O", ",".join(f"{name}:|" for name in COLUMNS)],
        capture_output=True,
        text=True,
        check=True,
    )
    jobs = [Job(*line.split("|")[: len(COLUMNS)]) for line in done.stdout.splitlines()]
    mine = [j for j in jobs if j.folder == str(workspace.folder) and rule in j.rule]
    return sorted(mine, key=lambda job: int(job.id))


@contextmanager
def first_job_killed(workspace: Workspace, rule: str) -> Iterator[None]:
    """Have the scheduler cancel the first job of a rule as soon as it runs."""

    def kill() -> None:
        end = time.monotonic() + KILL_SECONDS
        while time.monotonic() < end:
            running = [job for job in jobs_of(workspace, rule) if job.state == "RUNNING"]
            if running:
                subprocess.run(["scancel", running[0].id], check=True)
                return
            time.sleep(0.2)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        killer.join()


@dataclass(frozen=True)
class Sent:
    """What became of three builds and their jobs."""

    row: dict[str, str]
    hashes: dict[str, str]
    report: str
    jobs: list[Job]
    logs: str
    bad: Workspace
    bad_jobs: list[Job]
    gpu_jobs: list[Job]

    def of(self, rule: str) -> list[Job]:
        return [job for job in self.jobs if job.rule.startswith(f"rule_{rule}_")]


class Sender(Workspace):
    """A workspace whose Snakemake does not wait longer and longer for jobs of seconds."""

    def command(self, *arguments: str, settings: dict[str, object] | None = None) -> list[str]:
        return [sys.executable, "-c", ASKS_OFTEN, *self.words(*arguments, settings=settings)]


def workspace_of(folder: Path, row: dict[str, str], profile: Path) -> Sender:
    folder.mkdir()
    return Sender(folder, write_manifest(folder / "pairs.tsv", [row]), base=MICRO, profile=profile)


def profile_of_the_test(folder: Path) -> Path:
    """Write the profile with too little memory for one stage, and with groups of stages."""
    content = yaml.safe_load((PROFILE / "config.yaml").read_text(encoding="utf-8"))
    content["groups"] = {rule: group for group, rules in GROUPS.items() for rule in rules}
    content["set-resources"]["prealign"]["mem_mb"] = f"attempt ** {MORE} * {TOO_LITTLE_MB}"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def sent(small: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """One case built with a job killed and one out of memory; a bad one; one for a GPU."""
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("slurm")
    (row,) = rows_of(small.build.manifest)
    good = workspace_of(root / "good", row, profile_of_the_test(root / "profile"))
    absent = {**row, "fixed_source": str(root / "absent.nii.gz")}
    bad = workspace_of(root / "bad", absent, PROFILE)
    with cluster():
        beside = subprocess.Popen(
            bad.command("--until", "convert", *HERE),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with first_job_killed(good, "rule_convert_"):
            good.snakemake(*HERE)
        jobs = jobs_of(good)
        hashes = good.hashes(row["case"])
        report = (good.results / "report" / "index.html").read_text(encoding="utf-8")
        logs = slurm_logs(good)
        assert beside.wait() == 1
        send_for_gpu(good, root)
        gpu_jobs = jobs_of(good)[len(jobs) :]
        return Sent(row, hashes, report, jobs, logs, bad, jobs_of(bad), gpu_jobs)


def slurm_logs(workspace: Workspace) -> str:
    """Return what SLURM wrote of the jobs that failed; the plugin removes the others' logs."""
    folder = workspace.folder / ".snakemake" / "slurm_logs"
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.log")))


def send_for_gpu(workspace: Workspace, folder: Path) -> None:
    """Send a stage again, now for a GPU; there need be none, so that it may fail."""
    partitions = folder / "partitions.yaml"
    partitions.write_text("partitions: {main: {}, accelerated: {max_gpu: 1}}\n", encoding="utf-8")
    command = workspace.command(
        "--until",
        "correspond",
        "--retries",
        "0",
        *HERE,
        "--slurm-partition-config",
        str(partitions),
        settings={"workflow": {"device": "cuda"}},
    )
    subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)


def test_a_build_by_sbatch_has_the_bytes_of_a_local_one(sent: Sent, small: Undisturbed) -> None:
    assert sent.hashes == small.build.hashes(sent.row["case"])
    assert sent.row["case"] in sent.report


def test_a_job_that_the_scheduler_killed_is_sent_again(sent: Sent) -> None:
    assert [job.state for job in sent.of("convert")] == ["CANCELLED", "COMPLETED"]


def test_a_job_out_of_memory_is_sent_again_with_more(sent: Sent) -> None:
    *killed, last = sent.of("prealign")
    assert killed
    assert {job.state for job in killed} <= {"FAILED", "OUT_OF_MEMORY"}
    assert last.state == "COMPLETED"
    assert "exceeded" in sent.logs.lower(), sent.logs
    memory = [int(job.memory.removesuffix("M")) for job in (*killed, last)]
    assert memory == [attempt**MORE * TOO_LITTLE_MB for attempt in range(1, len(memory) + 1)]


def test_stages_can_share_a_job(sent: Sent) -> None:
    rules = [job.rule.removeprefix("rule_").split("_wildcards")[0] for job in sent.jobs]
    single = {"convert", "lungs", "prealign", "correspond", "register", "report"}
    grouped = [rule for rule in rules if rule not in single]
    assert {rule.split("_")[0]: set(rule.split("_")[1:]) for rule in grouped} == {
        group: set(stages) for group, stages in GROUPS.items()
    }
    assert len(grouped) == len(GROUPS)
    assert set(rules) >= single


def test_bad_input_is_tried_again_and_set_aside(sent: Sent) -> None:
    assert [job.state for job in sent.bad_jobs] == ["FAILED"] * 3
    case = sent.row["case"]
    record = read_json(sent.bad.results / "cases" / case / "rejected.json")
    assert (record["stage"], record["code"]) == ("convert", "missing_file")
    assert sent.bad.rejected()[case]["code"] == "missing_file"


def test_a_job_for_a_gpu_asks_for_one_where_there_are_some(sent: Sent) -> None:
    (job,) = sent.gpu_jobs
    assert (job.partition, job.gpus) == ("accelerated", "gres:gpu:1")
    assert {job.partition for job in sent.jobs} == {"main"}


def test_every_job_asks_for_more_each_time() -> None:
    content = yaml.safe_load((PROFILE / "config.yaml").read_text(encoding="utf-8"))
    local = yaml.safe_load((ROOT / "workflow/profiles/workstation/config.yaml").read_text())
    resources = [content["default-resources"], *content["set-resources"].values()]
    for each in resources:
        assert each["mem_mb"].startswith("attempt * ")
        assert each["runtime"].startswith("attempt * ")
    for rule, each in local["set-resources"].items():
        assert content["set-resources"][rule]["mem_mb"] == f"attempt * {each['mem_mb']}"
    for key in ("keep-going", "rerun-incomplete", "rerun-triggers"):
        assert content[key] == local[key]


HOLD = """
import sys, time
from tests.slurm import cluster

with cluster() as owner:
    print(owner, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_cluster_goes_with_the_test_that_holds_it(number: signal.Signals) -> None:
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    holder = subprocess.Popen([sys.executable, "-c", HOLD], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    owner = int(holder.stdout.readline())
    children = Path(f"/proc/{owner}/task/{owner}/children").read_text(encoding="ascii").split()
    assert CONFIG.exists()
    assert len(children) == 3
    os.kill(holder.pid, number)
    holder.wait()
    end = time.monotonic() + GONE_SECONDS
    left = [Path("/proc", pid) for pid in (str(owner), *children)]
    while any(path.exists() for path in left) and time.monotonic() < end:
        time.sleep(0.2)
    assert [path for path in (CONFIG, *left) if path.exists()] == []
