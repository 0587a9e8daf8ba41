"""Lists of series: every format, every UID once, nothing that is no UID."""

from pathlib import Path

import pytest

from lcsd.errors import BadInputError
from lcsd.fetch.lists import collect, read_list
from lcsd.names import is_uid

TCIA = """downloadServerUrl=https://nlst.cancerimagingarchive.net/nbia-download/servlet/DownloadServlet
includeAnnotation=true
noOfrRetry=4
databasketId=manifest-NLST_allCT.tcia
manifestVersion=3.0
ListOfSeriesToDownload=
1.2.3
1.2.4

1.2.3
"""

CANDIDATES = (
    "patient_id\tsampled\tfixed_series\tmoving_series\np1\ttrain\t1.1\t1.2\np2\t\t2.1\t2.2\np3\ttest_pool\t3.1\t3.2\n"
)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", ["m.tcia", "m.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_manifest_of_tcia(tmp_path: Path, name: str, end: str) -> None:
    assert read_list(write(tmp_path / name, TCIA.replace("\n", end))) == ["1.2.3", "1.2.4", "1.2.3"]


def test_text_with_comments(tmp_path: Path) -> None:
    path = write(tmp_path / "list", "\ufeff# mine\n\n 1.2.3 \n1.2.4\n")
    assert read_list(path) == ["1.2.3", "1.2.4"]


def test_tables(tmp_path: Path) -> None:
    candidates = write(tmp_path / "candidates.tsv", CANDIDATES)
    assert read_list(candidates) == ["1.1", "1.2", "2.1", "2.2", "3.1", "3.2"]
    assert read_list(candidates, sampled=True) == ["1.1", "1.2", "3.1", "3.2"]
    table = write(tmp_path / "t.csv", "Modality,SeriesInstanceUID\nCT,1.5\n")
    assert read_list(table) == ["1.5"]
    pairs = write(
        tmp_path / "pairs.tsv", "case\tfixed_source\tmoving_source\na\t1.2.3\tscans/b.nii.gz\nb\t../c\t1.2.4\n"
    )
    assert read_list(pairs) == ["1.2.3", "1.2.4"]


def test_everything_once_in_order(tmp_path: Path) -> None:
    lists = [write(tmp_path / "a.txt", "1.9\n1.2\n"), write(tmp_path / "m.tcia", TCIA)]
    assert collect([" 1.2 "], lists) == ["1.2", "1.9", "1.2.3", "1.2.4"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "1.2\n../1.2\n", "line 2: not a SeriesInstanceUID"),
        ("a.txt", "1.2;rm\n", "[bad_identifier]"),
        ("a.txt", "# nothing\n", "[empty_table]"),
        ("a.tcia", "1.2.3\n", "[bad_list]"),
        ("a.tcia", "ListOfSeriesToDownload=\n", "[empty_table]"),
        ("a.tsv", "a\tb\n1.2\t1.3\n", "[missing_column]"),
        ("a.tsv", "fixed_series\tmoving_series\n1.1\t\n", "line 2: not a SeriesInstanceUID"),
        ("a.tsv", "fixed_source\nscan.nii\n", "[empty_table]"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_list(write(tmp_path / name, text))
    assert expected in caught.value.message
    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_sampled_needs_its_column(tmp_path: Path) -> None:
    for name, text in (("a.tsv", "fixed_series\n1.2\n"), ("a.txt", "1.2\n")):
        with pytest.raises(BadInputError, match="sampled"):
            read_list(write(tmp_path / name, text), sampled=True)


def test_what_a_uid_is() -> None:
    assert is_uid("1.2.840.113654.2.55.122344168497038128022524906545138736420")
    assert is_uid("1" * 64)
    for text in ("1" * 65, "1..2", ".1", "1.", "1.2\n", "1.a", "", "..", "\uff11.2"):
        assert not is_uid(text), text
