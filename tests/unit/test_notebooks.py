"""The notebooks run from top to bottom, draw what the site shows, and register what they say."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.notebooks import FOLDER, ORDER, pictures, run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("notebooks")
    return folder, {name: run(name, folder) for name in ORDER}


def test_every_notebook_is_run_and_its_pictures_are_on_the_site() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(ORDER)
    assert {path.stem.rsplit("-", 1)[0] for path in FOLDER.glob("*.png")} == set(ORDER)


@pytest.mark.slow
@pytest.mark.workflow
def test_cells_draw_the_pictures_of_the_site(done: tuple[Path, dict[str, Any]]) -> None:
    drawn = {f"{name}-{number}.png" for name, notebook in done[1].items() for number in pictures(notebook)}
    assert drawn == {path.name for path in FOLDER.glob("*.png")}


@pytest.mark.slow
@pytest.mark.workflow
def test_the_pair_is_registered_and_the_own_method_is_in_the_table(done: tuple[Path, dict[str, Any]]) -> None:
    folder, notebooks = done
    assert (folder / "results" / "report" / "index.html").exists()
    table = pd.read_csv(folder / "comparison" / "compare.csv").set_index("method")
    assert {"mine", "corrfield", "divroc"} <= set(table.index)
    before = pd.read_csv(folder / "results" / "report" / "tre.csv")["tre_before_mean_mm"].iloc[0]
    assert table.loc["divroc", "tre_mean_mm"] < 0.5 * before
    said = notebooks["training"].cells[-1].outputs[-1]["text"]
    first, last = (float(part.split()[1]) for part in said.split(","))
    assert last < 0.5 * first
