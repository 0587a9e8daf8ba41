"""The project's files agree with each other."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.lint_workflow import NOT_WANTED, wishes

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
FORBIDDEN_TEXT = re.compile(r"index-url|https?://[^\s)\"]*(pypi|npmjs|debian)\.|/(?:work|root|home)/|\.\./shared")


def project() -> dict[str, list[str]]:
    content: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return content


def test_conda_environment_equals_pyproject() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    conda = [entry for entry in listed if isinstance(entry, str)]
    found = {}
    for entry in [*conda, *pip]:
        name, _, bound = entry.partition(">=")
        found[CONDA_NAMES.get(name, name)] = bound
    assert found.pop("python") == project()["requires-python"].removeprefix(">=")  # type: ignore[attr-defined]
    found.pop("pip")
    wanted = [Requirement(text) for text in project()["dependencies"]]
    assert found == {r.name: str(r.specifier).removeprefix(">=") for r in wanted}


def test_rules_promise_no_deployment() -> None:
    """No channel of conda has lcsd and no registry an image: commands come from Snakemake's own environment."""
    directive = re.compile(r"^\s*(conda|container|containerized|singularity|envmodules):", re.MULTILINE)
    for path in (ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")):
        assert not directive.search(path.read_text(encoding="utf-8")), path


def test_the_linter_of_rules_keeps_every_other_wish() -> None:
    about = "Lints for rule a (line 1, a.smk):\n    * {}:\n      Words.\n      Also see:\n      https://x\n"
    text = about.format(NOT_WANTED) + "\n" + about.format(f"{NOT_WANTED}:\n      More.\n    * No log directive")
    (left,) = wishes(text)
    assert "rule a" in left
    assert "No log directive" in left


def test_every_dependency_is_pinned() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    extras = project()["optional-dependencies"]["dev"]  # type: ignore[call-overload]
    missing = [
        text
        for text in [*project()["dependencies"], *extras]
        if Requirement(text).name.lower().replace("_", "-") not in pinned
    ]
    assert missing == []


def test_every_stage_has_command_settings_and_test() -> None:
    for stage in (
        "screen",
        "select",
        "convert",
        "lungs",
        "prealign",
        "vessels",
        "gates",
        "cloud",
        "keypoints",
        "correspond",
        "register",
        "evaluate",
        "release",
    ):
        assert (ROOT / "lcsd" / "cli" / f"{stage}.py").is_file(), stage
        assert (ROOT / "lcsd" / "settings" / f"{stage}.py").is_file(), stage
        rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
        assert f"rule {stage}:" in rules or f"checkpoint {stage}:" in rules
        assert re.search(rf"""["']lcsd {stage} """, rules)
        assert [p for p in sources("tests") if f'"{stage}"' in p.read_text(encoding="utf-8")], stage


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", sources("lcsd"), ids=lambda p: str(p.relative_to(ROOT)))
def test_library_does_not_import_snakemake_and_files_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "snakemake" not in imported


def test_no_machine_path_or_registry_address() -> None:
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "Makefile"]
    for path in [*texts, *sources("lcsd"), *sorted((ROOT / "docs").rglob("*.md"))]:
        assert not FORBIDDEN_TEXT.search(path.read_text(encoding="utf-8")), path


@pytest.mark.xdist_group("kept")
def test_workers_keep_the_tests_of_a_group_together(request: pytest.FixtureRequest) -> None:
    """Builds that share folders, daemons or costly fixtures rely on it."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run by workers that keep groups (--dist loadgroup)")
    assert request.node.nodeid.endswith("@kept")


def test_public_names_complete() -> None:
    """Tab completion offers what the package exports."""
    import lcsd

    assert dir(lcsd) == sorted(lcsd.__all__)
