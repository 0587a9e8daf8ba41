"""A broken file gets one answer from every reader: its case does not count, the others do, and the file is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lcsd.build.jobs import CaseFiles
from lcsd.build.plan import Build
from lcsd.build.provenance import Recorder, provenance_path
from lcsd.estimate.measures import read_measures
from lcsd.evaluation.runs import common_cases, read_rows
from lcsd.io.files import write_json
from lcsd.monitor.status import status
from lcsd.release.choice import choose
from lcsd.report.report import write_report
from lcsd.selection.select_test import judge_pool
from lcsd.settings.report import ReportSettings
from lcsd.settings.select import SelectSettings
from tests.unit.report.conftest import gate, write_gates, write_manifest

Answer = tuple[int, str]
"""How many cases count, and what is said of the others."""


def write_whole(files: CaseFiles) -> None:
    """Add what the readers ask for to a case of the report's tests."""
    write_gates(files.folder, gate("share", 0.5))
    figures = {"keypoints": 100, "kept": 90, "inconsistency_median_mm": 0.5}
    write_json(files.correspondence_figures, {"stage_1": figures})
    outputs = {
        "gates": files.gates,
        "keypoints": files.cloud("fixed", "keypoints"),
        "correspond": files.correspondences,
        "register": files.registration_figures,
    }
    for stage, output in outputs.items():
        Recorder(stage, {}).write(output, inputs={})


def ask_report(results: Path, manifest: Path) -> Answer:
    summary = write_report(results, manifest=manifest, views=0, settings=ReportSettings(pages=0))
    return summary.done, "\n".join(summary.problems)


def ask_compare(results: Path, manifest: Path) -> Answer:
    common, dropped = common_cases(read_rows({"r": results}))
    return len(common), "\n".join(dropped.values())


def ask_release(results: Path, manifest: Path) -> Answer:
    choice = choose(results, manifest)
    return len(choice.chosen), "\n".join(problem.line() for problem in choice.problems)


def ask_select(results: Path, manifest: Path) -> Answer:
    pool = write_manifest(results.parent / "pool.tsv", dict.fromkeys("ab", "test_pool"))
    found = judge_pool(results, pool, SelectSettings(min_correspondences=10, test_count=2))
    return found.count("selected"), "\n".join(problem.line() for problem in found.problems)


def ask_estimate(results: Path, manifest: Path) -> Answer:
    problems: list[str] = []
    measures = read_measures(results, warn=lambda problem: problems.append(problem.line()))
    return len(measures.cases), "\n".join(problems)


def ask_status(results: Path, manifest: Path) -> Answer:
    found = status(results, Build.from_config({"manifest": str(manifest), "results": str(results)}))
    return found.finished, "\n".join(problem.line() for problem in found.broken)


READERS = (ask_report, ask_compare, ask_release, ask_select, ask_estimate, ask_status)

VERDICT = '{"gates": [{"name": "x", "of": "pair", "value": NUMBER, "passed": PASSED, "flagged": false}]}'

BROKEN = {
    "rejection is no JSON": ("rejected.json", "{"),
    "rejection is no object": ("rejected.json", "[]"),
    "rejection is empty": ("rejected.json", ""),
    "gates are no JSON": ("gates.json", "{"),
    "gates are no list": ("gates.json", '{"gates": {}}'),
    "gate is no number": ("gates.json", VERDICT.replace("NUMBER", '"many"').replace("PASSED", "true")),
    "gate has no verdict": ("gates.json", VERDICT.replace("NUMBER", "1.5").replace("PASSED", "1")),
    "registration is no JSON": ("registration/registration.json", "{"),
    "verdict on the registration is none": ("registration/registration.json", '{"gates": [{"name": "a"}]}'),
    "provenance is no JSON": ("scans/fixed.provenance.json", "{"),
    "provenance is empty": ("registration/registration.provenance.json", ""),
}


@pytest.fixture
def build(make_case: Callable[..., Path], results: Path) -> tuple[Path, Path]:
    """Two finished cases and their manifest."""
    for name in "ab":
        write_whole(CaseFiles(make_case(name)))
    return results, write_manifest(results.parent / "pairs.tsv", dict.fromkeys("ab", "test"))


@pytest.mark.parametrize("ask", READERS, ids=lambda ask: ask.__name__)
def test_whole_cases_count(ask: Callable[[Path, Path], Answer], build: tuple[Path, Path]) -> None:
    assert ask(*build) == (2, "")


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("ask", READERS, ids=lambda ask: ask.__name__)
def test_a_case_with_a_broken_file_does_not_count(
    ask: Callable[[Path, Path], Answer], kind: str, build: tuple[Path, Path]
) -> None:
    name, content = BROKEN[kind]
    (build[0] / "cases" / "b" / name).write_text(content)
    count, said = ask(*build)
    assert count == 1
    assert f"cases/b/{name}" in said


@pytest.mark.parametrize("ask", [ask for ask in READERS if ask is not ask_status], ids=lambda ask: ask.__name__)
def test_provenance_with_other_bytes_is_broken(ask: Callable[[Path, Path], Answer], build: tuple[Path, Path]) -> None:
    """``lcsd status`` reads the times alone; ``lcsd verify`` finds it, too."""
    path = provenance_path(CaseFiles(build[0] / "cases" / "b").field("divroc"))
    path.write_text(path.read_text().replace("2.5", "3.5"))
    count, said = ask(*build)
    assert count == 1
    assert str(path.relative_to(build[0])) in said
