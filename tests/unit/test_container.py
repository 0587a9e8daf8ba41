"""The recipes of containers name files, lock and Python as the project has them; no image is built here."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from lcsd.totalsegmentator.weights import WEIGHTS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
PYTHON_OF = {"bookworm": "3.11", "trixie": "3.13"}
"""Python of Debian's releases."""

CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "lcsd.def").read_text(encoding="utf-8")


def stages() -> list[str]:
    return re.split(r"^FROM ", CONTAINER, flags=re.MULTILINE)[1:]


def copied() -> dict[str, set[str]]:
    """Return the files that each recipe takes from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", CONTAINER, re.MULTILINE)
    files = re.search(r"^%files\n(.*?)\n\n", APPTAINER, re.MULTILINE | re.DOTALL)
    assert files
    return {
        "Containerfile": {name for line in lines for name in line.split()[:-1]},
        "lcsd.def": {line.split()[0] for line in files[1].splitlines()},
    }


@pytest.mark.parametrize("recipe", ["Containerfile", "lcsd.def"])
def test_copied_files_are_what_the_installation_needs(recipe: str) -> None:
    found = copied()[recipe]
    assert [name for name in found if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    workflow = next(
        ast.literal_eval(node.value)
        for node in setup.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WORKFLOW"
    )
    tools = {"Makefile", "pyproject.toml", "setup.py", "MANIFEST.in", "constraints.txt", "requirements.lock"}
    assert found == {*workflow, project["readme"], *project["license-files"], *tools, "lcsd"}


@pytest.mark.parametrize("recipe", [CONTAINER, APPTAINER], ids=["Containerfile", "lcsd.def"])
def test_packages_come_by_their_hashes(recipe: str) -> None:
    assert re.search(r"make install-locked$", recipe, re.MULTILINE)
    made = re.search(
        r"^install-locked:.*?\n\n", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert made
    assert "--require-hashes --requirement requirements.lock" in made[0]


@pytest.mark.parametrize("recipe", [CONTAINER, APPTAINER], ids=["Containerfile", "lcsd.def"])
def test_python_is_the_one_of_the_lock(recipe: str) -> None:
    (release,) = set(re.findall(r"(?i:FROM:? )debian:(\w+)-slim", recipe))
    locked = re.search(r"--python-version (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert locked
    assert PYTHON_OF[release] == locked[1]
    python = re.search(r"apt-get install .* (python3) python3-venv make ca-certificates", recipe)
    assert python


def test_the_image_runs_as_a_user_and_writes_nowhere_of_its_own() -> None:
    last = stages()[-1]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["lcsd"]
    assert last.index("\nRUN ") < last.index("\nUSER ")  # nothing runs as root after
    assert re.findall(r"^WORKDIR (.+)$", last, re.MULTILINE) == ["/data"]
    assert "HOME=/tmp" in last
    assert f"{WEIGHTS_VARIABLE}=/weights" in last
    assert 'ENTRYPOINT ["lcsd"]' in last
    page = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    for words in ("--read-only --tmpfs /tmp", ":/weights:ro", '"$PWD:/data"', "TORCH_INDEX"):
        assert words in page


def test_the_fresh_machine_has_what_the_image_has() -> None:
    script = (ROOT / "tests" / "fresh.sh").read_text(encoding="utf-8")
    included = re.search(r"--include=(\S+)", script)
    packages = re.search(r"install --yes --no-install-recommends (python3 .*)$", stages()[0], re.MULTILINE)
    assert included
    assert packages
    assert set(included[1].split(",")) == {*packages[1].split(), "git"}
    assert not re.search(r"https?://", script)  # its registries are those of the machine
    assert subprocess.run(["bash", "-n", str(ROOT / "tests" / "fresh.sh")], check=False).returncode == 0


def test_the_build_argument_reaches_pip() -> None:
    first = stages()[0]
    assert re.search(r"^ARG TORCH_INDEX=$", first, re.MULTILINE)
    assert 'PIP_EXTRA_INDEX_URL="$TORCH_INDEX" make install-locked' in first
