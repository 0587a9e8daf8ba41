"""A registration next to another busy process: its threads wait without spinning."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lcsd.divroc.register import register_clouds
from lcsd.settings.register import RegisterLevel, RegisterSettings

pytestmark = pytest.mark.slow

MEASURE = """
import json, os, subprocess, sys, threading, time
import numpy as np
import lcsd
from lcsd.settings.register import RegisterLevel, RegisterSettings

rng = np.random.default_rng(0)
fixed = rng.uniform(0, 120, (1500, 3))
moving = fixed + 5 * np.sin(fixed[:, ::-1] / 40)
level = RegisterLevel(raster_mm=5.0, flow_mm=8.0, sigma_voxels=1.0, iterations=20)
settings = RegisterSettings(effort="fast", levels=(level,))

def of_threads():
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        found[int(task)] = (int(user) + int(system)) / ticks
    return found

def seconds():
    cpu, wall = time.process_time(), time.perf_counter()
    lcsd.register_clouds(fixed, moving, settings=settings)
    return time.process_time() - cpu, time.perf_counter() - wall

of_numpy = set(of_threads())  # its threads take part in products of matrices, which no loop here needs
seconds()  # imports and compiles
before = of_threads()
alone = [seconds() for _ in range(2)]
known = of_numpy | {thread.native_id for thread in threading.enumerate()}
foreign = sum(used - before.get(task, 0) for task, used in of_threads().items() if task not in known)
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    beside = [seconds() for _ in range(2)]
finally:
    busy.kill()
total = sum(cpu for cpu, _ in alone)
print(json.dumps({"alone": min(alone), "beside": min(beside), "foreign": foreign, "total": total}))
"""

FOREIGN_SHARE = 0.05
"""CPU time of threads that neither Python nor numpy started, of all."""

MOST_TIMES = 3.0
"""What a second busy process may cost. Threads that spin cost 4 to 30 times the time."""


@pytest.fixture(scope="module")
def measured() -> dict[str, object]:
    """Seconds of a process whose environment says nothing about threads."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMP_", "GOMP_", "NUMBA_", "MKL_", "OPENBLAS_"))
    }
    done = subprocess.run([sys.executable, "-c", MEASURE], env=plain, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def test_no_thread_of_another_library_takes_part(measured: dict[str, float]) -> None:
    """OpenMP's threads would; they spin, and no library can tell them not to."""
    assert measured["foreign"] <= FOREIGN_SHARE * measured["total"]


def test_a_second_busy_process_costs_no_more_work(
    measured: dict[str, tuple[float, float]], record_property: Callable[[str, object], None]
) -> None:
    """CPU seconds, because wall seconds depend on what else the machine does."""
    record_property("wall seconds alone and beside", (measured["alone"][1], measured["beside"][1]))
    record_property("CPU seconds alone and beside", (measured["alone"][0], measured["beside"][0]))
    assert measured["beside"][0] <= MOST_TIMES * measured["alone"][0]


def test_two_threads_may_register_at_once() -> None:
    settings = RegisterSettings(
        effort="fast", levels=(RegisterLevel(raster_mm=5.0, flow_mm=8.0, sigma_voxels=1.0, iterations=8),)
    )
    clouds = [np.random.default_rng(seed).uniform(0, 60, (1000, 3)) for seed in range(4)]
    pairs = [(clouds[0], clouds[1]), (clouds[2], clouds[3])]
    alone = [register_clouds(*pair, settings=settings) for pair in pairs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda pair: register_clouds(*pair, settings=settings), pairs))
    for one, other in zip(alone, together, strict=True):
        assert one.field.vectors.tobytes() == other.field.vectors.tobytes()
        assert one.loss == other.loss
