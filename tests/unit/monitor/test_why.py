"""Why a stage of a case would be made again; tests/workflow asks Snakemake the same."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lcsd import __version__
from lcsd.build import rejections
from lcsd.build.plan import Build
from lcsd.build.provenance import OWN_DIGEST, own_digest
from lcsd.errors import BadInputError
from lcsd.io.files import read_json, write_json
from lcsd.monitor.engine import Engine
from lcsd.monitor.states import snapshot
from lcsd.monitor.why import flat, text, why
from tests.unit.made_up_cases import BEGIN_S, make_build, make_case

DOWN = ["keypoints", "register", "evaluate divroc", "gates"]
"""What follows from the dense clouds."""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    build = make_build(tmp_path)
    make_case(build, "b")
    return build


def runs(build: Build, case: str = "b") -> dict[str, list[str]]:
    """What would run, with the reasons."""
    found = why(build, case, snapshot(Path(build.results)))
    return {
        job.name: [cause.text for cause in causes if cause.runs]
        for job, causes in found.items()
        if any(cause.runs for cause in causes)
    }


def notes(build: Build) -> list[str]:
    found = why(build, "b", snapshot(Path(build.results)))
    return [cause.text for causes in found.values() for cause in causes if not cause.runs]


def changed(build: Build, **sections: dict[str, Any]) -> Build:
    content = {"manifest": build.manifest, "results": build.results}
    return Build.from_config(content | sections)


def test_nothing_is_to_be_done_for_a_finished_case(build: Build) -> None:
    assert runs(build) == {}
    assert notes(build) == []


def test_all_is_missing_of_a_case_that_has_not_begun(build: Build) -> None:
    found = runs(build, "a")
    assert found["convert"] == ["missing: scans/fixed.nii.gz, scans/moving.nii.gz"]
    assert found["lungs"][-1] == "convert runs before"
    assert len(found) == 9


def test_a_changed_setting_is_named_with_both_values_and_what_follows(build: Build) -> None:
    found = runs(changed(build, vessels={"objectness": {"noise_factor": 5.0}}))
    assert found["vessels"] == ["setting vessels.objectness.noise_factor: 8.0 -> 5.0"]
    assert found["keypoints"] == ["cloud runs before"]
    assert list(found) == ["vessels", "cloud", *DOWN]
    assert list(runs(changed(build, evaluate={"tps_smoothing": 0.5}))) == [
        "evaluate corrfield",
        "evaluate divroc",
        "gates",
    ]
    for section in ({"report": {"pages": 1}}, {"fetch": {"retries": 9}}):
        assert runs(changed(build, **section)) == {}


def test_the_kind_of_cloud_and_the_device_are_settings_of_the_build(build: Build) -> None:
    found = runs(changed(build, workflow={"registration_cloud": "keypoints"}))
    assert list(found) == ["register", "evaluate divroc", "gates"]
    assert found["register"][0] == ("it read cases/b/clouds/fixed_dense.npz, and would now read another file")
    found = runs(changed(build, workflow={"device": "cuda"}))
    assert list(found) == ["correspond", "register", "evaluate corrfield", "evaluate divroc", "gates"]
    assert found["correspond"] == ["setting workflow.device: cpu -> cuda"]
    found = runs(changed(build, workflow={"field_mm": 2.0}))
    assert list(found) == ["correspond", "register", "evaluate corrfield", "evaluate divroc", "gates"]
    assert found["register"] == ["setting workflow.field_mm: 3.0 -> 2.0"]


def test_another_frame_of_the_landmarks_is_told(build: Build) -> None:
    manifest = Path(build.manifest)
    manifest.write_text(manifest.read_text().replace("native", "common"))
    found = runs(Build.from_config({"manifest": build.manifest, "results": build.results}))
    assert found.pop("gates") == ["evaluate corrfield runs before", "evaluate divroc runs before"]
    assert found == {
        f"evaluate {method}": ["the manifest's landmarks_frame: native -> common"] for method in ("corrfield", "divroc")
    }


def edit(build: Build, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = Path(build.results) / "cases" / "b" / name
    times = path.stat().st_mtime_ns
    record = read_json(path)
    change(record)
    write_json(path, record | {OWN_DIGEST: own_digest(record)})
    os.utime(path, ns=(times, times))


def test_settings_that_another_version_had_or_lacked_are_named(build: Build) -> None:
    def older(record: dict[str, Any]) -> None:
        del record["settings"]["k"]
        record["settings"]["gone"] = 7
        record["versions"]["lcsd"] = "0.0.9"

    edit(build, "clouds/fixed_keypoints.provenance.json", older)
    assert runs(build) == {
        "keypoints": ["setting keypoints.gone: 7 -> (missing)", "setting keypoints.k: (missing) -> 29"]
    }
    assert notes(build) == [f"made by lcsd 0.0.9, this is {__version__}; not a reason to run"]


def test_a_named_series_is_a_setting_of_its_scan(build: Build, tmp_path: Path) -> None:
    text = Path(build.manifest).read_text().splitlines()
    text[0] += "\tmoving_series"
    text[1:] = [f"{row}\t1.2.3.4.5" for row in text[1:]]
    manifest = tmp_path / "series.tsv"
    manifest.write_text("\n".join(text) + "\n")
    other = Build.from_config({"manifest": str(manifest), "results": build.results})
    assert runs(other)["convert"] == ['setting convert.series_uid: null -> "1.2.3.4.5"']


def rewrite(path: Path, text: str, at_s: float) -> None:
    path.write_text(text)
    os.utime(path, (at_s, at_s))


def test_a_source_with_other_bytes_is_named_with_both_hashes(build: Build, tmp_path: Path) -> None:
    rewrite(tmp_path / "b_moving.nii", "another", BEGIN_S + 10**6)
    found = runs(build)
    assert found["convert"][0].startswith(f"input {tmp_path}/b_moving.nii has changed: SHA-256 ")
    assert len(found) == 11
    assert found["lungs"] == ["convert runs before"]


def test_the_oldest_output_counts(build: Build, tmp_path: Path) -> None:
    late = Path(build.results) / "cases" / "b" / "scans" / "moving.nii.gz"
    os.utime(late, (BEGIN_S + 20, BEGIN_S + 20))
    rewrite(tmp_path / "b_fixed.nii", "another", BEGIN_S + 10)
    assert "has changed" in runs(build)["convert"][0]


def test_an_older_file_with_other_bytes_is_a_note(build: Build, tmp_path: Path) -> None:
    """Snakemake goes by times, so a file that was put back with its old date escapes it."""
    rewrite(tmp_path / "b_moving.nii", "another", 10)
    assert runs(build) == {}
    (note,) = notes(build)
    assert "--from" in note


def test_a_touched_file_counts_only_if_it_is_large(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.csv").touch()
    assert runs(build) == {}
    monkeypatch.setattr("lcsd.monitor.why.CHECKSUM_BYTES", 3)
    assert list(runs(build)) == ["evaluate corrfield", "evaluate divroc", "gates"]
    assert "with the same bytes" in runs(build)["evaluate divroc"][0]


def test_sources_that_are_away_unmake_nothing(build: Build, tmp_path: Path) -> None:
    for name in ("b_fixed.nii", "b_moving.nii", "b.csv"):
        (tmp_path / name).unlink()
    assert runs(build) == {}


def test_another_source_mask_or_landmarks_in_the_manifest_is_named(build: Build, tmp_path: Path) -> None:
    text = Path(build.manifest).read_text()
    for name in ("b_fixed.nii", "b.csv"):
        (tmp_path / f"new_{name}").write_text("new")
        text = text.replace(f"\t{name}", f"\tnew_{name}")
    manifest = tmp_path / "new.tsv"
    rows = text.splitlines()
    rows = [f"{rows[0]}\tfixed_mask", *(f"{row}\tmask.nii" for row in rows[1:])]
    manifest.write_text("\n".join(rows) + "\n")
    found = runs(Build.from_config({"manifest": str(manifest), "results": build.results}))
    was, now = tmp_path / "b_fixed.nii", tmp_path / "new_b_fixed.nii"
    assert found["convert"] == [f"the manifest's source: {was} -> {now}"]
    assert found["lungs"][0] == f"the manifest's given: none -> {tmp_path}/mask.nii"
    assert found["evaluate divroc"][0].startswith("the manifest's landmarks: ")


def test_a_source_that_stands_like_a_file_of_the_build_is_none(tmp_path: Path) -> None:
    other = tmp_path / "other" / "cases" / "b"
    other.mkdir(parents=True)
    build = make_build(other)
    make_case(build, "b")
    assert runs(build) == {}
    (other / "b_fixed.nii").unlink()
    assert runs(build) == {}


def test_missing_broken_and_cut_off_outputs(build: Build) -> None:
    root = Path(build.results) / "cases" / "b"
    (root / "clouds" / "moving_dense.npz").unlink()
    assert runs(build)["cloud"] == ["missing: clouds/moving_dense.npz"]
    assert set(runs(build)) == {"cloud", *DOWN}
    (root / "clouds" / "moving_dense.npz").write_text("made")
    os.utime(root / "clouds" / "moving_dense.npz", (BEGIN_S, BEGIN_S))
    (root / "images" / "prealign.provenance.json").write_text("{")
    assert any("provenance is missing or broken" in note for note in notes(build))
    now = snapshot(Path(build.results))
    marked = replace(now, engine=Engine("idle", None, frozenset({"cases/b/registration/points.npz"})))
    found = {job.name: causes for job, causes in why(build, "b", marked).items()}
    assert "interrupted" in found["register"][0].text


def test_a_case_that_was_set_aside_says_why(build: Build) -> None:
    folder = Path(build.results) / "cases" / "a"
    error = BadInputError("the file is empty", code="truncated_file")
    rejections.reject(folder / "rejected.json", stage="convert", target=folder / "scans" / "x", error=error)
    found = why(build, "a", snapshot(Path(build.results)))
    (convert, *_) = found.values()
    assert [cause.runs for cause in convert] == [True, False]
    assert "truncated_file" in convert[1].text
    printed = text(found).splitlines()
    assert printed[0].startswith("convert             would run   missing: scans/fixed.nii.gz")
    assert printed[1].strip().startswith("note: was rejected")


def test_a_build_that_was_moved_is_the_same(build: Build, tmp_path: Path) -> None:
    Path(build.results).rename(tmp_path / "moved")
    moved = Build.from_config({"manifest": build.manifest, "results": str(tmp_path / "moved")})
    assert runs(moved) == {}


def test_flat_joins_keys_by_dots() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}
    assert yaml.safe_load("{}") == {}
