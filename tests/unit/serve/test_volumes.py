"""CT scans: checked as ``lcsd convert`` does, then lungs, alignment, vessels, clouds and registration."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lcsd.io.images import write_image
from lcsd.phantom import write_cases
from tests.unit.serve.conftest import Fields, Server, pair
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


def test_two_scans_become_a_registration(server: Server, tmp_path: Path) -> None:
    (row,) = write_cases(tmp_path, cases=1, seed=0, size="tiny")
    truth = tmp_path / row["case"] / "truth"
    fields: Fields = {"landmarks": ("l.csv", (truth / "landmarks.csv").read_bytes()), "effort": "fast"}
    for scan in ("fixed", "moving"):
        fields[scan] = (f"{scan}-scan.nii.gz", (tmp_path / row[f"{scan}_source"]).read_bytes())
        fields[f"{scan}_mask"] = ("lungs.nii.gz", (truth / f"{scan}_lungs.nii.gz").read_bytes())
    job = server.until(server.post("/api/jobs", fields)["id"])
    assert job["state"] == "done", job
    figures = job["result"]["landmarks"]
    assert figures["tre_before_mean_mm"] > 8
    assert figures["tre_mean_mm"] < 1.5
    said = [line.split()[1] for line in job["result"]["commands"]]
    stages = ["convert"] * 2 + ["lungs"] * 2 + ["prealign"] + ["vessels", "cloud"] * 2
    assert said == [*stages, "register", "evaluate", "transform"]
    assert "rigid.tfm" in [file["name"] for file in job["result"]["files"]]
    assert job["result"]["warnings"] == []
