"""``lcsd run``: what it calls, what it refuses, and the workflow that it finds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from lcsd.build.pipeline import profile_folder, root
from lcsd.build.plan import Build
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from tests.unit.made_up_cases import make_build

ROOT = Path(__file__).resolve().parents[3]
WORKFLOW = ("Snakefile", "rules", "workflow")


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    build = make_build(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return build


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def test_a_manifest_and_results_are_enough(build: Build, called: list[list[str]]) -> None:
    result = run("--manifest", "pairs.tsv", "--results", "my results", "--cores", 3, "--dry-run", "--", "--quiet")
    assert result.exit_code == 0, result.output
    assert called == [
        [
            *(sys.executable, "-m", "snakemake", "--quiet"),
            *("--snakefile", str(ROOT / "Snakefile")),
            *("--profile", str(ROOT / "workflow" / "profiles" / "workstation")),
            *("--cores", "3"),
            *("--config", 'manifest="pairs.tsv"', 'results="my results"'),
            "--dry-run",
        ]
    ]
    assert "--dry-run" in result.stderr


def test_a_configuration_that_says_it_all_is_passed_on_alone(
    build: Build, called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my.yaml").write_text(yaml.safe_dump({"manifest": "pairs.tsv", "results": "other"}))
    run("--config", "my.yaml", "--profile", "slurm", "--unlock")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "mine")
    run("--config", "my.yaml")
    unlocked, environment = called
    assert unlocked[5:] == ["--profile", str(profile_folder("slurm")), "--configfile", "my.yaml", "--unlock"]
    assert environment[5:] == ["--configfile", "my.yaml"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), "bad_value", "lcsd init DIR"),
        (("--manifest", "none.tsv"), "missing_file", "none.tsv"),
        (("--config", "none.yaml"), "missing_file", "none.yaml"),
        (("--config", "code.yaml"), "unknown_key", "__use_yte__"),
        (("--manifest", "pairs.tsv", "--profile", "kubernetes"), "missing_folder", "workstation, slurm, or a folder"),
    ],
)
def test_bad_calls_are_one_line_and_start_nothing(
    build: Build, called: list[list[str]], arguments: tuple[str, ...], code: str, said: str
) -> None:
    Path("code.yaml").write_text("__use_yte__: true\nmanifest: pairs.tsv\n")
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert called == []


def test_a_build_goes_on_only_in_its_own_folder(
    build: Build, called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere Snakemake finds neither its lock nor the parameters of finished jobs."""
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / "results" / "build").mkdir()
    call = ("--manifest", build.manifest, "--results", build.results)
    assert run(*call).exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    refused = run(*call)
    assert refused.exit_code == 2
    assert "[other_folder]" in refused.stderr
    assert str(tmp_path) in refused.stderr
    assert run("--manifest", build.manifest, "--results", tmp_path / "new").exit_code == 0
    assert len(called) == 2


def test_an_installed_package_has_its_own_workflow_or_says_so(tmp_path: Path) -> None:
    package = tmp_path / "lcsd"
    (package / "pipeline").mkdir(parents=True)
    with pytest.raises(BadInputError, match="no_workflow"):
        root(package)
    (tmp_path / "Snakefile").write_text("")
    assert root(package) == tmp_path
    (package / "pipeline" / "Snakefile").write_text("")
    assert root(package) == package / "pipeline"
    assert root() == ROOT


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_workflow(tmp_path: Path) -> None:
    """The source is a copy, since setuptools writes beside it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    kept = [name for name in listed.stdout.split("\0") if name.split("/")[0] in {*WORKFLOW, "lcsd"}]
    for name in [*kept, "setup.py", "pyproject.toml", "README.md", "LICENSE"]:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes((ROOT / name).read_bytes())
    call = [sys.executable, "-c", "from setuptools import build_meta as b; b.build_wheel('.')"]
    subprocess.run(call, cwd=tmp_path / "source", capture_output=True, text=True, check=True)
    (wheel,) = (tmp_path / "source").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("lcsd/pipeline/")}
        workflow = {f"lcsd/pipeline/{name}" for name in kept if not name.startswith("lcsd/")}
        assert names == workflow
        assert archive.read("lcsd/pipeline/Snakefile") == (ROOT / "Snakefile").read_bytes()
