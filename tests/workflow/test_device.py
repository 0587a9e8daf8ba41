"""Which jobs of a build on a GPU take one and are told to use it; none on the CPU."""

import re
import subprocess
import sys

import pytest

from tests.workflow.conftest import PROFILE, ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

KNOW_A_GPU = {"correspond", "register"}


def told(*arguments: str) -> set[str]:
    """Return the commands that a dry run would tell to use the GPU."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "snakemake",
            "--dry-run",
            "--printshellcmds",
            "--profile",
            str(PROFILE),
            "--configfile",
            "tests/workflow/lint.yaml",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    commands = re.findall(r"lcsd (\w+) .*", done.stdout + done.stderr)
    assert set(commands) >= {"convert", "lungs", "vessels", "correspond", "register", "evaluate"}
    return set(re.findall(r"lcsd (\w+) (?:(?!lcsd ).)*--device cuda", done.stdout + done.stderr))


def test_the_cpu_is_not_named() -> None:
    assert told() == set()


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ((), set()),
        (("vessels={backend: totalsegmentator}",), {"vessels"}),
        (("lungs={method: totalsegmentator}",), {"lungs"}),
    ],
)
def test_commands_that_know_a_gpu_are_told(settings: tuple[str, ...], more: set[str]) -> None:
    assert told("--config", "workflow={device: cuda}", *settings) == KNOW_A_GPU | more


def test_a_job_that_is_told_takes_a_gpu() -> None:
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    rules = re.split(r"^ *(?:rule|checkpoint) ", text, flags=re.MULTILINE)
    found = set()
    for rule in rules:
        told_by = re.findall(r'BUILD\.device\("(\w+)"\)', rule)
        assert re.findall(r'\bgpu=int\(BUILD\.on_gpu\("(\w+)"\)\)', rule) == told_by
        found |= set(told_by)
    assert found == KNOW_A_GPU | {"vessels", "lungs", "screen"}
