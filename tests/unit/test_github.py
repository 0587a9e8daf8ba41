"""The files for GitHub call what the project has, and forms ask for what helps."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"


class Loader(yaml.SafeLoader):
    """Reads ``on`` as a word, as GitHub does, and not as a boolean."""


Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in values if tag != "tag:yaml.org,2002:bool"]
    for key, values in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a safe loader
    assert isinstance(content, dict), path
    return content


def test_the_workflow_runs_the_checks_of_the_project() -> None:
    (path,) = (GITHUB / "workflows").glob("*.yml")
    workflow = read(path)
    assert {"push", "pull_request"} <= set(workflow["on"])
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert ".ci/run" in runs
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words in (run.split() for run in runs):
        assert words[0] == "make" or os.access(ROOT / words[0], os.X_OK)
        assert words[0] != "make" or words[1] in targets
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = re.search(r"version_info\[:2\] not in \{(.+?)\}", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert pinned
    versions = [f"{major}.{minor}" for major, minor in re.findall(r"\((\d+), (\d+)\)", pinned[1])]
    assert job["strategy"]["matrix"]["python"] == versions
    assert all(version in SpecifierSet(project["requires-python"]) for version in versions)
    assert [line for line in project["classifiers"] if "Python :: 3." in line] == [
        f"Programming Language :: Python :: {version}" for version in versions
    ]


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_forms_ask_for_the_machine(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    asked = {part["id"]: part for part in form["body"] if part["type"] != "markdown"}
    assert "lcsd doctor --json" in asked["doctor"]["attributes"]["label"]
    assert asked["doctor"]["validations"]["required"] == "true"
    assert all(part["type"] in {"textarea", "input", "dropdown", "checkboxes"} for part in asked.values())
