"""One case, stage by stage: each as a process of its own, and all again inside one process.

Run: python -m benchmarks.case COHORT CASE [--folder FOLDER]

It prints a Markdown table of the CPU time of importing, reading, computing and writing, and of a process's most memory.
The unit of time is a reference that the same run measures, so that it says something on a busy machine, too: the CPU
seconds of compressing the baseline by gzip and one MIND of it, on one thread. FOLDER keeps the files of the case.
"""

import argparse
import builtins
import contextlib
import functools
import gzip
import importlib
import io
import json
import pkgutil
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import lcsd.io
from benchmarks.tables import KIB_PER_MIB, seconds
from lcsd.build.jobs import METHODS, CaseFiles
from lcsd.names import SCANS

PARTS = ("import", "read", "compute", "write")
REPEATS = 3
FIELD_MM = 3


class Parts:
    """CPU seconds by part; what runs inside another part counts for the inner one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = ["compute"]
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count for a part until the end of the block."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def closed(self) -> dict[str, float]:
        """Return the seconds so far."""
        self._switch()
        return {name: self.seconds[name] for name in PARTS}

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts for a part."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return call


def instrument() -> Parts:
    """Count imports, and what lcsd.io reads and writes; call it before the commands are imported."""
    parts = Parts()
    builtins.__import__ = parts.wrapped("import", builtins.__import__)
    with parts.part("import"):
        modules = [importlib.import_module(f"lcsd.io.{found.name}") for found in pkgutil.iter_modules(lcsd.io.__path__)]
        modules.append(importlib.import_module("lcsd.scans.convert"))
    for module in modules:
        for name, function in vars(module).copy().items():
            kind = name.partition("_")[0]
            if kind in {"read", "write"} and callable(function) and function.__module__ == module.__name__:
                setattr(module, name, parts.wrapped(kind, function))
    return parts


def run(commands: list[list[str]]) -> list[dict[str, float]]:
    """Run commands of lcsd inside this process; return the seconds of each by part."""
    parts = instrument()
    with parts.part("import"):
        from lcsd.cli.main import main
    found, before = [], dict.fromkeys(PARTS, 0.0)
    for command in commands:
        main(command, standalone_mode=False)
        after = parts.closed()
        found.append({name: after[name] - before[name] for name in PARTS})
        before = after
    return found


def stage_commands(cohort: Path, case: str, folder: Path) -> dict[str, list[list[str]]]:
    """Return the commands of each stage of a phantom case, whose files go to ``folder``."""
    source, files = cohort / case, CaseFiles(folder)
    images, clouds = [files.image(scan) for scan in SCANS], [files.cloud(scan, "dense") for scan in SCANS]
    lungs = [option for scan in SCANS for option in (f"--{scan}-mask", files.lungs(scan))]
    mask, spacing = files.mask("fixed"), ("--field-mm", FIELD_MM)
    found: dict[str, list[list[object]]] = {
        "convert": [[source / f"{scan}.nii.gz", files.scan(scan)] for scan in SCANS],
        "lungs": [[files.scan(scan), files.lungs(scan)] for scan in SCANS],
        "prealign": [[*(files.scan(scan) for scan in SCANS), *lungs, "--out-dir", files.rigid.parent]],
        "vessels": [[files.image(scan), files.vessels(scan), "--lungs", files.mask(scan)] for scan in SCANS],
        "cloud": [[files.vessels(scan), files.cloud(scan, "dense")] for scan in SCANS],
        "keypoints": [[files.cloud(scan, "dense"), files.cloud(scan, "keypoints")] for scan in SCANS],
        "correspond": [
            [
                *images,
                "--fixed-mask",
                mask,
                "--out",
                files.correspondences,
                "--field",
                files.field("corrfield"),
                *spacing,
            ]
        ],
        "register": [[*clouds, "--grid", images[0], "--out-dir", files.moved_points.parent, *spacing]],
    }
    truth = source / "truth" / "landmarks.csv"
    if truth.exists():
        scored = ["--landmarks", truth, "--landmarks-frame", "native", "--rigid", files.rigid, "--mask", mask]
        found["evaluate"] = [[*scored, "--field", files.field(m), "--out", files.evaluation(m)] for m in METHODS]
    return {stage: [[stage, *map(str, parts)] for parts in commands] for stage, commands in found.items()}


def peak_gib() -> float:
    """Return the most memory that this process, or one that it waited for, has held."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most / KIB_PER_MIB**2


def apart(command: list[str]) -> dict[str, float]:
    """Run a command in a process of its own; return its seconds by part, and its memory at most."""
    made = [sys.executable, "-m", "benchmarks.case", "--commands", json.dumps([command])]
    output = subprocess.run(made, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    return {**found["seconds"][0], "gib": found["gib"]}


def reference_s(scan: Path) -> float:
    """Return the CPU seconds of one gzip and one MIND of a scan, on this thread."""
    import numba

    from lcsd.corrfield.mind import mind_ssc
    from lcsd.io.images import read_image

    volume = read_image(scan).array.astype(np.float32)
    content = volume.astype(np.int16).tobytes()
    numba.set_num_threads(1)
    work = functools.partial(mind_ssc, volume, step=1, sigma=1.0)
    return seconds(lambda: (gzip.compress(content, 6), work()), repeats=REPEATS, clock=time.process_time)


def show(commands: dict[str, list[list[str]]], scan: Path) -> None:
    """Print the table."""
    own = {stage: [apart(command) for command in of] for stage, of in commands.items()}
    flat = [command for of in commands.values() for command in of]
    with contextlib.redirect_stdout(io.StringIO()):
        together = iter(run(flat))
    unit = reference_s(scan)
    print("| stage | import | read | compute | write | together | in one process | most memory, GiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    total = 0.0
    for stage, times in own.items():
        parts = [sum(each[part] for each in times) / unit for part in PARTS]
        inside = sum(sum(next(together).values()) for _ in times) / unit
        total += sum(parts)
        name = f"{stage}, {len(times)} commands" if len(times) > 1 else stage
        cells = [f"{part:.2f}" for part in (*parts, sum(parts), inside, max(each["gib"] for each in times))]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nAll stages: {total:.1f} references of {unit:.2f} CPU seconds.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, nargs="?", default=Path("demo/cohort"))
    parser.add_argument("case", nargs="?", default="phantom-0000-02")
    parser.add_argument("--folder", type=Path, help="new folder for the files of the case, which is kept")
    parser.add_argument("--commands", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.commands:
        found = run(json.loads(arguments.commands))
        print(json.dumps({"seconds": found, "gib": peak_gib()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = arguments.folder or Path(folder)
        show(stage_commands(arguments.cohort, arguments.case, made), CaseFiles(made).image("fixed"))


if __name__ == "__main__":
    main()
