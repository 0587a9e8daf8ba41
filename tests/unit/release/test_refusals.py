"""What is refused, and leaves no release: builds, folders, identifiers, odd numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from lcsd.errors import BadInputError, LcsdError
from lcsd.io.files import write_table
from lcsd.io.points import read_point_pairs, write_point_pairs
from lcsd.release.choice import manifest_of
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import (
    LIMIT,
    PATIENTS,
    QUICK,
    fail_gate,
    make_build,
    read_rows,
    vessels_again,
    write_case_files,
    write_pairs_table,
)


def refused(results: Path, manifest: Path, out: Path, code: str, settings: ReleaseSettings) -> str:
    with pytest.raises(LcsdError) as caught:
        write_release(results, manifest, out, settings)
    assert caught.value.code == code
    assert not out.exists() or not any(out.iterdir())
    assert not out.with_name(out.name + ".zip").exists()
    assert not list(out.parent.glob(".*tmp*"))
    return caught.value.message


def test_a_patient_in_both_splits_is_refused(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path)
    rows = read_rows(manifest)
    rows[2]["patient_id"] = rows[0]["patient_id"].lower()
    write_table(manifest, tuple(rows[0]), rows)
    message = refused(results, manifest, tmp_path / "out", "patient_in_both_splits", QUICK)
    assert "a1 and c3" in message
    assert PATIENTS["a1"] not in message


def test_empty_builds_and_full_folders_are_refused(build: tuple[Path, Path], tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    fail_gate(results, "a1", "inside")
    message = refused(results, manifest, tmp_path / "out", "nothing_to_release", QUICK)
    assert "1 gate_inside" in message
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("x")
    with pytest.raises(BadInputError, match="not_empty"):
        write_release(*build, full, QUICK)
    assert (full / "mine").read_text() == "x"
    with pytest.raises(BadInputError, match="missing_folder"):
        manifest_of(tmp_path / "none", None)
    (tmp_path / "bare" / "cases").mkdir(parents=True)
    with pytest.raises(BadInputError, match="missing_manifest"):
        manifest_of(tmp_path / "bare", None)


def test_folders_without_a_name_and_links_are_refused(
    build: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, manifest = (path.absolute() for path in build)
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "link").symlink_to(inside)
    monkeypatch.chdir(inside)
    for out in (Path(), Path(".."), Path("/"), tmp_path / "link"):
        with pytest.raises(BadInputError, match="bad_folder"):
            write_release(results, manifest, out, ReleaseSettings(viewer=False))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "link"]


def test_broken_files_are_named_with_their_case(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    (results / "cases" / "a1" / "clouds" / "fixed_dense.npz").write_bytes(b"broken")
    message = refused(results, manifest, tmp_path / "out", "truncated_file", QUICK)
    assert "case a1" in message
    assert "fixed_dense.npz" in message


@pytest.mark.slow
def test_an_identifier_stops_the_release(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "c3"))
    settings = ReleaseSettings(title="Lungs of NLST204816", archive=True)
    message = refused(results, manifest, tmp_path / "out", "identifier_in_release", settings)
    assert "patient_id" in message
    assert "NLST204816" not in message.replace(settings.title, "")
    allowed = ReleaseSettings(title=settings.title, harmless=("nlst204816",), archive=False)
    assert write_release(results, manifest, tmp_path / "out", allowed).train == 1


def test_a_patient_with_the_number_of_a_setting_stops_nothing(tmp_path: Path) -> None:
    """Among thousands of numbered patients there is one for most limits and counts."""
    results, manifest = make_build(tmp_path, ("a1", "b2"))
    rows = read_rows(manifest)
    rows[0]["patient_id"], rows[1]["patient_id"] = str(LIMIT), f"0{LIMIT}"
    write_table(manifest, tuple(rows[0]), rows)
    assert write_release(results, manifest, tmp_path / "out", QUICK).train == 2


@pytest.mark.slow
@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "true", '"0.8"'])
def test_odd_numbers_of_the_rigid_step_are_refused(tmp_path: Path, value: str) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    path = results / "cases" / "a1" / "images" / "prealign.json"
    path.write_text(f'{{"dice_aligned": {value}}}')
    code = "bad_number" if value in ("true", '"0.8"') else "bad_json"
    assert "prealign.json" in refused(results, manifest, tmp_path / "out", code, QUICK)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "true"])
def test_odd_numbers_in_provenance_are_no_traceback(tmp_path: Path, value: str) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    path = results / "cases" / "a1" / "vessels" / "fixed.provenance.json"
    path.write_text(path.read_text().replace(str(LIMIT), value))
    assert path.name in refused(results, manifest, tmp_path / "out", "nothing_to_release", QUICK)


def test_landmarks_outside_the_grid_are_refused(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "c3"))
    marks = tmp_path / "marks" / "c3.csv"
    given = read_point_pairs(marks)
    write_point_pairs(marks, replace(given, fixed=given.fixed + 500.0))
    message = refused(results, manifest, tmp_path / "out", "landmark_outside", QUICK)
    assert "case c3" in message


def test_clouds_of_other_vessels_are_refused(tmp_path: Path) -> None:
    """Where no provenance tells."""
    results, manifest = make_build(tmp_path, ("a1",))
    vessels_again(results, "a1")
    message = refused(results, manifest, tmp_path / "out", "inconsistent_case", QUICK)
    assert "case a1" in message
    assert "fixed_dense.npz" in message


def test_mixed_grids_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    monkeypatch.setattr("tests.unit.release.made_up.SIZE", (24, 20, 24))
    write_case_files(results, "b2")
    write_pairs_table(tmp_path, ("a1", "b2"))
    refused(results, manifest, tmp_path / "out", "mixed_grids", QUICK)
