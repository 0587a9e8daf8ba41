"""One reader of tables: what it returns, equal to pandas' own, and every fault named by line, column and cell."""

import io
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcsd.errors import BadInputError
from lcsd.io.files import write_table
from lcsd.io.tables import check_columns, numbers, read_cases, read_entries, read_rows, read_table
from lcsd.io.text_tables import read_columns

TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=12)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fault(read: Callable[[], object]) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        read()
    assert caught.value.file is not None
    assert "\n" not in caught.value.message
    return caught.value


def test_texts_stay_texts_with_their_zeros_and_the_apostrophe_of_a_formula_is_undone(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "a\tb\n0012\t'=1+1\n1e3\t'quoted\n")
    first, second = read_rows(path)
    assert first == {"a": "0012", "b": "=1+1"}
    assert second == {"a": "1e3", "b": "'quoted"}
    assert read_table(path, ("a",), {}, separator="\t")["a"].tolist() == ["0012", "1e3"]


@pytest.mark.slow
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_what_was_written_is_read_back(rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("t")
    for name, separator in (("t.tsv", "\t"), ("t.csv", ",")):
        write_table(folder / name, ("a", "b"), [{"a": a, "b": b} for a, b in rows])
        assert [(row["a"], row["b"]) for row in read_rows(folder / name, separator=separator)] == rows


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_numbers_are_those_of_pandas_and_python(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = "".join(f"{value!r},{value:.4f}\n" for value in values)
    path = write(tmp_path_factory.mktemp("t") / "t.csv", "x,y\n" + text)
    found = numbers(read_table(path, ("x", "y"), {"x": "float64", "y": "float64"}), ("x", "y"))
    assert found[:, 0].tolist() == values
    assert found.flags.c_contiguous
    assert found.flags.writeable
    frame = pd.read_csv(io.StringIO(text), names=["x", "y"])
    np.testing.assert_allclose(found, frame.to_numpy(float), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_know_their_line_after_a_mark_blank_lines_and_quoted_line_breaks(tmp_path: Path, end: str) -> None:
    text = '\ufeff\na\tb\n1\t"x\ny"\n\n2\t\n'.replace("\n", end)
    path = write(tmp_path / "t.tsv", text)
    rows = read_rows(path)
    assert rows == [{"a": "1", "b": "x\ny"}, {"a": "2", "b": ""}]
    assert [row.line for row in rows] == [3, 6]
    assert read_table(path, ("a",), {"a": "float64"}, separator="\t").index.tolist() == [3, 6]


@pytest.mark.parametrize("separated", ["case,role\n1,test\n", "case    role\n1    test\n", "case;role\n"])
def test_other_separators_are_named(tmp_path: Path, separated: str) -> None:
    path = write(tmp_path / "t.tsv", separated.encode())
    error = fault(lambda: read_rows(path, ("case", "role")))
    assert (error.code, error.field) == ("missing_column", "line 1")
    assert "single tabs" in error.message


@pytest.mark.parametrize(
    ("content", "code", "field", "found"),
    [
        (b"", "truncated_file", None, None),
        (b"\n \n", "missing_column", "a", " "),
        (b"\n\n", "bad_table", None, None),
        (b"a\tb\n1\t2\n1\t\0\n", "bad_table", "line 3", "a NUL byte"),
        (b"a\tb\n1\t\xe9\n", "bad_table", "line 2", "invalid continuation byte"),
        ("a\tb\n1\t2\n".encode("utf-16"), "bad_table", "line 1", "a NUL byte"),
        (b'a\tb\n1\t"2\n3\t4\n', "bad_table", "line 2", None),
        (b'a\tb\n1\t"2"3\n', "bad_table", "line 2", None),
        (b"a\tb\n1\t" + b"9" * 200_000, "bad_table", "line 2", None),
        (b"b\tc\n1\t2\n", "missing_column", "a", "b, c"),
        (b"a\tb\ta\n1\t2\t3\n", "duplicate_column", "a", "a, b, a"),
        (b"a\tb\n1\t2\n\n1\n", "bad_row", "line 4", "1"),
        (b"a\tb\n1\t2\t3\n", "bad_row", "line 2", "3"),
    ],
    ids=lambda value: value[:12].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_what_is_no_table_is_named(
    tmp_path: Path, content: bytes, code: str, field: str | None, found: str | None
) -> None:
    path = write(tmp_path / "t.tsv", content)
    for read in (lambda: read_rows(path, ("a",)), lambda: read_table(path, ("a",), {}, separator="\t")):
        error = fault(read)
        assert (error.code, error.field) == (code, field)
        assert found is None or error.found == found


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert fault(lambda: read_rows(tmp_path / "absent")).code == "missing_file"
    assert fault(lambda: read_table(tmp_path, (), {})).code == "not_a_file"


def test_a_column_that_is_spelled_otherwise_is_suggested(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "fixd_x,y\n1,2\n")
    error = fault(lambda: read_table(path, ("fixed_x",), {}))
    assert (error.found, error.remedy) == ("fixd_x, y", "did you mean fixd_x?")
    error = fault(lambda: check_columns(["case", "colour"], path, known={"case", "color"}))
    assert (error.code, error.field, error.remedy) == ("unknown_column", "colour", "did you mean color?")


def test_a_table_of_numbers_may_lack_optional_columns_but_not_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,name\n")
    assert fault(lambda: read_table(path, ("x",), {"x": "float64"})).code == "empty_table"
    table = read_table(path, ("x",), {"x": "float64", "absent": "UInt64"}, allow_empty=True)
    assert table.columns.tolist() == ["x", "name"]
    assert numbers(table, ["x"]).shape == (0, 1)


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [
        *(("float64", cell) for cell in ("", "nan", "-inf", "1e999", "three", "1,5", "'-5")),
        *(("Float64", cell) for cell in ("nan", "inf", "x")),
        *(("UInt64", cell) for cell in ("-1", "1.0", "1e3", "nan", "²")),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, dtype: str, cell: str) -> None:
    path = write(tmp_path / "t.tsv", f"n\tx\na\t1\nb\t{cell}\nc\t?\n")
    error = fault(lambda: read_table(path, ("x",), {"x": dtype}, separator="\t"))  # type: ignore[dict-item]
    assert (error.code, error.field, error.found) == ("bad_number", "line 3, column x", repr(cell))


def test_cells_may_be_empty_where_the_dtype_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,n\n1.5,3\n,\n -2 ,18446744073709551615\n")
    table = read_table(path, ("x", "n"), {"x": "Float64", "n": "UInt64"})
    np.testing.assert_array_equal(numbers(table, ["x"])[:, 0], [1.5, math.nan, -2])
    assert table["n"].isna().tolist() == [False, True, False]
    assert table["n"].iloc[2] == 2**64 - 1


@pytest.mark.parametrize(
    ("rows", "field"),
    [("a\nA\n", "line 3, column case"), ("../a\n", "line 2, column case"), ('a\n\n""\n', "line 4, column case")],
)
def test_cases_are_unique_names(tmp_path: Path, rows: str, field: str) -> None:
    error = fault(lambda: read_cases(write(tmp_path / "t.tsv", "case\n" + rows)))
    assert (error.code, error.field) == ("bad_case", field)


@pytest.mark.parametrize(
    ("text", "columns", "cells"),
    [
        ("1 2\t3\n4  5 6\n", [0, 1, 2], [["1", "2", "3"], ["4", "5", "6"]]),
        ("# x y\n\n1 2 # here\n", [0, 1], [["1", "2"]]),
        ("X, y\n 1, 2\n", ["X", "y"], [["1", "2"]]),
        (',x\na #1,"2"\n', ["", "x"], [["a #1", "2"]]),
        ("nan 1\n", [0, 1], [["nan", "1"]]),
        ("a 1\n", [0, 1], [["a", "1"]]),
    ],
)
def test_tables_of_other_programs(tmp_path: Path, text: str, columns: list[str | int], cells: list[list[str]]) -> None:
    table = read_columns(write(tmp_path / "t.txt", text))
    assert table.columns.tolist() == columns
    assert table.to_numpy().tolist() == cells


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("# nothing\n", "empty_table", None),
        ("x,y,z\n", "empty_table", None),
        ("1 2\n\n3\n", "bad_row", "line 3"),
        ("x,y,X\n1,2,3\n", "duplicate_column", "x"),
        ('1,"2\n', "bad_table", "line 1"),
    ],
)
def test_broken_tables_of_other_programs_are_named(tmp_path: Path, text: str, code: str, field: str | None) -> None:
    error = fault(lambda: read_columns(write(tmp_path / "t.txt", text)))
    assert (error.code, error.field) == (code, field)


def test_lists_have_one_entry_per_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "\ufeff# mine\r\n\r\n a \r\n#b\r\nc d")
    assert read_entries(path) == [(3, "a"), (5, "c d")]


def test_rows_are_read_without_numpy_and_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "case\na\n")
    code = (
        "import sys; from pathlib import Path; from lcsd.io.tables import read_cases;"
        f"read_cases(Path({str(path)!r})); print(*{{'numpy', 'pandas'}} & {{*sys.modules}})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
