"""``lcsd status``: figures, table, lines of a watch, errors."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner, Result

from lcsd.build import rejections
from lcsd.build.plan import Build
from lcsd.cli import status as cli
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.monitor.engine import Engine
from lcsd.monitor.status import hours, line, status
from tests.unit.build.test_candidates import ROW as CANDIDATE
from tests.unit.build.test_candidates import write as write_candidates
from tests.unit.made_up_cases import make_build, make_case
from tests.unit.monitor.test_engine import lock, mark


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Three cases: ``b`` is finished, ``a`` is rejected by its lungs, ``c`` has not begun."""
    build = make_build(tmp_path, cases=("a", "b", "c"))
    make_case(build, "b")
    took(tmp_path / "results" / "cases" / "b" / "scans" / "fixed.provenance.json", 2.5)
    folder = tmp_path / "results" / "cases" / "a"
    error = BadInputError("the mask is empty", code="empty_mask", remedy="look at the scan")
    rejections.reject(folder / "rejected.json", stage="lungs", target=folder / "lungs" / "x", error=error)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"manifest": build.manifest, "results": build.results}))
    return build


def took(path: Path, seconds: float) -> None:
    """Say in a provenance that its command took that long; what tests make takes no time."""
    text = path.read_text()
    path.write_text(text[: text.rindex('"wall_s"')] + f'"wall_s": {seconds}\n}}\n')


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["status", *map(str, arguments)])


def counts(build: Build, stage: str) -> dict[str, int]:
    found = status(Path(build.results), build)
    (row,) = [row for row in found.stages if row.stage == stage]
    return {state: count for state, count in row.counts.items() if count}


def test_failed_and_flagged_cases_are_told_apart(build: Build) -> None:
    path = Path(build.results) / "cases" / "b" / "gates.json"
    gate = {"name": "ratio", "of": "pair", "value": 0.5, "passed": True, "flagged": True}
    for change, discarded, borderline in (({}, 0, 1), ({"passed": False, "flagged": False}, 1, 0)):
        path.write_text(json.dumps({"gates": [gate | change]}))
        found = status(Path(build.results), build)
        assert (found.discarded, found.borderline) == (discarded, borderline)
        assert "b (ratio)" in (found.gates or "")
        assert f"1 {'borderline' if borderline else 'discarded'}" in line(found)
        assert "b (ratio)" in run(build.results).output


def test_jobs_are_counted_by_stage_and_state(build: Build) -> None:
    assert counts(build, "convert") == {"done": 1, "waiting": 2}
    assert counts(build, "lungs") == {"done": 1, "waiting": 1, "rejected": 1}
    assert counts(build, "prealign") == {"done": 1, "waiting": 1, "held": 1}
    assert counts(build, "evaluate") == {"done": 2}
    assert counts(build, "report") == {"waiting": 1}
    found = status(Path(build.results), build)
    assert (found.cases, found.finished, found.rejected) == (3, 1, 1)
    assert len(found.stages) == len({job.stage for job in build.jobs()})


def test_slowest_cases_medians_and_failures_are_named(build: Build, tmp_path: Path) -> None:
    took(tmp_path / "results" / "cases" / "b" / "vessels" / "fixed.provenance.json", 12.5)
    log = tmp_path / "results" / "logs" / "convert" / "c.log"
    log.write_text("a\rtorch went away\n\n")
    found = status(Path(build.results), build)
    vessels = next(row for row in found.stages if row.stage == "vessels")
    assert [case for case, _ in vessels.slowest] == ["b"]
    assert vessels.slowest[0][1] == pytest.approx(12.5, abs=0.5)
    assert vessels.median_s == vessels.slowest[0][1]
    assert {(f.case, f.stage) for f in found.failures} == {("a", "lungs"), ("c", "convert")}
    messages = {failure.case: failure.message for failure in found.failures}
    assert messages["c"] == "torch went away"
    assert "empty_mask" in messages["a"]


def test_a_cut_off_job_says_so(build: Build, tmp_path: Path) -> None:
    mark(tmp_path, "results/cases/b/registration/points.npz")
    found = status(Path(build.results), build, directory=tmp_path)
    assert next(f for f in found.failures if f.case == "b").message.startswith("interrupted with the")
    assert found.state == "idle"
    # It is left to be done, as that of the case that has not begun.
    assert found.left.unknown["register"] == 2


def test_the_table_says_what_is_known(build: Build, tmp_path: Path) -> None:
    result = run("--config", tmp_path / "config.yaml", "--directory", tmp_path)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("build     unknown: ")
    row = next(text.split() for text in lines if text.startswith("lungs"))
    assert row[:7] == ["lungs", "1", "-", "-", "1", "-", "1"]
    cases = next(text for text in lines if text.startswith("cases"))
    assert "1 of 3 cases finished, 1 rejected, 0 jobs running" in cases
    assert any(text.startswith("pace ") for text in lines)
    assert any(text.startswith("error     a lungs: ") for text in lines)
    lock(tmp_path, "results/report/complete")
    assert "--unlock" in run("--config", tmp_path / "config.yaml", "--directory", tmp_path).stdout


def test_json_holds_everything_on_one_line(build: Build, tmp_path: Path) -> None:
    result = run("--manifest", build.manifest, build.results, "--json")
    (text,) = result.stdout.splitlines()
    content = json.loads(text)
    assert content["stages"][0]["counts"]["done"] == 1
    assert content["left"]["eta_s"] > 0
    assert content["finished"] == 1


def test_without_a_configuration_the_cases_that_are_there_count(build: Build, tmp_path: Path) -> None:
    result = run(build.results, "--json")
    content = json.loads(result.stdout)
    assert (content["cases"], content["finished"]) == (2, 1)
    assert next(row for row in content["stages"] if row["stage"] == "evaluate")["counts"]["done"] == 2
    manifest = tmp_path / "results" / "cohort" / "pairs.tsv"
    manifest.parent.mkdir()
    os.link(build.manifest, manifest)
    assert json.loads(run(build.results, "--json").stdout)["cases"] == 3


def test_a_selection_before_its_end(tmp_path: Path) -> None:
    table = write_candidates(tmp_path / "candidates.tsv", CANDIDATE)
    results = tmp_path / "results"
    build = Build.from_config({"candidates": str(table), "results": str(results)})
    screening = results / "cohort" / "screening" / f"{CANDIDATE['case']}.json"
    screening.parent.mkdir(parents=True)
    found = status(results, build)
    assert line(found).startswith("cases not selected yet")
    assert [(row.stage, row.counts["waiting"]) for row in found.stages] == [("screen", 1), ("select", 1)]
    screening.write_text("{}")
    assert status(results, build).stages[0].counts["done"] == 1
    error = BadInputError("a slice is missing", code="missing_slices")
    aside = results / "cases" / CANDIDATE["case"] / "rejected.json"
    rejections.reject(aside, stage="screen", target=screening, error=error)
    found = status(results, build)
    assert found.stages[0].counts["rejected"] == 1
    # The selection goes on without the candidate.
    assert found.stages[1].counts["waiting"] == 1


def test_a_watch_prints_a_line_each_time_and_ends_with_the_build(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            make_case(build, "c")
        (tmp_path / "results" / "report").mkdir(exist_ok=True)
        (tmp_path / "results" / "report" / "complete").touch()
        folder = tmp_path / "results" / "cases" / "a"
        for stage in ("scans",):
            (folder / stage).mkdir(exist_ok=True)
            for scan in ("fixed", "moving"):
                (folder / stage / f"{scan}.nii.gz").touch()

    monkeypatch.setattr(cli.time, "sleep", wait)
    result = run("--config", tmp_path / "config.yaml", "--watch", "--interval", "7")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert "1 of 3 cases finished" in first
    assert "2 of 3 cases finished" in second
    assert waits == [7.0]


def test_a_watch_ends_with_a_build_that_failed(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cases go on waiting; before the build has begun, the watch waits for it."""
    states = iter(["idle", "running", "idle", "running"])
    monkeypatch.setattr(cli.time, "sleep", lambda _: None)
    monkeypatch.setattr("lcsd.monitor.states.look", lambda *_: Engine(next(states), tmp_path, frozenset()))
    result = run("--config", tmp_path / "config.yaml", "--watch")
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("states", "looks"),
    [
        (["locked", "locked", "idle", "idle"], 3),  # it ran on another machine
        (["running", "locked", "locked"], 2),  # it was killed
        (["idle"] * 99, 3),  # nobody begins it: waited for as long as planning may take
    ],
)
def test_a_watch_ends_with_a_build_however_it_ends(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str], looks: int
) -> None:
    seconds = itertools.count(0.0, 50.0)
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(seconds))
    monkeypatch.setattr(cli, "time", clock)
    left = iter(states)
    monkeypatch.setattr("lcsd.monitor.states.look", lambda *_: Engine(next(left), tmp_path, frozenset()))
    result = run("--config", tmp_path / "config.yaml", "--watch")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == looks


def test_a_build_is_watched_before_its_first_job(build: Build, tmp_path: Path) -> None:
    shutil.rmtree(build.results)
    found = json.loads(run("--config", tmp_path / "config.yaml", "--json").stdout)
    assert (found["cases"], found["finished"]) == (3, 0)


def test_ctrl_c_ends_a_watch_well(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.time, "sleep", interrupted)
    assert run(build.results, "--config", tmp_path / "config.yaml", "--watch").exit_code == 0


def test_bad_calls_are_one_line(build: Build, tmp_path: Path) -> None:
    for arguments, code in (
        ((), "missing_option"),
        ((tmp_path / "none",), "missing_folder"),
        (("--config", tmp_path / "none.yaml"), "missing_file"),
        ((build.results, "--manifest", tmp_path / "none.tsv"), "missing_file"),
        ((build.results, "--directory", tmp_path / "none"), "missing_folder"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert f"[{code}]" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_durations_have_the_unit_that_fits() -> None:
    assert [hours(seconds) for seconds in (0, 119, 120, 7199, 7200, 36000)] == [
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "2.0 h",
        "10.0 h",
    ]


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys, lcsd.cli.status, lcsd.cli.case, lcsd.build.plan, lcsd.monitor, lcsd.monitor;"
        "heavy = ('torch', 'numpy', 'SimpleITK', 'duckdb', 'pandas', 'snakemake');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
