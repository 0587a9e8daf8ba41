"""Builds as a whole: hostile paths and names, and two builds of one folder."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.pairs import REQUIRED
from lcsd.build.plan import Build
from lcsd.errors import BadInputError
from lcsd.io.images import write_image
from tests.faults.scans import hu
from tests.workflow.conftest import ROOT, Workspace, write_manifest

PATIENCE_S = 120.0
EVIL = 'it\'s $(touch CANARY) `touch CANARY`; touch CANARY & "x" $HOME *? %s \\n'
"""Part of a folder's name."""


def workspace(folder: Path, source: Path, **changed: str) -> Workspace:
    """Return a build of one case whose baseline is ``source``; its follow-up is not there."""
    row = dict.fromkeys(REQUIRED, "x") | {"case": "c1", "role": "train"}
    row |= {"fixed_source": str(source), "moving_source": str(folder / "absent.nii.gz"), **changed}
    return Workspace(folder, write_manifest(folder / "pairs.tsv", [row]))


@pytest.mark.workflow
@pytest.mark.xdist_group("workflow")
def test_a_path_is_never_run_and_never_expanded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    place = tmp_path / EVIL.replace("CANARY", "canary")
    write_image(place / "ct.nii.gz", hu(), dtype=np.int16)
    build = workspace(tmp_path, place / "ct.nii.gz")
    printed = build.snakemake("results/cases/c1/scans/fixed.nii.gz", code=1)
    assert not canary.exists(), printed
    assert not list(tmp_path.rglob("canary"))
    assert (build.results / "logs" / "convert" / "c1.log").exists(), printed
    log = (build.results / "logs" / "convert" / "c1.log").read_text()
    # The first scan was read by its name; the second is not there, which is the end of the case.
    assert "24, 26, 28" in log or "28, 26, 24" in log, log
    assert "absent.nii.gz: file not found" in log


@pytest.mark.workflow
@pytest.mark.xdist_group("workflow")
def test_a_second_build_of_a_folder_and_a_lost_lock_are_refused(tmp_path: Path) -> None:
    build = workspace(tmp_path, tmp_path / "gone.nii.gz")
    target = "results/cases/c1/scans/fixed.nii.gz"
    first = subprocess.Popen(
        build.command(target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    locks = tmp_path / ".snakemake" / "locks"
    end = time.monotonic() + PATIENCE_S
    try:
        while not list(locks.glob("*.lock")):
            assert time.monotonic() < end, "the first build took no lock"
            assert first.poll() is None, "the first build is over"
            time.sleep(0.005)
        os.killpg(first.pid, signal.SIGSTOP)
        printed = build.snakemake(target, code=1)
        assert "cannot be locked" in printed
        assert "--unlock" in printed
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    # The lock of the killed build is still there, and goes as the message says.
    assert "--unlock" in build.snakemake(target, code=1)
    build.snakemake(target, "--unlock")
    assert "cannot be locked" not in build.snakemake(target, code=1)


@pytest.mark.workflow
@pytest.mark.xdist_group("workflow")
def test_a_machine_with_a_part_of_the_cases_chooses_and_reports_nothing(tmp_path: Path) -> None:
    """The options are those of the page on clusters."""
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (options,) = re.findall(r"--omit-from(?: \w+)+", page)
    build = workspace(tmp_path, tmp_path / "gone.nii.gz", role="test_pool")
    whole = set(build.planned())
    printed = build.snakemake("--dry-run", *options.split()).split("Job stats:")[-1]
    part = set(re.findall(r"^(\w+) +\d+$", printed, re.MULTILINE))
    assert whole - part == {"all", "report", "test_cases"}


@pytest.mark.parametrize("key", ["results", "manifest"])
@pytest.mark.parametrize("path", ["a{case}", "a{b", "a\nb", "a\x1b[2J", "--help", "./-x"])
def test_folders_that_the_engine_would_expand_are_refused(tmp_path: Path, key: str, path: str) -> None:
    build = workspace(tmp_path, tmp_path / "a.nii.gz")
    content = {"manifest": str(build.manifest), "results": "results", key: path}
    with pytest.raises(BadInputError) as caught:
        Build.from_config(content)
    assert caught.value.code == "bad_value"
    assert caught.value.message.isprintable()
