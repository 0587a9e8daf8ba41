"""The table of jobs is what the rules are, and each setting is a parameter of the right rules."""

import contextlib
import gc
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from lcsd.build.jobs import CASE_STAGES, METHODS, case_jobs, following, last
from lcsd.build.plan import Build
from lcsd.config import Config
from lcsd.settings.base import Settings
from tests.unit.build.test_candidates import ROW as CANDIDATE
from tests.unit.build.test_candidates import write as write_candidates
from tests.unit.build.test_pairs import ROW as PAIR
from tests.unit.build.test_pairs import write as write_pairs

ROOT = Path(__file__).resolve().parents[3]

RUNS_NOTHING = {"cohort", "fetch", "landmarks", "compare", "phantom"}
"""Sections that no output of a build depends on."""

READ_BY = {
    "screen": {"screen", "select"},
    "select": {"select", "test_cases"},
    "convert": {"convert", "screen"},
    "lungs": {"lungs", "screen"},
}
"""Sections that other rules read than the one of their name."""


class Rule(NamedTuple):
    """What of a rule Snakemake compares: parameters; files with wildcards."""

    params: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    log: str


def rules(folder: Path, content: dict[str, Any]) -> dict[str, Rule]:
    """Return the rules of a workflow as Snakemake sees them with a configuration."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"results": "results"} | content))
    try:
        with contextlib.redirect_stderr(io.StringIO()), SnakemakeApi(OutputSettings()) as api:
            # The workflow's rules have no public name.
            workflow = api.workflow(
                resource_settings=ResourceSettings(),
                snakefile=ROOT / "Snakefile",
                config_settings=ConfigSettings(configfiles=[path]),
            )._workflow
            return {rule.name: _rule(rule) for rule in workflow.rules}
    finally:
        gc.enable()  # which the Snakefile has disabled


def _rule(rule: Any) -> Rule:
    def plain(values: Any) -> tuple[str, ...]:
        texts = (re.sub(r"\{(\w+),.*?\}(?=[/_.])", r"{\1}", str(v)) for v in values)
        return tuple(text for text in texts if "<function" not in text)

    params = tuple(str(value) for value in rule.params if not callable(value))
    (log,) = plain(rule.log) or ("",)
    return Rule(params, plain(rule.input), plain(rule.output), log)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module", params=["manifest", "candidates"])
def base(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """A configuration with a manifest, and one with candidates."""
    if request.param == "manifest":
        return {"manifest": str(write_pairs(folder / "pairs.tsv", PAIR))}
    return {"candidates": str(write_candidates(folder / "candidates.tsv", CANDIDATE))}


def inside(paths: tuple[str, ...]) -> set[str]:
    return {path.removeprefix("results/") for path in paths}


@pytest.mark.parametrize("cloud", ["dense", "keypoints"])
def test_jobs_are_what_the_rules_make_and_read(folder: Path, cloud: str) -> None:
    content = {"workflow": {"registration_cloud": cloud}}
    found = rules(folder, {"manifest": str(write_pairs(folder / "pairs.tsv", PAIR)), **content})
    assert set(found) - set(CASE_STAGES) == {"all", "report", "release", "test_cases"}
    for job in case_jobs("{case}", cloud=cloud):
        rule = found[job.stage]
        assert {path.replace("{method}", job.method) for path in inside(rule.outputs)} == set(job.outputs)
        # The field that is scored depends on the method, and sources and scores on the case: functions.
        computed = {f"cases/{{case}}/{folder}/field.nii.gz" for folder in METHODS.values()}
        scores = {f"cases/{{case}}/evaluation/{method}.json" for method in METHODS}
        computed = {"evaluate": computed, "gates": scores}.get(job.stage, set())
        assert inside(rule.inputs) - computed == set(job.inputs) - computed
        assert inside((rule.log,)) == {job.log.replace(f"_{job.method}.log", "_{method}.log")}


def other(settings: Settings, key: str) -> Any:
    """Return another value of a key that the settings admit."""
    now = settings.model_dump(mode="json")
    field = type(settings).model_fields[key]
    for value in candidates(getattr(settings, key), field.annotation):
        with contextlib.suppress(ValueError):
            changed = type(settings).model_validate(now | {key: value}).model_dump(mode="json")
            if changed != now:
                return changed[key]
    raise AssertionError(f"no other value of {type(settings).__name__}.{key} is known")


def candidates(value: Any, annotation: Any) -> Iterator[Any]:
    """Yield values that may be admitted in place of one."""
    if isinstance(value, Settings):
        for key in type(value).model_fields:
            with contextlib.suppress(AssertionError):
                yield value.model_dump(mode="json") | {key: other(value, key)}
    yield from getattr(annotation, "__args__", ())  # of a Literal
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, value + 2, value * 1.01, value * 0.99, value + 1e-12)
    elif isinstance(value, list | tuple):
        one = value[0] if value else None
        for change in candidates(one, None) if value else ("x", 1.5):
            yield [change, *value[1:]]
        yield [*value, *value]
        yield list(value[:-1])
        yield [entry.model_dump() for entry in value][:-1] if hasattr(one, "model_dump") else []
    yield from (None, 1.5, 3, "1.2.3.4.5", "2026-01-01", "2.0.0", "https://example.org", "x", ["r", "n"])


SECTIONS = [name for name, field in Config.model_fields.items() if field.default_factory is not None]


def test_each_section_is_a_parameter_of_the_rules_that_depend_on_it(base: dict[str, Any], folder: Path) -> None:
    """Snakemake runs a job again if a parameter changed, and what reads its outputs."""
    before = rules(folder, base)
    for section in SECTIONS:
        if section == "workflow":
            continue
        settings = getattr(Config.model_validate(base), section)
        key = "spacing_mm" if section == "screen" else next(iter(type(settings).model_fields), None)
        if key is None:
            continue
        after = rules(folder, base | {section: {key: other(settings, key)}})
        changed = {name for name in before if before[name].params != after[name].params}
        expected = set() if section in RUNS_NOTHING else READ_BY.get(section, {section})
        assert changed == expected & set(before), section


def test_field_spacing_is_a_parameter_of_what_writes_fields(base: dict[str, Any], folder: Path) -> None:
    before = rules(folder, base)
    after = rules(folder, base | {"workflow": {"field_mm": 2.0}})
    changed = {name for name in before if before[name].params != after[name].params}
    assert changed == {"correspond", "register"}


def test_limits_of_screening_are_the_selection_s(folder: Path) -> None:
    """A candidate is not fetched again for another limit."""
    base = {"candidates": str(write_candidates(folder / "candidates.tsv", CANDIDATE))}
    before = rules(folder, base)
    limits = Config.model_validate(base).screen
    after = rules(folder, base | {"screen": {"min_dice": other(limits, "min_dice")}})
    changed = {name for name in before if before[name].params != after[name].params}
    assert changed == {"select"}


@pytest.mark.parametrize("section", sorted(set(SECTIONS) - RUNS_NOTHING))
def test_every_key_of_a_section_is_spelled_out(folder: Path, section: str) -> None:
    base = {"manifest": str(write_pairs(folder / "pairs.tsv", PAIR))}
    build = Build.from_config(base)
    settings = getattr(build.config, section)
    for key in type(settings).model_fields:
        changed = Build.from_config(base | {section: {key: other(settings, key)}})
        differs = [name for name in SECTIONS if changed.settings(name) != build.settings(name)]
        assert differs == [section], key


def test_what_follows_a_stage_and_what_ends_it() -> None:
    jobs = case_jobs("a")

    def names(stage: str) -> list[str]:
        return [job.name for job in following(jobs, stage)]

    assert [job.name for job in following(jobs, "convert")] == [job.name for job in jobs]
    assert names("gates") == ["gates"]
    assert names("correspond") == ["correspond", "evaluate corrfield", "gates"]
    assert names("cloud") == ["cloud", "keypoints", "register", "evaluate divroc", "gates"]
    ends = [job.name for job in last(following(jobs, "cloud"))]
    assert ends == ["keypoints", "gates"]
    sparse = following(case_jobs("a", cloud="keypoints"), "keypoints")
    assert [job.name for job in sparse] == ["keypoints", "register", "evaluate divroc", "gates"]


def test_jobs_of_a_selection_are_known_once_it_is_made(folder: Path) -> None:
    table = write_candidates(folder / "candidates.tsv", CANDIDATE)
    results = folder / "selection"
    build = Build.from_config({"candidates": str(table), "results": str(results)})
    assert [job.stage for job in build.jobs()] == ["screen", "select"]
    (results / "cohort").mkdir(parents=True)
    write_pairs(results / "cohort" / "pairs.tsv", PAIR | {"role": "test_pool"})
    stages = [job.stage for job in build.jobs()]
    assert stages[:3] == ["screen", "select", "convert"]
    assert stages[-2:] == ["test_cases", "report"]
