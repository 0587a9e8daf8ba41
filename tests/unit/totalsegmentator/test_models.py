"""A version of the package that means something else by a task is refused."""

import importlib.metadata
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from totalsegmentator.map_tasks_config import TASK_CONFIGS

from lcsd.errors import WorkError
from lcsd.totalsegmentator import models
from lcsd.totalsegmentator.models import (
    TASKS,
    TOTAL_3MM,
    TOTAL_6MM,
    VESSELS,
    VESSELS_LEGACY,
    check_meaning,
    fetch_command,
)


@pytest.mark.parametrize("name", TASKS)
def test_installed_package_means_the_same(name: str) -> None:
    check_meaning(TASKS[name])


def test_models_that_a_run_loads() -> None:
    legacy = TASKS["lung_vessels_LEGACY"]
    assert legacy.models(robust_crop=False) == (TOTAL_6MM, VESSELS_LEGACY)
    assert legacy.models(robust_crop=True) == (TOTAL_3MM, VESSELS_LEGACY)
    assert TASKS["lung_vessels"].models(robust_crop=False) == (TOTAL_3MM, VESSELS)
    assert TASKS["lobes_fast"].models(robust_crop=False) == (TOTAL_6MM, TOTAL_3MM)
    assert TASKS["lobes_fast"].models(robust_crop=True) == (TOTAL_3MM,)
    assert TASKS["lobes_fastest"].models(robust_crop=False) == (TOTAL_6MM,)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("robust", [False, True])
def test_the_command_that_is_named_fetches_the_models_of_a_run(task: models.Task, robust: bool) -> None:
    wanted = task.models(robust_crop=robust)
    _, _, command, *words = shlex.split(fetch_command(wanted, Path("a b")))
    assert (command, words[-2:]) == ("fetch", ["--folder", "a b"])
    uses = [word for word in words[:-2] if word != "--robust-crop"]
    fetched = {m for use in uses for m in TASKS[use].models(robust_crop="--robust-crop" in words)}
    assert fetched == set(wanted)


def test_each_model_is_fetched_by_the_use_that_it_segments() -> None:
    assert all(TASKS[model.use].model is model for model in models.MODELS)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        # Before 2.13 'lung_vessels' was the model that is 'lung_vessels_LEGACY' now.
        ("map_tasks_config.TASK_CONFIGS", {"lung_vessels": {"task_id": 258, "trainer": "T"}}),
        ("map_to_binary.class_map", {"lung_vessels": {1: "lung_vessels", 2: "airways"}}),
        ("map_tasks_config.TASK_ID_WEIGHTS_CONFIGS", {117: {"foldername": "Dataset117_other"}}),
    ],
)
def test_another_meaning_is_refused(table: str, change: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in change.items():
        module, name = table.split(".")
        content = getattr(importlib.import_module(f"totalsegmentator.{module}"), name)
        monkeypatch.setitem(content, key, value)
    with pytest.raises(WorkError) as caught:
        check_meaning(TASKS["lung_vessels"])
    assert caught.value.code == "unknown_version"
    assert "2.18" in caught.value.message


def test_absent_task_table_and_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delitem(TASK_CONFIGS, "lung_vessels_LEGACY")
        with pytest.raises(WorkError) as caught:
            check_meaning(TASKS["lung_vessels_LEGACY"])
        assert caught.value.code == "unknown_version"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "totalsegmentator.map_tasks_config", None)
        with pytest.raises(WorkError) as caught:
            check_meaning(TASKS["lung_vessels"])
        assert caught.value.code == "unknown_version"

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(models, "version", absent)
    with pytest.raises(WorkError) as caught:
        check_meaning(TASKS["lung_vessels"])
    assert caught.value.code == "no_totalsegmentator"
