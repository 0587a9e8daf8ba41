"""The table of candidates: sampled rows only, every bad cell named."""

from pathlib import Path

import pytest

from lcsd.build.candidates import COLUMNS, read_candidates
from lcsd.errors import BadInputError

ROW = {
    "case": "nlst_0",
    "patient_id": "1",
    "sampled": "train",
    "fixed_time": "T0",
    "moving_time": "T1",
    "fixed_series": "1.2.3.4",
    "moving_series": "1.2.3.5",
    "fixed_segmentation": "",
    "moving_segmentation": "1.2.3.6",
    "fixed_maker": "GE",
}


def write(path: Path, *rows: dict[str, str], leave_out: str = "") -> Path:
    columns = [name for name in ROW if name != leave_out]
    lines = [columns, *([row[name] for name in columns] for row in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_sampled_rows_come_in_order(tmp_path: Path) -> None:
    rows = [ROW | {"case": "z"}, ROW | {"case": "not", "sampled": ""}, ROW | {"case": "a", "sampled": "test_pool"}]
    found = read_candidates(write(tmp_path / "c.tsv", *rows))
    assert list(found) == ["z", "a"]
    assert found["a"].sampled == "test_pool"
    assert found["z"].moving_segmentation == "1.2.3.6"


@pytest.mark.parametrize(
    ("column", "cell"),
    [("sampled", "test"), ("fixed_series", ""), ("moving_series", "1.2;ls"), ("fixed_segmentation", "none")],
)
def test_a_bad_cell_is_named(tmp_path: Path, column: str, cell: str) -> None:
    path = write(tmp_path / "c.tsv", ROW, ROW | {"case": "bad", column: cell})
    with pytest.raises(BadInputError) as caught:
        read_candidates(path)
    assert (caught.value.code, caught.value.field) == ("bad_candidates", f"line 3, column {column}")


def test_nothing_sampled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="empty_table"):
        read_candidates(write(tmp_path / "c.tsv", ROW | {"sampled": ""}))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_candidates(write(tmp_path / "c.tsv", ROW, leave_out=column))
    assert caught.value.field == column
