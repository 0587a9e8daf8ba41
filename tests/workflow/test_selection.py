"""The road of NLST on phantoms: index, S3 archive, screening, selection, test cases, report."""

import csv
import gzip
import os
import shutil
import socket
from pathlib import Path

import pydicom
import pytest
import yaml
from click.testing import CliRunner
from pydicom.uid import generate_uid

from lcsd.cli.main import main
from lcsd.phantom.case import make_case
from lcsd.phantom.phantom import case_name, patient_id, write_case
from tests.moto_s3 import moto_archive
from tests.s3 import BUCKET, series_prefix
from tests.workflow.conftest import MICRO, Workspace

pytestmark = [pytest.mark.workflow, pytest.mark.campaign, pytest.mark.slow, pytest.mark.xdist_group("selection")]

SEED = 1
"""Of the sample: puts the first, second and fourth patient on the side of training."""

PHANTOMS = 5
"""Seed of the patients, of whom there are as many."""

SETTINGS = {
    "cohort": {"max_thickness_mm": 6.0, "min_slices": 20, "train": 9, "test_pool": 9, "test_pool_share": 0.3},
    "fetch": {"backoff_s": 0.1, "retries": 1, "keep": False},
    "screen": {"min_volume_l": 0.5},
    "select": {"count": 1, "test_count": 1, "min_correspondences": 20, "max_inconsistency_mm": 20.0, "min_kept": 0.1},
}


class Selection(Workspace):
    """A workspace whose cases are selected from candidates."""

    def words(self, *arguments: str, settings: dict[str, object] | None = None) -> list[str]:
        words = super().words(*arguments, settings=settings)
        config = self.folder / "config.yaml"
        content = yaml.safe_load(config.read_text())
        del content["manifest"]
        content["candidates"] = str(self.manifest)
        config.write_text(yaml.safe_dump(content))
        return words


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def write_patients(tree: Path) -> None:
    """Write the studies of five patients; two, whose scans nobody gets to read, have the images of the first."""
    for number in (0, 3, 4):
        case = make_case(PHANTOMS, case=number, size="tiny")
        write_case(tree / case_name(PHANTOMS, number), case, file_format="dicom")
    for number in (1, 2):
        folder, patient = tree / case_name(PHANTOMS, number), patient_id(PHANTOMS, number)
        shutil.copytree(tree / case_name(PHANTOMS, 0), folder)
        for path in folder.rglob("*.dcm"):
            image = pydicom.dcmread(path)
            image.PatientID = image.PatientName = patient
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
                image[name].value = generate_uid(entropy_srcs=[patient, image[name].value])
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(path)


def test_two_broken_series_are_set_aside_and_the_rest_is_selected_and_built(tmp_path: Path) -> None:
    tree, index = tmp_path / "tree", tmp_path / "index.parquet"
    write_patients(tree)
    patients = [patient_id(PHANTOMS, number) for number in range(5)]
    # The archive itself lacks a slice of one scan, and its bucket an object of another.
    (tree / case_name(PHANTOMS, 1) / "moving" / "standard" / "0030.dcm").unlink()
    series = tree / case_name(PHANTOMS, 2) / "fixed" / "standard"
    lost = pydicom.dcmread(series / "0010.dcm", stop_before_pixels=True)
    with moto_archive(tree, index) as (url, client):
        key = f"{series_prefix(str(lost.SeriesInstanceUID))}/0010.dcm"
        client.delete_object(Bucket=BUCKET, Key=key)
        base = yaml.safe_load(MICRO.read_text()) | SETTINGS
        base["cohort"] |= {"index": str(index)}
        base["fetch"] |= {"index": str(index), "endpoint_url": url}
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
        folder = tmp_path / "results" / "cohort"
        call = ["cohort", "--config", tmp_path / "base.yaml", "--out-dir", folder, "--seed", SEED]
        result = CliRunner().invoke(main, [str(word) for word in call])
        assert result.exit_code == 0, result.output
        workspace = Selection(tmp_path, folder / "candidates.tsv", tmp_path / "base.yaml")
        _check_dead_archive(workspace, base["fetch"])
        printed = workspace.snakemake(code=1)
        assert "2 of 5 candidates were rejected" in printed
        assert "Traceback" not in printed
        assert workspace.planned() == {}
        # The selection follows its settings; what screening found is not looked for again.
        planned = workspace.planned({"select": base["select"] | {"count": 2}})
        assert "select" in planned
        assert "screen" not in planned
    case_of = {row["patient_id"]: row["case"] for row in rows_of(folder / "candidates.tsv")}
    cases = [case_of[patient] for patient in patients]
    _check_tables(workspace, folder, cases)
    _check_outputs(workspace, cases)
    _check_identifiers(tmp_path / "results", patients)


def _check_dead_archive(workspace: Workspace, fetch: dict[str, object]) -> None:
    """An archive that does not answer fails the build and says nothing about the candidates."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{bound.getsockname()[1]}"
    workspace.snakemake(code=1, settings={"fetch": fetch | {"endpoint_url": dead}})
    assert (workspace.results / "report" / "index.html").exists()
    assert {row["code"] for row in workspace.rejected().values()} == {"server_unreachable"}
    assert not (workspace.results / "cohort" / "pairs.tsv").exists()
    assert not list((workspace.results / "cohort" / "screening").glob("*"))


def _check_tables(workspace: Workspace, folder: Path, cases: list[str]) -> None:
    rejected = workspace.rejected()
    assert {case: row["code"] for case, row in rejected.items()} == {
        cases[1]: "missing_slices",
        cases[2]: "missing_objects",
    }
    page = (workspace.results / "report" / "index.html").read_text()
    assert all(case in page for case in rejected)
    table = {row["case"]: row for row in rows_of(folder / "selection.tsv")}
    assert set(table) == set(cases)
    train = [table[cases[0]], table[cases[3]]]
    lowest = min(train, key=lambda row: float(row["dice"]))
    assert [row["selected"] for row in train].count("yes") == 1
    assert (lowest["selected"], lowest["rank"]) == ("yes", "1")
    pairs = {row["case"]: row["role"] for row in rows_of(folder / "pairs.tsv")}
    assert pairs == {lowest["case"]: "train", cases[4]: "test_pool"}
    (test,) = rows_of(folder / "test.tsv")
    assert (test["case"], test["verdict"]) == (cases[4], "selected")
    names = {row["case"]: row["name"] for row in rows_of(folder / "names.tsv")}
    assert sorted(names.values()) == ["lcsd_0001", "lcsd_0002"]
    assert set(names) == set(pairs)


def _check_outputs(workspace: Workspace, cases: list[str]) -> None:
    for row in rows_of(workspace.results / "cohort" / "pairs.tsv"):
        root = workspace.results / "cases" / row["case"]
        assert (root / "registration" / "field.nii.gz").exists()
        assert (root / "correspondences" / "correspondences.csv").exists()
    broken = workspace.results / "cases" / cases[1]
    assert [path.name for path in broken.iterdir()] == ["rejected.json"]
    # Series of good candidates were removed after use; a broken one stays for a look.
    left = [p for p in (workspace.results / "series").iterdir() if p.is_dir()]
    assert len([p for p in left if not p.name.startswith(".")]) == 1


def _check_identifiers(results: Path, patients: list[str]) -> None:
    """No patient is named but in the cohort's tables and in what was downloaded."""
    tables = {results / "cohort" / f"{name}.tsv" for name in ("candidates", "rejected", "pairs")}
    for folder, _, names in os.walk(results):
        for path in (Path(folder) / name for name in names):
            if path in tables or path.is_relative_to(results / "series"):
                continue
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            assert not [patient for patient in patients if patient.encode() in content], path
