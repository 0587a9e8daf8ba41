"""Files against the bucket and the index: every transfer syntax, cut anywhere."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lcsd.errors import WorkError
from lcsd.fetch.plan import Entry
from lcsd.fetch.transfer import RemoteObject
from lcsd.fetch.verify import Damage, damaged_files, read_checksums, verify_series, whole_files, write_checksums
from tests.unit.fetch.dicom import PATIENT, SYNTAXES, image_bytes

UID = "1.2.840.99.7"


def put(folder: Path, *bodies: bytes) -> tuple[Entry, list[RemoteObject]]:
    """Write files; return the entry and the objects that they are."""
    objects = []
    for number, body in enumerate(bodies, 1):
        (folder / f"{number}.dcm").write_bytes(body)
        md5 = hashlib.md5(body).hexdigest()  # noqa: S324
        objects.append(RemoteObject(f"{number}.dcm", len(body), md5))
    size = sum(map(len, bodies))
    return Entry(UID, PATIENT, "CT", len(bodies), size, "bucket", "prefix"), objects


def refusal(folder: Path, *bodies: bytes) -> str:
    with pytest.raises(Damage) as caught:
        verify_series(folder, *put(folder, *bodies))
    assert PATIENT not in caught.value.error.message
    return caught.value.error.code


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_whole_files_pass_and_cut_ones_do_not(tmp_path: Path, syntax: str) -> None:
    body = image_bytes(UID, 1, syntax=syntax)
    hashes = verify_series(tmp_path, *put(tmp_path, body, image_bytes(UID, 2, syntax=syntax)))
    assert hashes["1.dcm"] == hashlib.sha256(body).hexdigest()
    for length in (len(body) - 2, len(body) // 2, 900, 500, 300, 200, 132, 100, 1, 0):
        assert refusal(tmp_path, body[:length]) == "truncated_object", length


def test_any_broken_byte_is_an_error_of_the_file_or_none(tmp_path: Path) -> None:
    good = image_bytes(UID, 1)[:2000]
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        body = bytearray(good)
        for place in generator.integers(128, 900, 3):
            body[place] = generator.integers(256)
        try:
            verify_series(tmp_path, *put(tmp_path, bytes(body)))
        except Damage:
            refused += 1
    assert refused > 290  # the file is cut, too; its size and MD5 show that as well


def test_what_follows_the_pixels_does_no_harm(tmp_path: Path) -> None:
    body = image_bytes(UID, 1) + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0"
    assert verify_series(tmp_path, *put(tmp_path, body))


def test_other_objects_need_no_pixels(tmp_path: Path) -> None:
    body = image_bytes(UID, 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", PixelData=None)
    report = pydicom.dcmread(BytesIO(body))
    for name in ("PixelData", "Rows", "Columns"):
        del report[name]
    buffer = BytesIO()
    report.save_as(buffer)
    assert verify_series(tmp_path, *put(tmp_path, buffer.getvalue()))


@pytest.mark.parametrize(
    "changed", [{"SeriesInstanceUID": "1.2"}, {"PatientID": "x"}, {"Modality": "MR"}, {"PatientID": None}]
)
def test_foreign_headers(tmp_path: Path, changed: dict[str, str | None]) -> None:
    assert refusal(tmp_path, image_bytes(UID, 1), image_bytes(UID, 2, **changed)) == "wrong_series"


def test_one_image_twice(tmp_path: Path) -> None:
    assert refusal(tmp_path, image_bytes(UID, 1), image_bytes(UID, 1)) == "duplicate_instance"
    assert refusal(tmp_path, image_bytes(UID, 1, SOPInstanceUID=None)) == "truncated_object"


def test_files_that_are_not_the_buckets(tmp_path: Path) -> None:
    entry, objects = put(tmp_path, image_bytes(UID, 1), image_bytes(UID, 2), image_bytes(UID, 3))
    first = (tmp_path / "1.dcm").read_bytes()
    (tmp_path / "1.dcm").write_bytes(first[:-1] + bytes([first[-1] ^ 1]))
    (tmp_path / "2.dcm").write_bytes(first[:-2])
    assert whole_files(tmp_path, objects) == {"3.dcm"}
    with pytest.raises(Damage) as caught:
        verify_series(tmp_path, entry, objects)
    assert caught.value.name == "1.dcm"
    assert isinstance(caught.value.error, WorkError)
    assert caught.value.error.code == "transfer_incomplete"
    # An object uploaded in parts has no MD5: its size is what is known.
    parted = [RemoteObject(part.name, part.size, None) for part in objects]
    assert whole_files(tmp_path, parted) == {"1.dcm", "3.dcm"}
    (tmp_path / "3.dcm").rename(tmp_path / "elsewhere")
    (tmp_path / "3.dcm").symlink_to(tmp_path / "elsewhere")
    assert whole_files(tmp_path, objects) == set()


def test_checksums_are_read_back_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "1.2.sha256"
    folder = tmp_path / "1.2"
    folder.mkdir()
    (folder / "b").write_bytes(b"b")
    hashes = {"b": hashlib.sha256(b"b").hexdigest(), "a": "00"}
    write_checksums(path, "1.2", hashes)
    assert path.read_text().splitlines() == ["00  1.2/a", f"{hashes['b']}  1.2/b"]
    assert read_checksums(path, "1.2") == hashes
    assert damaged_files(folder, hashes) == ["a"]
    (folder / "b").write_bytes(b"c")
    assert damaged_files(folder, hashes) == ["a", "b"]
    for text in ("x", "00  other/a\n", "00  1.2/../a\n", "\xff"):
        path.write_text(text, encoding="utf-8")
        assert read_checksums(path, "1.2") == {}
