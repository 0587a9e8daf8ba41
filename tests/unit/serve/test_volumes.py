"""CT scans: checked as ``lcsd convert`` does, then lungs, alignment, vessels, clouds and registration."""

import contextlib
import io
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from lcsd.cli.main import main
from lcsd.cli.serve import run_command
from lcsd.io.images import Image, write_image, write_mask
from lcsd.io.points import Cloud, PointPairs, write_cloud, write_point_pairs
from lcsd.names import SCANS
from lcsd.phantom.case import make_case
from lcsd.serve import work
from lcsd.serve.offers import METHODS, PAGE
from lcsd.serve.stages import Commands, Work
from tests.unit.serve.conftest import Fields, Server, pair, vessels
from tests.world import anatomy
from tests.world.support import chest, write_chest

pytestmark = pytest.mark.slow


def zipped(folder: Path) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return held.getvalue()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A chest of 24 slices in three formats."""
    folder = tmp_path_factory.mktemp("scans")
    write_chest(folder / "dicom")
    write_image(folder / "chest.nii.gz", chest(), dtype=np.int16)
    with_gap = folder / "gap"
    write_chest(with_gap)
    sorted(with_gap.iterdir())[10].unlink()
    return {"dicom": zipped(folder / "dicom"), "gap": zipped(with_gap), "nifti": (folder / "chest.nii.gz").read_bytes()}


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 90000 90000 90000\nencoding: raw\n\n"


ORDER = ("finding the lungs", "aligning the scans", "finding the vessels", "registering")
"""Stages of scans that take long enough to be seen."""


def hostile(name: str, content: bytes = b"x") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return held.getvalue()


def test_a_zipped_series_and_a_volume_are_checked(server: Server, scans: dict[str, bytes]) -> None:
    job = server.check({"fixed": ("a.ZIP", scans["dicom"]), "moving": ("b.nii.gz", scans["nifti"])})
    assert job["result"]["good"], job
    read = job["result"]["read"]
    assert read["fixed"]["voxels"] == read["moving"]["voxels"] == [48, 48, 24]
    assert np.allclose(read["fixed"]["box_mm"], read["moving"]["box_mm"], atol=0.2)
    assert (read["fixed"]["format"], read["moving"]["format"]) == (".zip", ".nii.gz")


BROKEN = {
    "half a zip": ("a.zip", b"PK\x03\x04 and nothing more", "broken_archive"),
    "a name that leads out": ("a.zip", hostile("../../escaped.dcm"), "unsafe_archive"),
    "no DICOM inside": ("a.zip", hostile("notes.txt"), "no_dicom"),
    "damaged DICOM": ("a.zip", hostile("a.dcm", bytes(1 << 20)), "truncated_file"),
    "half a NIfTI": ("a.nii.gz", b"\x1f\x8b and nothing more", "truncated_file"),
    "an NRRD of terabytes": ("a.nrrd", NRRD, "too_large"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_scan_is_one_clear_line(kind: str, server: Server, scans: dict[str, bytes]) -> None:
    name, content, code = BROKEN[kind]
    job = server.check({"fixed": ("good.nii.gz", scans["nifti"]), "moving": (name, content)})
    bad = [verdict for verdict in job["result"]["verdicts"] if not verdict["good"]]
    assert [verdict["error"]["code"] for verdict in bad] == [code], bad
    assert bad[0]["text"].count("\n") == 0


def test_a_gap_between_slices_is_named(server: Server, scans: dict[str, bytes]) -> None:
    job = server.check({"fixed": ("a.zip", scans["gap"]), "moving": ("b.nii.gz", scans["nifti"])})
    assert job["result"]["verdicts"][0]["error"]["code"] == "missing_slices"


@pytest.mark.parametrize(
    ("more", "code"), [({"moving": pair(100)["moving"]}, "mixed_kinds"), ({"frame": "ras"}, "unused_option")]
)
def test_scans_go_with_scans(more: Fields, code: str, server: Server, scans: dict[str, bytes]) -> None:
    fields: Fields = {"fixed": ("a.nii.gz", scans["nifti"]), "moving": ("b.nii.gz", scans["nifti"])}
    assert server.post("/api/jobs", {**fields, **more})["code"] == code
    assert server.post("/api/jobs", {**pair(100), "fixed_mask": ("m.nii.gz", b"x")})["code"] == "mixed_kinds"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    """Both scans of a tiny phantom and its landmarks; the baseline has a mask of its lungs, the follow-up none."""
    folder = tmp_path_factory.mktemp("patient")
    for role in SCANS:
        write_image(folder / f"{role}.nii.gz", anatomy.chest(role).image(), dtype=np.int16)
    write_mask(folder / "mask.nii.gz", Image(anatomy.chest().lungs, anatomy.chest().grid))
    write_point_pairs(folder / "landmarks.csv", PointPairs(*make_case(33, case=0, size="tiny").landmarks))
    names = {
        "fixed": "fixed.nii.gz",
        "moving": "moving.nii.gz",
        "fixed_mask": "mask.nii.gz",
        "landmarks": "landmarks.csv",
    }
    return {part: (name, (folder / name).read_bytes()) for part, name in names.items()}


@pytest.mark.xdist_group("chests")
def test_two_scans_become_a_result(server: Server, patient: Fields) -> None:
    """Every stage in earnest, with the lungs of one scan given and those of the other found."""
    job = server.post("/api/jobs", {**patient, "effort": "fast"})
    stages = []
    while (seen := server.job(job["id"]))["state"] in ("queued", "running"):
        stages += [seen["stage"]] if seen["stage"] not in stages else []
        time.sleep(0.05)
    assert seen["state"] == "done", seen
    assert [stage for stage in stages if stage in ORDER] == [*ORDER]
    scored = seen["result"]["landmarks"]
    assert scored["tre_before_mean_mm"] > 5
    assert scored["tre_mean_mm"] < 0.5 * scored["tre_before_mean_mm"]
    residual = seen["result"]["residual_mm"]
    assert residual["after"] < 0.5 * residual["before"]
    assert {file["name"] for file in seen["result"]["files"]} >= {"rigid.tfm", "field.nii.gz", "transform.h5", PAGE}


def test_two_scans_go_through_the_stages_of_a_build(
    scans: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scans are converted; of the other commands only the words are checked, and the files that they would write."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixed.zip").write_bytes(scans["dicom"])
    (tmp_path / "moving.nii.gz").write_bytes(scans["nifti"])
    cloud = Cloud(vessels(100).astype(np.float32))

    def run(words: Sequence[str]) -> None:
        if words[0] == "convert":
            run_command(words)
            return
        command = main.get_command(click.Context(main), words[0])
        assert command is not None
        given = command.make_context(words[0], list(words[1:])).params  # raises for an option that there is not
        if words[0] == "prealign":
            (given["out_dir"]).mkdir()
            (given["out_dir"] / "rigid.tfm").write_text("rigid")
            (tmp_path / "registration").mkdir()
        if words[0] == "cloud":
            write_cloud(given["output"], cloud)

    told: list[Mapping[str, Any]] = []
    stages = Work(Commands(run, contextlib.nullcontext), told.append, threads=1)
    files = {"fixed": "fixed.zip", "moving": "moving.nii.gz", "moving_mask": "moving_mask.nii.gz"}
    job = {"files": files, "volumes": True, "symmetric": "true"}
    pair_of_clouds = work._register_scans(job, METHODS[0], stages)
    assert [len(one) for one in pair_of_clouds] == [100, 100]
    said = [" ".join(words[1:]) for words in stages.said]
    assert [words.split()[0] for words in said] == [
        *("convert", "convert", "lungs", "lungs", "prealign", "vessels", "cloud", "vessels", "cloud", "register")
    ]
    assert "lungs scans/fixed.nii.gz lungs/fixed.nii.gz" in said
    assert "lungs scans/moving.nii.gz lungs/moving.nii.gz --given moving_mask.nii.gz" in said
    assert said[-1].endswith("--grid images/fixed.nii.gz --field-mm 3 --fast --symmetric")
    assert (tmp_path / "registration" / "rigid.tfm").read_text() == "rigid"
    assert [entry["progress"] for entry in told if "stage" in entry] == [0.0, 0.1, 0.2, 0.35, 0.5]
