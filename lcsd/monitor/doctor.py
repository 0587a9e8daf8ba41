"""What a build needs and this machine has: programs, memory, disk, GPU, weights, index."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lcsd.build.plan import Build
from lcsd.config import Config
from lcsd.errors import LcsdError
from lcsd.estimate.profile import WORKSTATION, read_profile
from lcsd.numerics import kernel_cache
from lcsd.numerics.device import check_device
from lcsd.settings.totalsegmentator import TotalSegmentatorSettings

State = Literal["good", "risky", "missing"]

LEAST_PYTHON = (3, 11)
USUAL_CORES = 2
"""That corrfield and DiVRoC take each."""

CASE_GB = 0.13
"""Files of one case of the phantom at full size and default settings, 10^9 bytes (``docs/scale.md``)."""

LEAST_TEMPORARY_GB = 0.5
"""TotalSegmentator and linearBCV write up to two volumes into the folder for temporary files, 10^9 bytes."""

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Memory that a container may use, bytes or ``max``."""

SLURM_PLUGIN = "snakemake_executor_plugin_slurm"

SLURM_SECONDS = 5.0
"""After which a controller counts as silent; one that is up answers in a tenth of a second."""


@dataclass(frozen=True)
class Finding:
    """One thing that a build needs or could use."""

    name: str  # what was looked at
    # ``good``; ``risky``: a build may fail or crawl; ``missing``: what the configuration asks for cannot be done
    state: State
    found: str  # what there is
    remedy: str = ""  # what to do; empty where all is good


def examine(config: Config | None = None, *, profile: Path = WORKSTATION, case_gb: float = CASE_GB) -> list[Finding]:
    """Return what there is on this machine for the build of a configuration.

    Nothing is downloaded or written. What the configuration does not use is good. Without a configuration: for a build
    of scans on the disk, with the default settings. Snakemake's ``profile`` says how much memory jobs take. ``case_gb``
    is the disk of a case, 10^9 bytes; that of a finished build is better than the default.
    """
    build = None if config is None else _build(config)
    config = config or Config(manifest=Path("pairs.tsv"))
    checks: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _python,
        _temporary,
        _kernels,
        _cores,
        _gpu,
        _slurm,
        _weights,
        _programs,
    )
    findings = [finding for check in checks for finding in check(config)]
    at = next(index for index, finding in enumerate(findings) if finding.name == "cores") + 1
    findings[at:at] = _memory(profile)
    return [*findings, *_archive(config, build), *_cases(config, build, case_gb)]


def _build(config: Config) -> Build | LcsdError:
    try:
        return Build.from_config(config.model_dump(mode="json"))
    except LcsdError as error:
        return error


def _found(name: str, look: Callable[[], object]) -> Finding:
    """Return a good finding of what ``look`` returns, or a missing one of the error it raises."""
    try:
        return Finding(name, "good", str(look()))
    except LcsdError as error:
        found = f"{error.what}: {error.found}" if error.found else error.what
        return Finding(name, "missing", found, error.remedy or "")


def _python(_: Config) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    least = ".".join(map(str, LEAST_PYTHON))
    if sys.version_info >= LEAST_PYTHON:
        yield Finding("python", "good", version)
    else:
        yield Finding("python", "missing", version, f"install Python {least} or newer")
    absent = [name for name in _requirements() if not _version(name)]
    if absent:
        names = " ".join(absent)
        yield Finding("packages", "missing", f"not installed: {names}", f"pip install {names}")
    else:
        yield Finding("packages", "good", f"lcsd {_version('lcsd')}, torch {_version('torch')}")


def _temporary_folder() -> Path | None:
    """Return the folder for temporary files; None if none can be written, or the one that was found is gone."""
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None
    return place if place.is_dir() else None


def _temporary(_: Config) -> Iterator[Finding]:
    """Say whether there is room for temporary files, and whether ``TMPDIR`` counts."""
    place, named = _temporary_folder(), os.environ.get("TMPDIR")
    remedy = "set TMPDIR to a folder that can be written"
    if place is None:
        yield Finding("temporary files", "missing", "no folder can be written: absent, full or read-only", remedy)
        return
    free = shutil.disk_usage(place).free / 1e9
    if named and Path(named).absolute() != place.absolute():
        why = "cannot be written" if Path(named).is_dir() else "does not exist"
        yield Finding("temporary files", "risky", f"TMPDIR is {named}, which {why}; {place} is used", remedy)
    elif free < LEAST_TEMPORARY_GB:
        found = f"{place}, {free:.2f} GB free"
        yield Finding("temporary files", "risky", found, "free space there, or set TMPDIR to a folder with more")
    else:
        yield Finding("temporary files", "good", f"{place}, {free:.0f} GB free")


def _kernels(_: Config) -> Iterator[Finding]:
    """Say where compiled kernels are stored."""
    place = kernel_cache.folder()
    if place is None:
        found = (
            f"{' and '.join(map(str, kernel_cache.usual_folders()))} cannot be written, nor can {_temporary_folder()}"
        )
        yield Finding("compiled code", "missing", found, f"set {kernel_cache.VARIABLE} to a folder that can be written")
    elif place.name.startswith(kernel_cache.PRIVATE_NAME):
        remedy = f"the first command compiles for a minute; set {kernel_cache.VARIABLE} to a folder that stays"
        yield Finding("compiled code", "risky", f"{place}, since package and home are read-only", remedy)
    else:
        yield Finding("compiled code", "good", str(place))


def _requirements() -> list[str]:
    listed = importlib.metadata.requires("lcsd") or []
    return [re.split(r"[^A-Za-z0-9._-]", text)[0] for text in listed if "extra ==" not in text]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores(_: Config) -> Iterator[Finding]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < USUAL_CORES:
        remedy = "corrfield and DiVRoC take two: expect twice their hours"
        yield Finding("cores", "risky", str(count), remedy)
    else:
        yield Finding("cores", "good", str(count))


def memory_gb() -> float:
    """Return the memory that processes may use here, 10^9 bytes."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_LIMIT.read_text(encoding="ascii").strip() if CGROUP_LIMIT.is_file() else "max"
    return (min(total, int(limit)) if limit.isdigit() else total) / 1e9


def _memory(file: Path) -> Iterator[Finding]:
    """Hold the memory against the profile's largest job and what it lets all jobs take."""
    try:
        profile = read_profile(file)
    except LcsdError as error:
        yield Finding("memory", "missing", error.message, error.remedy or "name one by --profile")
        return
    found, largest = memory_gb(), profile.largest_job_gb()
    together = profile.limits.get("mem_mb", 0) / 1000
    text = f"{found:.1f} GB"
    if found < largest:
        remedy = f"the largest job takes {largest:g} GB at full size: use a larger machine"
        yield Finding("memory", "missing", text, remedy)
    elif found < together:
        remedy = f"jobs may take {together:g} GB: --resources mem_mb={0.9 * found * 1000:.0f}"
        yield Finding("memory", "risky", text, remedy)
    elif found < 2 * largest:
        remedy = "the largest jobs run one at a time; with other programs beside them, lower mem_mb"
        yield Finding("memory", "risky", text, remedy)
    else:
        yield Finding("memory", "good", text)


def _gpu(config: Config) -> Iterator[Finding]:
    if config.workflow.device == "cpu":
        yield Finding("GPU", "good", "not asked for (workflow.device: cpu)")
        return

    def name() -> str:
        check_device("cuda")
        import torch

        return str(torch.cuda.get_device_name())

    yield _found("GPU", name)


def _slurm(_: Config) -> Iterator[Finding]:
    client = shutil.which("sbatch")
    if client is None:
        yield Finding("SLURM", "good", "not on this machine; needed only to build on a cluster")
        return
    plugin = importlib.util.find_spec(SLURM_PLUGIN) is not None
    state = _controller()
    if state == "unconfigured":
        found = f"{client}, but no slurm.conf; needed only to build on a cluster"
        yield Finding("SLURM", "good", found)
    elif not plugin:
        remedy = f"to build through it: pip install {SLURM_PLUGIN.replace('_', '-')}"
        yield Finding("SLURM", "risky", f"{client}, but Snakemake has no plugin for it", remedy)
    elif state == "silent":
        remedy = (
            "start slurmctld, or remove its slurm.conf or the plugin: each start of snakemake, "
            "also of a build on this machine alone, waits about 10 s for the answer"
        )
        yield Finding("SLURM", "risky", f"{client}, but its controller does not answer", remedy)
    else:
        yield Finding("SLURM", "good", f"{client}, the controller answers")


def _controller() -> Literal["up", "silent", "unconfigured"]:
    """Return whether SLURM's controller answers, does not, or is none that the programs know."""
    try:
        done = subprocess.run(
            ["scontrol", "ping"],
            capture_output=True,
            text=True,
            check=False,
            timeout=SLURM_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "silent"
    if " is UP" in done.stdout:
        return "up"
    return "unconfigured" if "configuration source" in done.stderr else "silent"


def _weights(config: Config) -> Iterator[Finding]:
    from lcsd.totalsegmentator.models import TASKS, Model
    from lcsd.totalsegmentator.weights import check_weights, weights_folder

    used: list[tuple[str, TotalSegmentatorSettings, str]] = []
    if config.vessels.backend == "totalsegmentator":
        vessels = config.vessels.totalsegmentator
        used.append(("weights of vessels", vessels, vessels.task))
    if config.lungs.method == "totalsegmentator":
        lobes = config.lungs.totalsegmentator
        used.append(("weights of lungs", lobes, f"lobes_{lobes.model}"))
    if not used:
        yield Finding("weights", "good", "not asked for (no backend is totalsegmentator)")
    for name, settings, task in used:
        models = TASKS[task].models(robust_crop=settings.robust_crop)
        folder = weights_folder(settings.weights)

        def look(folder: Path = folder, models: Sequence[Model] = models) -> Path:
            check_weights(folder, models)
            return folder

        yield _found(name, look)


def _programs(config: Config) -> Iterator[Finding]:
    if config.prealign.method == "deeds":
        from lcsd.prealign.linear_bcv import find_program

        yield _found("linearBCV", lambda: find_program(config.prealign.linear_bcv))


def _cases(config: Config, build: Build | LcsdError | None, case_gb: float) -> Iterator[Finding]:
    """Whether the table of cases can be read, and whether the disk holds them."""
    if build is None:
        return
    if isinstance(build, LcsdError):
        yield Finding("cases", "missing", build.message, build.remedy or "")
        return
    count = build.expected_cases()
    yield Finding("cases", "good", f"{count}")
    place = next(path for path in (config.results, *config.results.parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    fetched = build.fetched_pairs() if config.fetch.keep else 0
    needed = count * case_gb + fetched * config.estimate.pair_download_gb
    text = f"{free:.0f} GB free for about {needed:.0f} GB of {count} cases"
    if fetched:
        text += f", with the series of {fetched} pairs (fetch.keep)"
    if free < needed:
        remedy = "name results on another disk, or build fewer cases"
        yield Finding("disk", "risky", text, remedy)
    else:
        yield Finding("disk", "good", text)


def _archive(config: Config, build: Build | LcsdError | None) -> Iterator[Finding]:
    """Index and downloader, if any series is fetched."""
    wanted = config.candidates is not None or (
        isinstance(build, Build) and (build.downloads("source") or build.downloads("mask"))
    )
    if not wanted:
        yield Finding("archive", "good", "not asked for (no source is a series of the IDC)")
        return
    from lcsd.cohort.index import default_index
    from lcsd.fetch.transfer import find_program
    from lcsd.io.files import require_file

    own = config.fetch.index
    yield _found("index", default_index if own is None else lambda: require_file(Path(own)))
    yield _found("s5cmd", find_program)
