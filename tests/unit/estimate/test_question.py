"""What is asked by options, configuration and profile."""

from pathlib import Path

import pytest

from lcsd.config import Config
from lcsd.errors import BadInputError
from lcsd.estimate.measures import Measures
from lcsd.estimate.profile import read_profile
from lcsd.estimate.question import Options, ask
from lcsd.estimate.text import lines
from tests.unit.build.test_candidates import ROW as CANDIDATE
from tests.unit.build.test_candidates import write as write_candidates
from tests.unit.build.test_pairs import ROW as PAIR
from tests.unit.build.test_pairs import write as write_pairs
from tests.unit.estimate.asking import BARE, FREE, answer, question


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"pairs": None}, "missing_option"),
        ({"group": 2}, "bad_usage"),
        ({"nodes": 2}, "bad_usage"),
        ({"candidates": 5, "batches": 2}, "bad_usage"),
        ({"pairs": 3, "batches": 4}, "bad_usage"),
        ({"memory_gb": float("nan")}, "bad_usage"),
        ({"mbit": float("nan")}, "bad_usage"),
        ({"mbit": float("inf")}, "bad_usage"),
        ({"mbit": 5e-324}, "bad_usage"),
        ({"usd_per_hour": float("nan")}, "bad_usage"),
        ({"usd_per_hour": 1e308}, "bad_usage"),
    ],
)
def test_options_that_do_not_go_together(measures: Measures, options: dict[str, float], code: str) -> None:
    with pytest.raises(BadInputError) as failure:
        question(measures, **options)
    assert failure.value.code == code


def test_a_configuration_names_cases_and_candidates(measures: Measures, tmp_path: Path) -> None:
    rows = [{**CANDIDATE, "case": name} for name in "abc"]
    rows[2]["sampled"] = "test_pool"
    table = write_candidates(tmp_path / "candidates.tsv", *rows)
    config = Config.model_validate({"candidates": str(table), "select": {"count": 2}})
    asked = ask(Options(cores=1), config=config, profile=BARE, measures=measures, settings=FREE)
    assert (asked.cases, asked.candidates) == (3, 3)
    profile = read_profile()
    asked = ask(Options(cores=1, pairs=9), config=config, profile=profile, measures=measures, settings=FREE)
    assert (asked.cases, asked.candidates) == (9, 3)
    assert asked.machines.memory_mb == profile.limits["mem_mb"]


def manifest(folder: Path, *rows: dict[str, str]) -> Config:
    columns = ["landmarks", "landmarks_frame"]
    written = write_pairs(folder / "pairs.tsv", *({**PAIR, **row} for row in rows), columns=[*PAIR, *columns])
    return Config.model_validate({"manifest": str(written)})


def test_a_manifest_says_what_has_landmarks_and_what_is_fetched(measures: Measures, tmp_path: Path) -> None:
    uid = "1.2.840.113654.2.55.1"
    rows: list[dict[str, str]] = [
        {"case": "a", "fixed_source": uid, "moving_source": f"{uid}.2"},
        {"case": "b", "landmarks": "b.csv", "landmarks_frame": "native"},
        {"case": "c"},
        {"case": "d", "fixed_source": f"{uid}.3"},
    ]
    local = manifest(tmp_path, *rows[1:3])
    asked = question(measures, config=local, mbit=10.0)
    assert (asked.cases, asked.landmarks, asked.fetched_gb) == (2, 1, 0)
    settings = FREE.model_copy(update={"pair_download_gb": 1.0})
    config = manifest(tmp_path, *rows)
    found = answer(measures, settings, config=config, landmarks=0)
    # Three of eight scans, half a pair's bytes each; kept, as fetch.keep says.
    assert found.download_gb == pytest.approx(1.5)
    without = answer(measures, settings, pairs=4)
    assert found.disk_gb - without.disk_gb == pytest.approx(1.5)
    assert found.hours == without.hours
    slow = answer(measures, settings, config=config, landmarks=0, mbit=8.0)
    assert (slow.hours.middle - found.hours.middle) * 3600 == pytest.approx(1500)
    asked = question(measures, settings, config=config)
    assert "(give --mbit)" in "\n".join(lines(found, asked, measures))
