"""Lungs as the union of TotalSegmentator's lungs, with the gates of the classical method."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, read_image, write_image
from lcsd.lungs import lungs
from lcsd.lungs.lungs import make_lungs
from lcsd.numerics.device import Compute
from lcsd.settings.lungs import LungsSettings
from lcsd.settings.totalsegmentator import LobeTaskSettings
from lcsd.totalsegmentator import Segmentation

GRID = Grid((40, 20, 20), (10.0, 10.0, 10.0), (0.0, 0.0, 0.0))  # one voxel is 1 ml


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    array = np.zeros(GRID.shape, np.uint8)
    array[2:8, 5:15, 4:10] = 12
    array[8:10, 5:15, 4:10] = 13
    array[10:16, 5:15, 4:10] = 14
    array[2:9, 5:15, 30:36] = 10
    array[9:16, 5:15, 30:36] = 11
    content: dict[str, Any] = {"array": array}

    class Fake:
        def segment(self, scan: Image, **options: Any) -> Segmentation:
            content.update(options)
            return Segmentation(Image(content["array"], scan.grid), {"torch": "x"}, 1.0)

    @contextlib.contextmanager
    def fake(task: object, settings: object, *, on: Compute) -> Iterator[Fake]:
        content.update(task=task, on=on)
        yield Fake()

    monkeypatch.setattr(lungs, "session", fake)
    return content


def scan() -> Image:
    return Image(np.full(GRID.shape, -800, np.int16), GRID)


def chosen(**options: Any) -> LungsSettings:
    return LungsSettings(method="totalsegmentator", **options)


def test_union_of_the_lobes(labels: dict[str, Any]) -> None:
    found = make_lungs(scan(), chosen(), on=Compute("cuda", 2))
    assert (found.mask.array == (labels["array"] > 0)).all()
    assert found.count == 2
    assert found.volume_ml == pytest.approx(1680)
    assert found.facts == {"torch": "x"}
    assert (labels["on"].device, labels["on"].threads) == ("cuda", 2)
    assert (labels["task"].task, labels["task"].mode) == ("total", "fast")
    make_lungs(scan(), chosen(totalsegmentator=LobeTaskSettings(model="fastest")))
    assert labels["task"].mode == "fastest"


def test_small_second_lung_and_one_expected(labels: dict[str, Any]) -> None:
    whole = labels["array"]
    labels["array"] = np.where((whole == 11) | (whole == 10), 0, whole)
    labels["array"][2:4, 5:13, 30:36] = 10  # 96 ml
    found = make_lungs(scan(), chosen())
    assert found.count == 1
    assert not found.mask.array[:, :, 30:].any()
    assert make_lungs(scan(), chosen(min_lung_ml=50, second_lung_fraction=0.1)).count == 2
    labels["array"] = np.where(whole == 13, 0, whole)
    one = make_lungs(scan(), chosen(expected_lungs="1"))
    assert one.count == 1
    assert one.mask.array[:, :, 30:].any()
    assert not one.mask.array[:, :, :20].any()


def test_no_lung_is_an_error(labels: dict[str, Any]) -> None:
    labels["array"] = np.zeros(GRID.shape, np.uint8)
    labels["array"][0, 0, :3] = 10
    with pytest.raises(BadInputError) as caught:
        make_lungs(scan(), chosen(), file=Path("scan.nii.gz"))
    assert caught.value.code == "empty_lungs"
    assert "found 3 ml" in caught.value.message


def test_classical_refuses_a_gpu() -> None:
    with pytest.raises(BadInputError) as caught:
        make_lungs(scan(), on=Compute("cuda"))
    assert caught.value.code == "bad_usage"


def test_command(labels: dict[str, Any], tmp_path: Path) -> None:
    write_image(tmp_path / "ct.nii.gz", scan(), dtype=np.int16)
    arguments = ["lungs", str(tmp_path / "ct.nii.gz"), str(tmp_path / "m.nii.gz"), "--json"]
    run = CliRunner().invoke(main, [*arguments, "--method", "totalsegmentator"])
    assert run.exit_code == 0, run.output
    assert '"volume_ml": 1680.0' in run.stdout
    assert read_image(tmp_path / "m.nii.gz").array.sum() == 1680
