"""A SLURM of one node on this machine, from Debian's slurm-wlm and munge.

Job steps read ``/etc/slurm/slurm.conf`` and nothing else, so this file is written there, and a
machine that has one is left alone. A process of its own owns the daemons and the files: it ends
them and removes these as soon as its standard input closes, whatever became of the test that held
it.

``python -m tests.slurm`` holds one until Ctrl-D, to try things by hand.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG_DIR = Path("/etc/slurm")
CONFIG = CONFIG_DIR / "slurm.conf"
CGROUP = CONFIG_DIR / "cgroup.conf"
GRES = CONFIG_DIR / "gres.conf"
PLUGIN = "snakemake_executor_plugin_slurm"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "setpriv")
MARK = "# Made by the tests of lcsd; owner "
READY = "ready"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOG_CHARACTERS = 3000
MEMORY_MB = 16000
"""Of the node, whatever the machine has: jobs must wait for each other as on a small one."""

CONFIG_TEXT = """\
ClusterName=lcsd
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MinJobAge=3600
MailProg=/bin/true
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
# The node is as declared, not as large as the machine.
SlurmdParameters=config_overrides
# Without cgroups only the sampled memory of a step is held against its limit.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
PartitionName=accelerated Nodes=ALL State=UP
"""


def reason_to_skip() -> str | None:
    """Return why no cluster can be made here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no SLURM: {', '.join(absent)} not found; install slurm-wlm and munge"
    if os.geteuid() != 0:
        return "SLURM's daemons run as root only"
    if importlib.util.find_spec(PLUGIN) is None:
        return f"{PLUGIN} is not installed"
    theirs = [path for path in (CONFIG, CGROUP, GRES) if path.exists() and _owner_lives(path)]
    return f"{theirs[0]} is there: this machine has a cluster" if theirs else None


def _owner_lives(path: Path) -> bool:
    """Return whether the file is not ours or the process that wrote it still runs."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return not first.startswith(MARK) or Path("/proc", first.removeprefix(MARK)).exists()


@contextlib.contextmanager
def cluster() -> Iterator[int]:
    """Run a cluster for the block; yield the process id of its owner."""
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.slurm"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    try:
        if owner.stdout.readline().strip() != READY:
            raise RuntimeError(f"no cluster: {owner.communicate()[1]}")
        yield owner.pid
    finally:
        with contextlib.suppress(BrokenPipeError):
            owner.stdin.close()
        owner.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write(path: Path, text: str, made: contextlib.ExitStack) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as handle:
        made.callback(path.unlink, missing_ok=True)
        handle.write(f"{MARK}{os.getpid()}\n{text}")


def _start(folder: Path, *command: str, made: contextlib.ExitStack) -> None:
    """Start a daemon in the foreground; it ends with this process even if that is killed."""
    with (folder / "daemons.log").open("ab") as log:
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    made.callback(_stop, daemon)


def _stop(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _answer(*command: str) -> str:
    """Return what a client prints; nothing if its controller has gone, for which it would wait."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=STOP_SECONDS).stdout
    return ""


def _wait(folder: Path, what: str, ready: Callable[[], bool]) -> None:
    """Wait until ``ready`` says so; raise an error that ends with what the daemons printed."""
    end = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > end:
            printed = (folder / "daemons.log").read_text(encoding="utf-8")[-LOG_CHARACTERS:]
            raise TimeoutError(f"{what} not within {START_SECONDS:g} s\n{printed}")
        time.sleep(0.1)


def _end_jobs() -> None:
    """Cancel what still runs: the processes of a job would outlive the daemons."""
    _answer("scancel", "--me")
    end = time.monotonic() + STOP_SECONDS
    while _answer("squeue", "--noheader", "--me").strip() and time.monotonic() < end:
        time.sleep(0.2)


def hold() -> None:
    """Make a cluster, say that it is ready, and undo all of it once standard input closes."""
    folder = Path(tempfile.mkdtemp(prefix="lcsd-slurm-"))
    host = socket.gethostname().split(".")[0]
    with contextlib.ExitStack() as made:
        made.callback(shutil.rmtree, folder, ignore_errors=True)
        # Munge wants to reach its socket through folders that everybody can enter.
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        _start(
            folder,
            "munged",
            "--foreground",
            f"--socket={folder}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log",
            f"--seed-file={folder}/munge.seed",
            made=made,
        )
        _wait(folder, "munged", (folder / "munge.socket").exists)
        text = CONFIG_TEXT.format(
            host=host, folder=folder, controller_port=_free_port(), node_port=_free_port(), memory=MEMORY_MB
        )
        _start_slurm(folder, text, made)
        made.callback(_end_jobs)
        print(READY, flush=True)  # noqa: T201
        sys.stdin.read()


def _start_slurm(folder: Path, text: str, made: contextlib.ExitStack) -> None:
    # Undone in the reverse order: a configuration must not outlive its controller, for which
    # every start of snakemake would wait.
    daemons = made.enter_context(contextlib.ExitStack())
    _write(CONFIG, text, made)
    _write(CGROUP, "CgroupPlugin=cgroup/v1\n", made)
    _write(GRES, "Name=gpu File=/dev/null\n", made)
    _start(folder, "slurmctld", "-D", made=daemons)
    _start(folder, "slurmd", "-D", made=daemons)
    _wait(folder, "slurmctld", lambda: "is UP" in _answer("scontrol", "ping"))
    node = ("sinfo", "--noheader", "--format=%T")
    _wait(folder, "slurmd", lambda: "idle" in _answer(*node))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    hold()
