"""``lcsd screen``: verdicts are results, work that fails is not, texts name no patient."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import read_json
from lcsd.io.images import write_image, write_mask
from tests.series import write_series
from tests.thorax import scan, thorax_grid
from tests.unit.selection.masks import rigid

PATIENT = "104711"
SMALL = ("--set", "min_volume_l=0.5", "--set", "spacing_mm=4")
"""The thorax of the tests has lungs of 0.8 litres."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(PATIENT)
    grid = thorax_grid((3.0, 3.0, 3.0))
    for name, motion in (("f", None), ("m", rigid((0, 0, 3), (3, 0, 4)))):
        images = scan(grid, motion=motion, seed=len(name))
        write_image(folder / f"{PATIENT}_{name}.nii.gz", images["hu"], dtype=np.int16)
        write_mask(folder / f"{name}_mask.nii.gz", images["lungs"])
    return folder


def screen(folder: Path, out: Path, *more: object) -> Result:
    sources = [folder / f"{PATIENT}_{name}.nii.gz" for name in "fm"]
    call = ["screen", *sources, "--out", out, "--rejected", out.parent / "rejected.json", *more]
    return CliRunner().invoke(main, [str(part) for part in call])


def record_of(result: Result, out: Path) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert PATIENT not in out.read_text(encoding="utf-8")
    assert PATIENT not in result.stderr
    return read_json(out)


@pytest.mark.slow
def test_good_pair_is_accepted_and_equal_input_is_equal_bytes(pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    result = screen(pair, out, *SMALL, "--set", "convert.min_slices=30", "--json")
    record = record_of(result, out)
    assert record["verdict"] == "accepted"
    assert (record["stage"], record["code"], record["message"]) == (None, None, None)
    assert record["dice"] > 0.94
    assert (record["fixed_lungs"], record["moving_lungs"]) == (2, 2)
    assert record["fixed_volume_l"] == pytest.approx(0.795, rel=0.03)
    assert all(gate["passed"] for gate in record["gates"])
    assert json.loads(result.stdout)["verdict"] == "accepted"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.provenance.json"]
    settings = read_json(provenance_path(out))["settings"]
    assert settings["min_volume_l"] == 0.5
    assert settings["convert"]["min_slices"] == 30
    assert settings["lungs"]["min_lung_ml"] == 150.0
    screen(pair, tmp_path / "b.json", *SMALL, "--threads", 1)
    assert (tmp_path / "b.json").read_bytes() == out.read_bytes()


@pytest.mark.slow
def test_given_masks_take_the_place_of_segmentation(pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    masks = ("--fixed-mask", pair / "f_mask.nii.gz", "--moving-mask", pair / "m_mask.nii.gz")
    # With this setting the segmentation finds no lung, so it was not asked.
    record = record_of(screen(pair, out, *SMALL, *masks), out)
    assert record["verdict"] == "accepted"
    assert record["dice"] > 0.97
    assert set(read_json(provenance_path(out))["inputs"]) == {"fixed", "moving", "fixed_mask", "moving_mask"}


@pytest.mark.parametrize(
    ("more", "stage", "code"),
    [
        (["--set", "convert.min_slices=500"], "convert", "too_few_slices"),
        (["--set", "lungs.min_lung_ml=9000"], "lungs", "empty_lungs"),
        pytest.param([], "screen", "gate_volume_l", marks=pytest.mark.slow),
    ],
)
def test_unfit_pair_is_a_result(more: list[str], stage: str, code: str, pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    record = record_of(screen(pair, out, *more), out)
    verdict = "discarded" if stage == "screen" else "rejected"
    assert (record["verdict"], record["stage"], record["code"]) == (verdict, stage, code)
    assert "fixed scan" in record["message"]
    assert record["expected"]
    assert record["found"]
    if stage == "screen":
        # Implausible lungs are a verdict; only a broken scan is recorded as rejected.
        assert not (tmp_path / "rejected.json").exists()
    else:
        rejection = (tmp_path / "rejected.json").read_text()
        assert PATIENT not in rejection
        told = json.loads(rejection)
        assert (told["stage"], told["code"], told["message"]) == ("screen", code, record["message"])
    # A run that accepts the pair takes the rejection back.
    record_of(screen(pair, out, *SMALL), out)
    assert not (tmp_path / "rejected.json").exists()


def test_broken_files_are_told_without_their_names(pair: Path, tmp_path: Path) -> None:
    folder = tmp_path / PATIENT
    folder.mkdir()
    (folder / f"{PATIENT}_f.nii.gz").write_bytes(b"not a scan")
    (folder / f"{PATIENT}_m.nii.gz").write_bytes(b"not a scan")
    record = record_of(screen(folder, tmp_path / "a.json"), tmp_path / "a.json")
    assert (record["verdict"], record["stage"]) == ("rejected", "convert")
    assert record["gates"] == []
    other = folder / f"{PATIENT}.txt"
    other.write_text("no scan")
    out = tmp_path / "c.json"
    call = ["screen", other, folder / f"{PATIENT}_m.nii.gz", "--out", out]
    record = record_of(CliRunner().invoke(main, list(map(str, call))), out)
    assert (record["code"], record["found"]) == ("unknown_source", "the file")
    (folder / f"{PATIENT}_mask.txt").write_text("no mask")
    mask = ("--moving-mask", folder / f"{PATIENT}_mask.txt")
    record = record_of(screen(pair, tmp_path / "b.json", *SMALL, *mask), tmp_path / "b.json")
    assert (record["verdict"], record["stage"]) == ("rejected", "lungs")
    assert record["message"].startswith("moving scan")


def test_work_that_fails_leaves_nothing_and_is_tried_again(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.json"
    result = screen(tmp_path, out)  # the sources are away
    assert result.exit_code == 1
    assert "[missing_source]" in result.stderr
    assert PATIENT not in result.stderr
    mask = ("--fixed-mask", tmp_path / "gone.nii.gz")
    assert screen(pair, out, *mask).exit_code == 1

    def no_disk(*_: object, **__: object) -> None:
        raise WorkError("the disk is full", code="cannot_write")

    monkeypatch.setattr("lcsd.selection.screen.read_scan", no_disk)
    assert screen(pair, out).exit_code == 1
    assert not out.exists()


def test_what_is_no_fault_of_the_pair_is_no_verdict(pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    uid = "1.2.840.99.1"
    gone = ("--set", f"fetch.index={tmp_path / 'gone.parquet'}", "--series-dir", tmp_path)
    for more in (gone, ()):
        call = ["screen", uid, "1.2.840.99.2", "--out", out, *more]
        assert CliRunner().invoke(main, list(map(str, call))).exit_code == 2
    assert screen(pair, out, "--device", "cuda").exit_code != 0
    assert not out.exists()


@pytest.mark.parametrize("code", ["empty_crop", "flat_crop", "empty_result"])
def test_scan_in_which_totalsegmentator_finds_no_lungs_is_a_verdict(
    code: str, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoLungs:
        def segment(self, *_: object, **__: object) -> None:
            raise BadInputError("no lung to crop to", code=code)

    monkeypatch.setattr("lcsd.lungs.lungs.session", lambda *_, **__: contextlib.nullcontext(NoLungs()))
    out = tmp_path / "a.json"
    record = record_of(screen(pair, out, "--set", "lungs.method=totalsegmentator"), out)
    assert (record["verdict"], record["stage"], record["code"]) == ("rejected", "lungs", code)
    assert read_json(tmp_path / "rejected.json")["code"] == code


def test_no_file_of_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    write_series(folder, prefix=f"{PATIENT}_")
    ordered = sorted(folder.iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])
    ordered[10].unlink()
    out = tmp_path / "a.json"
    call = ["screen", folder, folder, "--out", out, "--rejected", tmp_path / "rejected.json"]
    result = CliRunner().invoke(main, list(map(str, call)))
    assert result.exit_code == 0, result.output
    assert read_json(out)["code"] == "missing_slices"
    for text in (out.read_text(), (tmp_path / "rejected.json").read_text(), result.stderr):
        assert PATIENT not in text


@pytest.mark.slow
def test_settings_of_other_sections(pair: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("convert: {min_slices: 500}\nscreen: {min_volume_l: 0.5}\n")
    out = tmp_path / "a.json"
    read = record_of(screen(pair, out, "--config", config), out)
    assert read["code"] == "too_few_slices"
    more = ("--config", config, "--set", "convert.min_slices=30")
    assert record_of(screen(pair, out, *more), out)["verdict"] == "accepted"
    for bad, told in (
        ("convert.slices=3", "convert.slices: unknown key"),
        ("lungs.min_lung_ml=-1", "lungs.min_lung_ml"),
        ("vessels.backend=x", "screen.vessels.backend: unknown key"),
        ("min_slices=3", "screen.min_slices: unknown key"),
    ):
        result = screen(pair, out, "--set", bad)
        assert result.exit_code == 2
        assert told in result.stderr
