"""Commands: help is instant and has an example, errors are one line with the right exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.build.provenance import provenance_path
from lcsd.cli.common import set_threads
from lcsd.cli.main import COMMANDS, main
from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.io.files import read_json
from lcsd.io.points import Cloud, read_cloud, write_cloud


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    points = np.argwhere(np.ones((6, 7, 8))).astype(np.float32) * 1.5
    path = tmp_path / "dense.npz"
    write_cloud(path, Cloud(points, meta={"spacing_mm": [1.5, 1.5, 1.5]}))
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: lcsd {name}" in " ".join(result.output.split())


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from lcsd.cli.main import main;"
        "[CliRunner().invoke(main, [c, '--help']) for c in main.list_commands(None)];"
        "heavy = ('torch', 'SimpleITK', 'numba', 'pandas', 'matplotlib', 'duckdb', 'pyarrow');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_stages_without_torch_do_not_load_it() -> None:
    """Loading it takes over a second of each job."""
    modules = (
        *("scans.convert", "lungs.lungs", "prealign.prealign", "vessels.vessels", "vessels.gates", "clouds.cloud"),
        *("clouds.keypoints", "corrfield.correspond", "evaluation.evaluate", "fetch.local"),
    )
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(f'lcsd.{name}')\n"
        "    heavy = {'torch', 'sklearn', 'pandas', 'matplotlib', 'duckdb', 'pyarrow'} & {*sys.modules}\n"
        "    if heavy: print(name, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_good_run_writes_output_provenance_and_json(dense: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "sparse.npz"
    result = CliRunner().invoke(
        main, ["keypoints", str(dense), str(out), "--set", "min_points=5", "--json", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["points"] == len(read_cloud(out))
    record = read_json(provenance_path(out))
    assert record["stage"] == "keypoints"
    assert record["settings"]["min_points"] == 5
    assert record["settings"]["threads"] == 1
    assert len(record["inputs"]["dense"]["sha256"]) == 64
    assert record["wall_s"] >= 0
    assert record["cpu_s"] >= 0  # in ticks of 10 ms
    assert record["peak_memory_gib"] > 0.01


def test_result_holds_no_time_or_host(dense: Path, tmp_path: Path) -> None:
    outputs = []
    for name in ("a", "b"):
        out = tmp_path / name / "sparse.npz"
        CliRunner().invoke(main, ["keypoints", str(dense), str(out), "--set", "min_points=5"])
        outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["keypoints", "absent.npz", "out.npz"], "absent.npz: file not found"),
        (["keypoints", "DENSE", "out.npz", "--set", "k=x"], "keypoints.k"),
        (["keypoints", "DENSE", "out.npz", "--set", "colour=1"], "keypoints.colour: unknown key"),
        (["keypoints", "DENSE", "out.npz", "--set", "k=1000"], ">= 1000 points; found 336"),
        (["keypoints", "DENSE", "out.npz", "--config", "absent.yaml"], "absent.yaml: file not found"),
    ],
)
def test_bad_input_is_one_line_exit_2_nothing_written(
    arguments: list[str], expected: str, dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rejected = tmp_path / "case" / "rejected.json"
    call = [str(dense) if a == "DENSE" else a for a in arguments] + ["--rejected", str(rejected)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert expected in result.stderr
    assert not (tmp_path / "out.npz").exists()
    record = read_json(rejected)
    assert record["stage"] == "keypoints"
    assert record["message"] in result.stderr


def test_a_configuration_that_cannot_be_read_is_one_line(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is too long, and a file that this user may not open."""
    (tmp_path / "my.yaml").write_text("keypoints: {k: 5}\n")

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", closed)
    for name, code, said in (("a" * 300, 2, "missing_file"), ("my.yaml", 1, "system_error")):
        done = CliRunner().invoke(main, ["keypoints", str(dense), "s.npz", "--config", str(tmp_path / name)])
        assert (done.exit_code, done.stderr.count("\n")) == (code, 1), done.stderr
        assert said in done.stderr


def test_success_clears_only_its_own_rejection(dense: Path, tmp_path: Path) -> None:
    rejected, out = tmp_path / "rejected.json", tmp_path / "sparse.npz"
    call = ["keypoints", str(dense), str(out), "--rejected", str(rejected)]
    CliRunner().invoke(main, [*call, "--set", "k=1000"])
    assert rejected.exists()
    other = [*call[:2], str(tmp_path / "other.npz"), *call[3:]]
    CliRunner().invoke(main, [*other, "--set", "min_points=5"])
    assert rejected.exists()
    CliRunner().invoke(main, [*call, "--set", "min_points=5"])
    assert not rejected.exists()


def test_defect_is_exit_1_rejected_and_keeps_its_traceback(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("lcsd.clouds.keypoints.sparse_cloud", broken)
    rejected = tmp_path / "rejected.json"
    result = CliRunner().invoke(main, ["keypoints", str(dense), str(tmp_path / "o.npz"), "--rejected", str(rejected)])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert read_json(rejected)["code"] == "internal_error"


@pytest.mark.parametrize("code", ["bad_usage", "no_cuda", "weights_missing", "trainer_import"])
@pytest.mark.parametrize("kind", [BadInputError, WorkError])
def test_fault_of_the_installation_rejects_no_case(
    code: str, kind: type[LcsdError], dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise kind("not here", code=code)

    monkeypatch.setattr("lcsd.clouds.keypoints.sparse_cloud", faulty)
    rejected = tmp_path / "rejected.json"
    result = CliRunner().invoke(main, ["keypoints", str(dense), str(tmp_path / "o.npz"), "--rejected", str(rejected)])
    assert result.exit_code == kind.exit_code
    assert f"[{code}]" in result.stderr
    assert not rejected.exists()


def test_out_of_memory_is_named(dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("lcsd.clouds.keypoints.sparse_cloud", hungry)
    result = CliRunner().invoke(main, ["keypoints", str(dense), str(tmp_path / "o.npz")])
    assert result.exit_code == 1
    assert "out of memory" in result.stderr
    assert "Traceback" not in result.stderr


def test_rejections_read_the_same_from_anywhere_and_broken_ones_are_cleared(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected, out = tmp_path / "case" / "rejected.json", tmp_path / "case" / "sparse.npz"
    call = ["keypoints", str(dense), str(out), "--rejected", str(rejected)]
    CliRunner().invoke(main, [*call, "--set", "k=1000"])
    assert read_json(rejected)["target"] == "sparse.npz"
    monkeypatch.chdir(tmp_path / "case")
    good = ["keypoints", str(dense), "sparse.npz", "--rejected", "rejected.json"]
    CliRunner().invoke(main, [*good, "--set", "min_points=5"])
    assert not rejected.exists()
    rejected.write_text("")
    assert CliRunner().invoke(main, [*good, "--set", "min_points=5"]).exit_code == 0
    assert not rejected.exists()


def test_a_rejection_that_cannot_be_written_does_not_hide_the_error(dense: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(
        main,
        ["keypoints", "absent.npz", str(tmp_path / "o.npz"), "--rejected", str(tmp_path / "file" / "rejected.json")],
    )
    assert result.exit_code == 2
    assert "absent.npz: file not found" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_threads_are_limited_after_numba_has_started() -> None:
    @numba.njit(parallel=True)
    def double(values):  # type: ignore[no-untyped-def]
        return values * 2

    double(np.ones(2))  # starts numba's threads, after which it refuses a changed variable
    set_threads(1)
    assert numba.get_num_threads() == 1
    assert double(np.ones((2, 2))).sum() == 8  # a new signature is compiled


def test_a_message_is_one_printable_line() -> None:
    error = BadInputError("a\x1b[2Jb\r\nc\u202ed\u2028e", code="x", found="\x07", file="Lungenärzte 肺")
    assert error.message == "Lungenärzte 肺: a [2Jb c d e; found [x]"


@pytest.mark.parametrize(("typed", "said"), [("regster", "did you mean register?"), ("xyzzy", "No such command")])
def test_an_unknown_command_is_answered(typed: str, said: str) -> None:
    done = CliRunner().invoke(main, [typed])
    assert done.exit_code == 2
    assert said in done.stderr
