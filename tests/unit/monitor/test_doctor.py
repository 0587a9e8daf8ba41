"""What a machine has for a build: each line good, risky or missing, with what to do."""

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from lcsd.cli.failures import failures_named
from lcsd.cli.main import main
from lcsd.config import Config
from lcsd.errors import WorkError
from lcsd.monitor import doctor
from lcsd.monitor.doctor import Finding, examine
from tests.unit.build.test_candidates import ROW as CANDIDATE
from tests.unit.build.test_candidates import write as write_candidates
from tests.unit.build.test_pairs import ROW as PAIR
from tests.unit.build.test_pairs import write as write_pairs
from tests.unit.build.test_plan import UID
from tests.unit.estimate.builds import write_case

STAND_IN = Path(__file__).resolve().parents[2] / "models" / "weights"


def findings(config: Config | None = None) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(config)}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs.tsv", {**PAIR, "case": "a"}, {**PAIR, "case": "b"})


def configured(manifest: Path, **sections: object) -> Config:
    content = {"manifest": str(manifest), "results": str(manifest.parent / "r"), **sections}
    return Config.model_validate(content)


def test_without_a_configuration_the_machine_is_looked_at() -> None:
    found = findings()
    assert found["packages"].state == "good"
    assert found["GPU"].state == found["weights"].state == found["archive"].state == "good"
    assert not {"cases", "disk", "s5cmd"} & set(found)


@pytest.mark.parametrize(
    ("gb", "state", "remedy"),
    [(2.4, "missing", "the largest job takes 2.5 GB"), (5.0, "risky", "--resources mem_mb=4500"), (6.1, "good", "")],
)
def test_memory_is_held_against_the_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gb: float, state: str, remedy: str
) -> None:
    monkeypatch.setattr(doctor, "memory_gb", lambda: gb)
    found = findings()["memory"]
    assert (found.state, remedy in found.remedy) == (state, True)
    (tmp_path / "config.yaml").write_text("set-resources: {a: {mem_mb: 9000}}\n", encoding="utf-8")
    other = {finding.name: finding for finding in examine(profile=tmp_path)}
    assert "takes 9 GB" in other["memory"].remedy
    lost = {finding.name: finding for finding in examine(profile=tmp_path / "none")}
    assert lost["memory"].state == "missing"


@pytest.mark.parametrize(("gb", "state"), [(7.9, "risky"), (8.1, "good")])
def test_memory_for_one_of_the_largest_jobs_at_a_time_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gb: float, state: str
) -> None:
    monkeypatch.setattr(doctor, "memory_gb", lambda: gb)
    text = "set-resources: {a: {mem_mb: 4000}}\nresources: {mem_mb: 6000}\n"
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    found = {finding.name: finding for finding in examine(profile=tmp_path)}["memory"]
    assert (found.state, "one at a time" in found.remedy) == (state, state == "risky")


def test_a_container_has_its_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = doctor.memory_gb()
    monkeypatch.setattr(doctor, "CGROUP_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("2000000000\n", encoding="utf-8")
    assert doctor.memory_gb() == pytest.approx(2.0)
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert doctor.memory_gb() >= whole


def test_one_core_is_risky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0})
    assert findings()["cores"].state == "risky"


def test_a_folder_for_temporary_files_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert findings()["temporary files"].state == "good"
    monkeypatch.setattr(doctor, "LEAST_TEMPORARY_GB", 1e9)
    assert "set TMPDIR" in findings()["temporary files"].remedy
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    found = findings()["temporary files"]
    assert (found.state, "absent, which does not exist" in found.found) == ("risky", True)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    assert findings()["temporary files"].state == "missing"


def test_a_command_says_that_there_is_no_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """conjure-up 964, pix2pixHD 67: a traceback that names folders."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    with pytest.raises(WorkError, match=r"absent.*set TMPDIR .*\[cannot_write\]"), failures_named():
        tempfile.mkdtemp()


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_requirements", lambda: ["numpy", "no-such-package"])
    found = findings()["packages"]
    assert (found.state, found.remedy) == ("missing", "pip install no-such-package")


def test_requirements_are_those_of_the_package() -> None:
    assert {"click", "simpleitk", "torch", "totalsegmentator"} <= set(doctor._requirements())
    assert "pytest" not in doctor._requirements()


def test_a_gpu_that_is_asked_for_must_be_there(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = findings(configured(manifest, workflow={"device": "cuda"}))["GPU"]
    assert found.state == "missing"
    assert "--device cpu" in found.remedy


UP = "echo 'Slurmctld(primary) at head is UP'"
DOWN = "echo 'Slurmctld(primary) at head is DOWN'; exit 1"
NO_CONFIGURATION = "echo 'fatal: Could not establish a configuration source' >&2; exit 1"


@pytest.mark.parametrize(
    ("ping", "plugin", "state", "said"),
    [
        (UP, True, "good", "the controller answers"),
        (UP, False, "risky", "pip install snakemake-executor-plugin-slurm"),
        (DOWN, True, "risky", "waits about 10 s"),
        ("exec sleep 30", True, "risky", "waits about 10 s"),
        (NO_CONFIGURATION, True, "good", "no slurm.conf"),
        (NO_CONFIGURATION, False, "good", "no slurm.conf"),
    ],
)
def test_slurm_needs_a_controller_and_the_plugin_of_snakemake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ping: str, plugin: bool, state: str, said: str
) -> None:
    for name, text in (("sbatch", ""), ("scontrol", ping)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "SLURM_SECONDS", 0.5)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: plugin or None)
    found = findings()["SLURM"]
    assert (found.state, said in f"{found.found}; {found.remedy}") == (state, True)


def test_a_machine_without_slurm_is_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findings()["SLURM"].found.startswith("not on this machine")


def test_weights_that_are_asked_for_are_checked(manifest: Path, tmp_path: Path) -> None:
    there = {"weights": str(STAND_IN)}
    vessels = {"backend": "totalsegmentator", "totalsegmentator": there}
    found = findings(configured(manifest, vessels=vessels))
    assert found["weights of vessels"] == Finding("weights of vessels", "good", str(STAND_IN))
    lungs = {"method": "totalsegmentator", "totalsegmentator": {"weights": str(tmp_path)}}
    lost = findings(configured(manifest, lungs=lungs))["weights of lungs"]
    assert lost.state == "missing"
    assert "lcsd weights fetch lobes_fast" in lost.remedy


def test_external_program_of_deeds(manifest: Path) -> None:
    prealign = {"method": "deeds", "linear_bcv": "no-such-program"}
    found = findings(configured(manifest, prealign=prealign))["linearBCV"]
    assert (found.state, found.found.endswith("no-such-program")) == ("missing", True)


def test_disk_is_held_against_the_number_of_cases(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 2 * doctor.CASE_GB * 1e9
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert findings(configured(manifest))["disk"].state == "good"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free - 1))
    assert findings(configured(manifest))["disk"].state == "risky"


def test_series_that_are_kept_take_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = {"fixed_source": f"{UID}.1", "moving_source": f"{UID}.2"}
    rows = [{**PAIR, "case": "a"}, {**PAIR, **remote, "case": "b"}]
    series = write_pairs(tmp_path / "remote.tsv", *rows)
    kept = configured(series)
    free = (2 * doctor.CASE_GB + kept.estimate.pair_download_gb) * 1e9
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert findings(kept)["disk"].state == "good"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free - 1e6))
    assert findings(kept)["disk"].state == "risky"
    assert findings(configured(series, fetch={"keep": False}))["disk"].state == "good"


def test_disk_of_a_case_is_that_of_a_finished_build(manifest: Path, tmp_path: Path) -> None:
    size = sum(p.stat().st_size for p in write_case(tmp_path / "r", "a").rglob("*") if p.is_file())
    config = tmp_path / "c.yaml"
    config.write_text(f"manifest: {manifest}\n", encoding="utf-8")
    options = ["doctor", "--config", str(config), "--json", "--from"]
    done = CliRunner().invoke(main, [*options, str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    said = {row["name"]: row["found"] for row in json.loads(done.stdout)}["disk"]
    assert f"about {2 * size / 1e9:.0f} GB of 2 cases" in said
    none = CliRunner().invoke(main, [*options, str(tmp_path / "none")])
    assert (none.exit_code, "missing_file" in none.stderr) == (2, True)


def test_series_need_the_index_and_the_downloader(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "s5cmd" not in findings(configured(manifest))
    remote = {**PAIR, "fixed_source": f"{UID}.1", "moving_source": f"{UID}.2"}
    series = write_pairs(tmp_path / "remote.tsv", remote)
    found = findings(configured(series))
    assert found["index"].state == found["s5cmd"].state == "good"
    absent = configured(series, fetch={"index": str(tmp_path / "none.parquet")})
    assert findings(absent)["index"].state == "missing"


def test_cases_of_a_selection_are_counted(tmp_path: Path) -> None:
    rows = [{**CANDIDATE, "case": "a"}, {**CANDIDATE, "case": "b", "sampled": "test_pool"}]
    table = write_candidates(tmp_path / "candidates.tsv", *rows)
    config = Config.model_validate({"candidates": str(table), "select": {"count": 7}})
    assert findings(config)["cases"].found == "8"
    table.unlink()
    found = findings(config)
    assert found["cases"].state == "missing"
    assert found["s5cmd"].state == "good"


def test_command_ends_with_1_if_something_is_missing(manifest: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"manifest: {manifest}\n", encoding="utf-8")
    good = CliRunner().invoke(main, ["doctor", "--config", str(config)])
    assert good.exit_code == 0, good.output
    lines = good.stdout.splitlines()
    assert all(line.startswith(("good ", "risky ")) for line in lines)
    config.write_text(f"manifest: {tmp_path}/none.tsv\n", encoding="utf-8")
    bad = CliRunner().invoke(main, ["doctor", "--config", str(config), "--json"])
    assert bad.exit_code == 1
    assert {row["name"]: row["state"] for row in json.loads(bad.stdout)}["cases"] == "missing"
    config.write_text("manifesto: x\n", encoding="utf-8")
    broken = CliRunner().invoke(main, ["doctor", "--config", str(config)])
    assert broken.exit_code == 2
    assert "manifesto" in broken.stderr
