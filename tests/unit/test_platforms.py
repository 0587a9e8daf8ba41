"""What runs without Linux's own interfaces: a process that looks like macOS to lcsd.

The libraries are loaded before, as the Linux builds that they are. Then the platform has another name, and ``/proc``,
prctl, mallopt and the scheduler's affinity are gone, as on macOS. fcntl and resource exist there. No Mac was at hand.
"""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

STUB = """
import contextlib, ctypes, importlib, io, json, os, pathlib, pkgutil, sys
import click, duckdb, flask, jinja2, matplotlib.figure, nibabel, numba, pandas, pyarrow.parquet, pydantic, scipy.ndimage
import scipy.spatial, SimpleITK, sklearn.neighbors, torch, vtkmodules, waitress.channel

sys.platform = "darwin"
del os.sched_getaffinity


class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("prctl", "mallopt"):
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = Library
real = os.stat


def stat(path, *rest, **words):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", path)
    return real(path, *rest, **words)


os.stat = stat
import lcsd
from lcsd.cli.main import main
from lcsd.monitor.engine import look

modules = [m.name for m in pkgutil.walk_packages(lcsd.__path__, "lcsd.")]
for name in modules:
    importlib.import_module(name)
found = {"modules": len(modules), "state": look(pathlib.Path("results")).state}
for words in (
    ["register", "fixed.npz", "moving.npz", "--out-dir", "r", "--fast", "--set", "trust=none", "--threads", "1"],
    ["doctor", "--json"],
    ["serve", "--port", "0"],
):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words, standalone_mode=False)
        except SystemExit as end:
            code = end.code
    found[words[0]] = [code or 0, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("mac")
    points = np.random.default_rng(0).uniform(-40, 40, (400, 3)).astype(np.float32)
    np.savez(folder / "fixed.npz", points=points)
    np.savez(folder / "moving.npz", points=points + np.float32(1))
    locks = folder / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/report/index.html\n")
    done = subprocess.run([sys.executable, "-c", STUB], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    made["provenance"] = json.loads(next(folder.glob("r/*.provenance.json")).read_text())
    return made


@pytest.mark.slow
def test_every_module_is_imported_and_clouds_are_registered(found: dict[str, Any]) -> None:
    assert found["modules"] > 300
    code, _, said = found["register"]
    assert code == 0, said
    # macOS reports the peak in bytes; this kernel in KiB, so the stub's figure is 1024 times too small.
    assert 0 < found["provenance"]["peak_memory_gib"] < 0.05


@pytest.mark.slow
def test_the_machine_and_a_build_are_described(found: dict[str, Any]) -> None:
    assert found["state"] == "locked"  # no process is seen
    code, text, said = found["doctor"]
    assert "Traceback" not in said
    assert code in {0, 1}
    assert "cores" in text


@pytest.mark.slow
def test_the_server_says_that_it_needs_linux(found: dict[str, Any]) -> None:
    code, _, said = found["serve"]
    assert code == 1
    assert said.strip().endswith("[linux_only]")
    assert len(said.strip().splitlines()) == 1
