"""What Snakemake's folder says; tests/workflow/test_status.py asks a real one."""

import base64
from pathlib import Path

import pytest

from lcsd.monitor import engine
from lcsd.monitor.engine import Engine, look


def mark(folder: Path, output: str, *, most: int = 255) -> None:
    """Write a mark of a file in the making as Snakemake does, with names of a limited length."""
    name = base64.urlsafe_b64encode(output.encode()).decode()
    parts = [name[at : at + most - 1] for at in range(0, len(name), most - 1)]
    path = folder.joinpath(".snakemake", "incomplete", *(f"@{p}" for p in parts[:-1]), parts[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def lock(folder: Path, *outputs: str) -> None:
    path = folder / ".snakemake" / "locks" / "0.output.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{output}\n" for output in outputs))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def test_without_snakemakes_folder_nothing_is_known(results: Path) -> None:
    assert look(results, results) == Engine("unknown")


def test_marks_are_read_as_paths_inside_the_results(results: Path, tmp_path: Path) -> None:
    names = ["results/cases/a/x.json", f"{results}/cases/b/y.npz", "other/cases/c/z.npz"]
    for name in names:
        mark(tmp_path, name)
    long = f"results/cases/a/{'n' * 300}"
    mark(tmp_path, long)
    mark(tmp_path, "results/cases/a/in_parts", most=8)
    (tmp_path / ".snakemake" / "incomplete" / "no base64!").write_text("")
    found = look(results, tmp_path)
    assert found.marked == {"cases/a/x.json", "cases/b/y.npz", long.removeprefix("results/"), "cases/a/in_parts"}
    assert (found.state, found.folder) == ("idle", tmp_path)


def test_marks_are_found_through_a_link(results: Path, tmp_path: Path) -> None:
    (results / "cases" / "a").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(results)
    mark(tmp_path, "linked/cases/a/x.json")
    assert look(tmp_path / "linked", tmp_path).marked == {"cases/a/x.json"}


def test_the_nearest_folder_above_is_taken(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / ".snakemake").mkdir()
    assert look(results).folder == tmp_path
    (elsewhere / ".snakemake").mkdir()
    assert look(results).folder == elsewhere
    # Wherever Snakemake works on this build, there it is.
    lock(tmp_path, "results/report/complete")
    assert look(results).folder == tmp_path


def test_a_lock_of_another_build_is_none_of_this_one(results: Path, tmp_path: Path) -> None:
    lock(tmp_path, "other/report/complete")
    assert look(results, tmp_path).state == "idle"
    lock(tmp_path, "other/report/complete", "results/report/complete")
    assert look(results, tmp_path).state == "locked"


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["snakemake", "--cores", "2"], "running"),
        (["python", "/env/bin/snakemake", "-n"], "running"),
        (["/env/bin/python3.11", "-u", "-m", "snakemake"], "running"),
        (["python", "-m", "pytest", "snakemake"], "locked"),
        (["python", "-i"], "locked"),
        (["bash", "-c", "snakemake"], "locked"),
        (["lcsd", "status", "snakemake"], "locked"),
    ],
)
def test_a_process_of_snakemake_in_the_folder_is_a_running_build(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], state: str
) -> None:
    lock(tmp_path, "results/report/complete")
    process = tmp_path / "proc" / "123"
    process.mkdir(parents=True)
    (tmp_path / "proc" / "self").mkdir()
    (tmp_path / "proc" / "124").mkdir()  # ended since
    (process / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    (process / "cwd").symlink_to(tmp_path)
    monkeypatch.setattr(engine, "PROCESSES", tmp_path / "proc")
    assert look(results, tmp_path).state == state
    (process / "cwd").unlink()
    (process / "cwd").symlink_to(results)
    assert look(results, tmp_path).state == "locked"
