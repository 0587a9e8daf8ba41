"""Machines that are not yours: figures without a home folder."""

import os
import subprocess
import sys

import pytest

NO_HOME = "/proc/no/home"
DRAW = "from matplotlib.figure import Figure; from lcsd.io.plotting import render; print(len(render(Figure(), 'png')))"


@pytest.mark.slow
@pytest.mark.parametrize("home", [NO_HOME, None], ids=["cannot_be_made", "unset"])
def test_figures_need_no_home(home: str | None) -> None:
    """matplotlib/matplotlib 1824 and 2695: compute nodes without a home, on which the cache cannot be written."""
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in (*names, "MPLCONFIGDIR")}
    variables = {} if home is None else dict.fromkeys(names, home)
    call = [sys.executable, "-c", DRAW]
    done = subprocess.run(call, env={**kept, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000
