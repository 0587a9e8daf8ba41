"""Fixtures shared by all tests."""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lcsd.cli.common import THREAD_VARIABLES

# Each core has a worker. Threads of OpenMP and BLAS would take turns with the other worker's, and tests that use torch
# twice the CPU seconds. Tests of the number of threads set it themselves. Workers and commands inherit this.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REAL_DATA_VARIABLE = "LCSD_REAL_DATA"


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Undo what a command that ran inside this process did to its thread limits."""
    environment = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    yield
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.fixture(autouse=True, scope="session")
def _no_syncs() -> Iterator[None]:
    """Let the system choose when it writes to the disk: no test cuts the power. Commands in other processes do sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def _home_of_shared_fixture(item: pytest.Function) -> str:
    """Return the folder or module of the widest fixture that a test shares with others; empty if it shares none."""
    found = [
        definitions[-1].baseid
        for definitions in item._fixtureinfo.name2fixturedefs.values()
        if definitions[-1].scope in ("module", "package", "session") and definitions[-1].baseid.count("/") > 0
    ]
    return min(found, key=len, default="")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that share a fixture on one worker, so that it is made once; builds come first, then long tests."""
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        home = _home_of_shared_fixture(item) if isinstance(item, pytest.Function) else ""
        if home and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(home))
        mark = item.get_closest_marker("xdist_group")
        units.setdefault(f"group {mark.args[0]}" if mark else item.nodeid.split("::")[0], []).append(item)

    def turn(unit: tuple[str, list[pytest.Item]]) -> int:
        name, members = unit
        marks = {mark for item in members for mark in ("workflow", "slow") if item.get_closest_marker(mark)}
        if marks:
            return 0 if "workflow" in marks else 1
        return 2 if name.startswith("group ") else 3

    items[:] = [item for _, members in sorted(units.items(), key=turn) for item in members]


def pytest_collection_finish() -> None:
    """Leave modules and tests, millions of objects that stay to the end, out of every collection of cycles."""
    gc.freeze()
    atexit.register(gc.unfreeze)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda`` where there is no such device."""
    if item.get_closest_marker("cuda") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: torch.cuda.is_available() is false")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real scans, from the environment; skips without one."""
    folder = os.environ.get(REAL_DATA_VARIABLE, "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"no real data: set {REAL_DATA_VARIABLE} to their folder; found {folder!r}")
    return Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests measured with ``record_property``."""
    lines = [
        f"{report.nodeid.split('::')[-1]}: {name} = {value}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
    ]
    if lines:
        terminalreporter.section("measured figures")
        terminalreporter.write_line("\n".join(lines))
