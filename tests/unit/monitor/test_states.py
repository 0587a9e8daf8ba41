"""States of jobs from files alone: done, running, failed, rejected, held, waiting."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lcsd.build import rejections
from lcsd.build.plan import Build
from lcsd.errors import BadInputError
from lcsd.monitor import states
from lcsd.monitor.engine import Engine
from lcsd.monitor.states import list_files, snapshot
from tests.unit.made_up_cases import jobs_of, make_build, make_case


@pytest.fixture
def build(tmp_path: Path) -> Build:
    build = make_build(tmp_path)
    make_case(build, "b")
    return build


def found(build: Build, case: str, *marked: str, state: str = "running") -> dict[str, str]:
    """States of a case's jobs by name, while Snakemake makes some files."""
    now = snapshot(Path(build.results))
    engine = Engine(state, None, frozenset(marked))  # type: ignore[arg-type]
    now = replace(now, engine=engine)
    return {job.name: state for job, state in now.states(jobs_of(build, case)).items()}


def remove(build: Build, case: str, *names: str) -> None:
    """Remove the outputs and the logs of jobs."""
    for job in jobs_of(build, case):
        if job.name in names:
            for path in (*job.outputs, job.log):
                (Path(build.results) / path).unlink()


def test_a_finished_case_and_one_that_has_not_begun(build: Build) -> None:
    assert set(found(build, "b").values()) == {"done"}
    assert len(found(build, "b")) == 11
    assert set(found(build, "a").values()) == {"waiting"}
    assert "evaluate divroc" not in found(build, "a")


def test_a_job_is_done_only_with_all_of_its_files(build: Build) -> None:
    (Path(build.results) / "cases" / "b" / "registration" / "points.npz").unlink()
    # It has a log, so it has begun before.
    assert found(build, "b")["register"] == "failed"
    (Path(build.results) / "logs" / "register" / "b.log").unlink()
    assert found(build, "b")["register"] == "waiting"


def test_a_marked_job_runs_or_was_cut_off(build: Build) -> None:
    marked = "cases/b/registration/points.npz"
    for state, expected in (("running", "running"), ("locked", "running"), ("idle", "failed")):
        assert found(build, "b", marked, state=state)["register"] == expected
    assert found(build, "b", marked)["evaluate divroc"] == "done"


def set_aside(build: Build, case: str, stage: str, target: str) -> None:
    folder = Path(build.results) / "cases" / case
    error = BadInputError("the mask is empty", code="empty_mask")
    rejections.reject(folder / "rejected.json", stage=stage, target=folder / target, error=error)


def test_what_depends_on_a_stage_that_set_the_case_aside_is_held(build: Build) -> None:
    remove(build, "b", "vessels", "cloud", "keypoints", "gates", "register", "evaluate divroc")
    set_aside(build, "b", "vessels", "vessels/fixed.nii.gz")
    states = found(build, "b")
    assert states["vessels"] == "rejected"
    held = {"gates", "cloud", "keypoints", "register", "evaluate divroc"}
    assert {name for name, state in states.items() if state == "held"} == held
    assert states["evaluate corrfield"] == "done"


def test_an_evaluation_that_set_the_case_aside_is_told_by_its_file(build: Build) -> None:
    remove(build, "b", "evaluate corrfield", "evaluate divroc")
    set_aside(build, "b", "evaluate", "evaluation/divroc.json")
    states = found(build, "b")
    assert (states["evaluate corrfield"], states["evaluate divroc"]) == ("waiting", "rejected")


def test_a_rejection_that_cannot_be_read_is_named(build: Build) -> None:
    (Path(build.results) / "cases" / "b" / "rejected.json").write_text("{")
    now = snapshot(Path(build.results))
    assert "cannot be read" in now.rejections["b"].message


def test_a_job_that_ends_while_files_are_listed_has_not_failed(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = set(list_files(Path(build.results), states.FOLDERS))
    late = "cases/b/gates.json"
    monkeypatch.setattr(states, "list_files", lambda *_: listed - {late})
    assert found(build, "b")["gates"] == "done"
    (Path(build.results) / late).unlink()
    assert found(build, "b")["gates"] == "failed"


def test_a_job_that_begins_while_files_are_listed_has_not_failed(build: Build) -> None:
    """Snakemake starts the process, which makes its log, and marks the outputs then."""
    remove(build, "b", "gates")
    log = Path(build.results) / "logs" / "gates" / "b.log"
    log.touch()
    for state, expected in (("running", "running"), ("locked", "running"), ("idle", "failed")):
        assert found(build, "b", state=state)["gates"] == expected
    log.write_text("lcsd gates: error\n")
    assert found(build, "b")["gates"] == "failed"
    log.write_text("")
    late = log.stat().st_mtime - 2 * states.BEGINS_S
    os.utime(log, (late, late))
    assert found(build, "b")["gates"] == "failed"


def test_listing_survives_what_vanishes_and_what_cannot_be_read(build: Build) -> None:
    root = Path(build.results)
    whole = set(list_files(root, ("cases",)))
    assert whole == {str(p.relative_to(root)) for p in (root / "cases").rglob("*") if p.is_file()}
    assert list(list_files(root, ("none",))) == []
    (root / "cases" / "loop").symlink_to(root / "cases")
    assert set(list_files(root, ("cases",))) == {*whole, "cases/loop"}


def test_nothing_is_written_and_a_read_only_folder_will_do(build: Build) -> None:
    root = Path(build.results)

    def all_of_it() -> list[tuple[str, int]]:
        return sorted((str(p), p.stat().st_mtime_ns) for p in root.parent.rglob("*"))

    before = all_of_it()
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert set(found(build, "b").values()) == {"done"}
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert all_of_it() == before


def test_a_build_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as error:
        snapshot(tmp_path / "none")
    assert error.value.code == "missing_folder"
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInputError) as error:
        snapshot(tmp_path / "file")
    assert error.value.code == "not_a_folder"


def test_files_of_others_are_not_mistaken_for_rejections(build: Build) -> None:
    root = Path(build.results)
    (root / "cases" / "b" / "images" / "rejected.json").write_text("{}")
    assert snapshot(root).rejections == {}
