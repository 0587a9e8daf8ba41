"""Machines that are not yours: figures without a home folder, and signals at any time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.io.points import Cloud, write_cloud

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


@pytest.mark.parametrize(("end", "code"), [(SystemExit(143), 143), (KeyboardInterrupt(), 1)])
def test_a_signal_in_a_compiled_function_rejects_no_case(
    end: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """insilichem/ommprotocol, issue 2: an interruption comes as a SystemError, for which a case was rejected."""

    def interrupted(*_: object, **__: object) -> None:
        inner = SystemError("<function kernel> returned a result with an exception set")
        inner.__cause__ = end
        raise SystemError("CPUDispatcher(<function kernel>) returned a result with an exception set") from inner

    monkeypatch.setattr("lcsd.clouds.keypoints.sparse_cloud", interrupted)
    write_cloud(tmp_path / "dense.npz", Cloud(np.random.default_rng(0).uniform(0, 90, (500, 3)).astype(np.float32)))
    rejected = tmp_path / "rejected.json"
    words = ["keypoints", str(tmp_path / "dense.npz"), str(tmp_path / "o.npz"), "--rejected", str(rejected)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code
    assert "internal error" not in done.stderr
    assert not rejected.exists()
