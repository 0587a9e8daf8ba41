"""The manifest: every bad cell is named by line and column."""

from pathlib import Path

import pytest

from lcsd.build.pairs import REQUIRED, read_pairs
from lcsd.errors import BadInputError

ROW = {
    "case": "case_1",
    "patient_id": "p1",
    "role": "test",
    "fixed_source": "a.nii.gz",
    "moving_source": "b.nii.gz",
    "fixed_time": "T0",
    "moving_time": "T1",
}


def write(path: Path, *rows: dict[str, str], columns: list[str] | None = None) -> Path:
    columns = columns or list(rows[0])
    lines = ["\t".join(columns)] + ["\t".join(row.get(c, "") for c in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_sources_relative_to_the_manifest(tmp_path: Path) -> None:
    (pair,) = read_pairs(write(tmp_path / "pairs.tsv", ROW))
    assert pair.fixed_source == str(tmp_path / "a.nii.gz")
    assert pair.moving_source == str(tmp_path / "b.nii.gz")
    assert pair.landmarks is None
    assert pair.fixed_mask is None


def test_absolute_sources_stay(tmp_path: Path) -> None:
    (pair,) = read_pairs(write(tmp_path / "pairs.tsv", {**ROW, "fixed_source": "/data/a.nii.gz"}))
    assert pair.fixed_source == "/data/a.nii.gz"


@pytest.mark.parametrize("column", ["fixed_source", "moving_mask", "landmarks"])
def test_a_path_that_a_command_would_take_for_an_option_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """It is one where the manifest lies in the working folder."""
    row = {**ROW, "landmarks_frame": "native", column: "--help"}
    write(tmp_path / "pairs.tsv", row)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=f"line 2, column {column}.*hyphen"):
        read_pairs(Path("pairs.tsv"))
    (pair,) = read_pairs(tmp_path / "pairs.tsv")
    assert str(getattr(pair, column)) == str(tmp_path / "--help")


def test_series_uids_stay_and_paths_that_look_alike_do_not(tmp_path: Path) -> None:
    uid = "1.3.6.1.4.1.14519.5.2.1.7009.9004.120"
    row = {**ROW, "fixed_source": uid, "moving_source": "1.2.840", "fixed_mask": "2.25.1.0"}
    (pair,) = read_pairs(write(tmp_path / "pairs.tsv", row))
    assert (pair.fixed_source, pair.fixed_mask) == (uid, "2.25.1.0")
    assert pair.moving_source == str(tmp_path / "1.2.840")


def test_two_series_of_one_folder_make_a_pair(tmp_path: Path) -> None:
    row = {**ROW, "moving_source": "a.nii.gz", "fixed_series": "1.2.3.4", "moving_series": "1.2.3.5"}
    (pair,) = read_pairs(write(tmp_path / "pairs.tsv", row))
    assert (pair.fixed_series, pair.moving_series) == ("1.2.3.4", "1.2.3.5")


@pytest.mark.parametrize("name", ["a/b", "a b", "..", "$(x)", "-a", "", "x" * 65, "a;b", "ä", "a\\b", "case\n2"])
def test_illegal_case_names_are_refused_with_their_place(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "pairs.tsv", {**ROW, "case": name.replace("\n", "'")})
    with pytest.raises(BadInputError, match="line 2, column case") as caught:
        read_pairs(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("column", REQUIRED)
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "pairs.tsv", ROW, columns=[c for c in ROW if c != column])
    with pytest.raises(BadInputError) as caught:
        read_pairs(path)
    assert caught.value.field == column


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"role": "trian"}, "role"),
        ({"landmarks": "l.csv", "landmarks_frame": "voxel"}, "landmarks_frame"),
        ({"landmarks": "l.csv"}, "row"),
        ({"moving_source": "a.nii.gz"}, "row"),
        ({"fixed_source": ""}, "fixed_source"),
        ({"fixed_series": "../1.2.3.4"}, "fixed_series"),
        ({"fixed_source": "{wildcards}.nii.gz"}, "fixed_source"),
        ({"moving_vessels": "v\x1b[2J.nii.gz"}, "moving_vessels"),
        ({"moving_series": "1.2.x.4"}, "moving_series"),
        ({"moving_source": "a.nii.gz", "fixed_series": "1.2.3.4", "moving_series": "1.2.3.4"}, "row"),
    ],
)
def test_bad_cell_is_named(tmp_path: Path, change: dict[str, str], column: str) -> None:
    path = write(tmp_path / "pairs.tsv", ROW | {"case": "bad"} | change)
    with pytest.raises(BadInputError, match=rf"line 2, column {column}: .*\[bad_manifest\]"):
        read_pairs(path)


@pytest.mark.parametrize("second", ["case_1", "CASE_1"])
def test_duplicate_case_names_both_lines(tmp_path: Path, second: str) -> None:
    path = write(tmp_path / "pairs.tsv", ROW, {**ROW, "case": second})
    with pytest.raises(BadInputError, match="line 3.*also on line 2"):
        read_pairs(path)


def test_an_unknown_column_and_a_manifest_without_cases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    with pytest.raises(BadInputError, match="colour: .*unknown_column"):
        read_pairs(write(path, {**ROW, "colour": "red"}))
    path.write_text("\t".join(ROW) + "\n")
    with pytest.raises(BadInputError, match="empty_table"):
        read_pairs(path)


def test_blank_lines_count(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.tsv", ROW, {**ROW, "case": "a b"})
    path.write_text(path.read_text().replace("\ncase_1", "\n\ncase_1"))
    with pytest.raises(BadInputError, match="line 4, column case"):
        read_pairs(path)
