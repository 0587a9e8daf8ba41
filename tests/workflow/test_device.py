"""Which jobs of a build on a GPU take one and are told to use it; none on the CPU."""

import re

import pytest

from tests import planner
from tests.workflow.conftest import PROFILE, ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

KNOW_A_GPU = {"correspond", "register"}


def told(*arguments: str) -> set[str]:
    """Return the commands that a dry run would tell to use the GPU."""
    words = ["--dry-run", "--printshellcmds", "--directory", str(ROOT), "--snakefile", str(ROOT / "Snakefile")]
    words += ["--profile", str(PROFILE), "--configfile", str(ROOT / "tests/workflow/lint.yaml"), *arguments]
    code, printed = planner.snakemake(*words)
    assert code == 0, printed
    commands = re.findall(r"lcsd (\w+) .*", printed)
    assert set(commands) >= {"convert", "lungs", "vessels", "correspond", "register", "evaluate"}
    return set(re.findall(r"lcsd (\w+) (?:(?!lcsd ).)*--device cuda", printed))


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
