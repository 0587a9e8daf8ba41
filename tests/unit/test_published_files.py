"""Files for citing, publishing and reporting: valid, of this version, and true about the checkout."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.config import Config
from tests.cite import LINES, facts, written

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
DATA = ("CITATION.cff", "codemeta.json", ".zenodo.json")
NAMED = re.compile(r"\b(?:\.?[\w-]+/)*[\w.-]+\.(?:md|yaml|json)\b")
OF_A_BUILD = {"rejected.json", "gates.json", "my.yaml"}
"""Files that texts name and that are not in the checkout."""


def content(name: str) -> dict[str, Any]:
    text = (ROOT / name).read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    return read


@pytest.mark.parametrize("name", DATA)
def test_version_name_and_words_are_those_of_the_package(name: str) -> None:
    found = content(name)
    assert found["version"] == PROJECT["version"]
    assert PROJECT["name"] in (found.get("title"), found.get("name"))
    assert PROJECT["description"] in (found.get("abstract", "").rstrip("."), found.get("description"))
    assert found["license"].rsplit("/")[-1] == PROJECT["license"]
    assert found["keywords"] == PROJECT["keywords"]


def test_date_is_that_of_the_changes() -> None:
    for name, lines in LINES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert written(text, lines, facts()) == text, f"{name}: run make cite"
    assert str(content("CITATION.cff")["date-released"]) == content("codemeta.json")["datePublished"]
    assert content(".zenodo.json")["publication_date"] == facts()["date"]


def test_changes_of_this_version_are_dated_below_those_that_are_not_released() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", f"{PROJECT['version']} ({facts()['date']})"]


def test_a_version_without_a_date_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n\n## 0.2.0 (2026-11-30)\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=re.escape("## 0.3.0 (YYYY-MM-DD)")):
        facts(tmp_path)


def test_the_citation_has_what_its_format_asks_for() -> None:
    found = content("CITATION.cff")
    assert found["cff-version"] == "1.2.0"
    assert {"message", "authors"} <= set(found)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for work in found["references"]:
        assert {"type", "title", "authors"} <= set(work)
        assert f"*{work['title']}.*" in readme
        for author in work["authors"]:
            assert author["family-names"] in readme
        assert str(work["year"]) in readme


def test_codemeta_and_zenodo_say_what_they_must() -> None:
    codemeta, zenodo = content("codemeta.json"), content(".zenodo.json")
    assert codemeta["@type"] == "SoftwareSourceCode"
    assert codemeta["runtimePlatform"] == f"Python {PROJECT['requires-python']}"
    assert all((ROOT / codemeta[key]).is_file() for key in ("readme", "softwareHelp"))
    assert {author["name"] for author in codemeta["author"]} == {creator["name"] for creator in zenodo["creators"]}
    assert zenodo["upload_type"] == "software"


def texts(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from texts(inner)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: str(path.name))
def test_forms_ask_for_the_doctor_and_are_forms(path: Path) -> None:
    form = content(str(path.relative_to(ROOT)))
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["type"] in ("textarea", "input", "dropdown") and part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields)
    (doctor,) = [part for part in fields if "lcsd doctor --json" in part["attributes"]["label"]]
    assert doctor["validations"]["required"] is True
    assert "patients" in " ".join(texts(form))


def test_there_are_forms_and_the_doctor_prints_json() -> None:
    assert len(FORMS) == 2
    assert "--json" in CliRunner().invoke(main, ["doctor", "--help"]).output


@pytest.mark.parametrize("name", ["SECURITY.md", "config/README.md", ".snakemake-workflow-catalog.yml", *DATA])
def test_files_that_are_named_exist(name: str) -> None:
    for named in {*NAMED.findall((ROOT / name).read_text(encoding="utf-8"))} - OF_A_BUILD:
        assert (ROOT / named).is_file(), named


def test_the_catalogue_names_a_profile_and_the_example_is_a_configuration() -> None:
    usage = content(".snakemake-workflow-catalog.yml")["usage"]
    option, profile = usage["mandatory-flags"]["flags"].split()
    assert option == "--profile"
    assert (ROOT / profile / "config.yaml").is_file()
    assert set(usage["software-stack-deployment"]) <= {"conda", "singularity", "singularity+conda", "report"}
    assert (ROOT / "Snakefile").is_file()
    example = (ROOT / "config" / "README.md").read_text(encoding="utf-8").split("```")[1]
    assert Config.model_validate(yaml.safe_load(example)).workflow.registration_cloud == "keypoints"
