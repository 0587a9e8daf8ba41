"""The search for identifiers: where it must look, and what it must not take for one."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.io.files import write_table
from lcsd.release.identifiers import ARRAY_TEXT, Identifiers, identifiers_of
from lcsd.release.release import write_release
from lcsd.release.vtp import decoded_arrays, write_vtp
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import PATIENTS, make_build, read_rows

UID = "1.2.840.113654.2.55.204816"
KNOWN = Identifiers([("204816", "patient_id"), ("Müller-77", "patient_id"), (UID, "series")])


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def vtp(folder: Path, values: np.ndarray) -> bytes:
    write_vtp(folder / "a.vtp", np.zeros((len(values), 3), np.float32), {"label": values})
    return (folder / "a.vtp").read_bytes()


def text_array(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).copy()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"case 204816, T0"),
        ("a.txt", b"/x/204816.nii.gz"),
        ("a.txt", b"id_204816_x"),
        ("labelsTr/204816.csv", b""),
        ("a.nii.gz", gzip.compress(b"\0\0 from 204816 \0\0")),
        ("a.npz", npz(meta=np.array('{"patient": "204816"}'))),
        ("a.npz", npz(meta=np.array(b"204816"))),
        ("a.npz", npz(**{"p 204816": np.zeros(2)})),
        ("a.bin", "patient 204816".encode("utf-16-le")),
        ("a.txt", f"{UID}.7".encode()),
        ("a.txt", "MÜLLER-77".lower().encode()),
        ("a.txt", "MÜLLER-77".encode()),
        ("a.json", json.dumps({"of": "Müller-77"}).encode()),
        ("a.txt", "of Müller-77".encode("latin-1")),
        ("a.txt", "of Mu\u0308ller-77".encode()),
    ],
    ids=[
        "word",
        "path",
        "underscores",
        "file name",
        "gzip",
        "numpy text",
        "numpy bytes",
        "name in an archive",
        "two bytes a character",
        "UID of an instance",
        "not ASCII",
        "not ASCII, upper case",
        "not ASCII, JSON",
        "not ASCII, Latin-1",
        "not ASCII, two code points",
    ],
)
def test_identifiers_are_found_wherever_they_stand(name: str, content: bytes) -> None:
    assert KNOWN.find(name, content)


def test_identifiers_are_found_in_arrays_for_viewers(tmp_path: Path) -> None:
    assert KNOWN.find("a.vtp", vtp(tmp_path, text_array("seen: 204816.")))
    assert not KNOWN.find("a.vtp", vtp(tmp_path, text_array("seen: 2048160")))


@pytest.mark.parametrize(
    "text", ["1204816", "204816a", "0.204816", "204816.5", "a204816", "20481 6", "lcsd_0001", "1.2.3.4"]
)
def test_other_numbers_are_no_identifiers(text: str) -> None:
    assert KNOWN.find("a.txt", text.encode()) == []


def test_stated_figures_are_no_identifiers() -> None:
    assert KNOWN.find("a.txt", b"points 204816")
    assert KNOWN.find("a.txt", b"points 204816", figures=(204816,)) == []


def test_uids_and_home_folders_need_no_table() -> None:
    nothing = Identifiers([])
    assert [f.kind for f in nothing.find("a", b"series 1.3.6.1.4.1.14519.5")] == ["a DICOM UID"]
    assert [f.kind for f in nothing.find("a", b"/home/anna/x")] == ["a home folder"]
    assert nothing.find("a", b"lcsd 1.2.3, 10.7937/TCIA.HMQ8-J677") == []


def test_headers_of_packed_files_are_searched_but_not_compressed_bytes() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("204816.nii", "wb", fileobj=buffer) as packed:
        packed.write(b"x")
    assert KNOWN.find("a.nii.gz", buffer.getvalue())
    chance = gzip.compress(np.random.default_rng(0).bytes(4000), compresslevel=0)
    assert KNOWN.find("a.nii.gz", chance) == []
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = b"of 204816"
    assert KNOWN.find("a.npz", buffer.getvalue())


def test_compressed_text_of_viewers_is_left_out(tmp_path: Path) -> None:
    content = vtp(tmp_path, np.zeros(9, np.uint8))
    inside = content.replace(b"</DataArray>", b"+204816+</DataArray>", 1)
    assert ARRAY_TEXT.sub(b"", inside) == ARRAY_TEXT.sub(b"", content)
    assert KNOWN.find("a.vtp", content.replace(b"PolyData", b"PolyData-204816", 1))


def test_a_ramp_of_integers_is_no_text(tmp_path: Path) -> None:
    """Cells of a viewer's file count up, which looks like dots and digits in some bytes."""
    write_vtp(tmp_path / "a.vtp", np.zeros((20_000, 3), np.float32), {})
    assert Identifiers([]).find("a.vtp", (tmp_path / "a.vtp").read_bytes()) == []


def test_findings_never_hold_the_identifier() -> None:
    (found,) = KNOWN.find("a.txt", b"204816")
    assert (found.file, found.kind) == ("a.txt", "patient_id")


def test_short_and_published_names_are_not_searched() -> None:
    few = Identifiers(
        [("p1", "patient_id"), ("lcsd_0003", "case"), ("T0", "fixed_time"), ("dense", "case")], harmless=("Dense",)
    )
    assert (few.count, few.too_short) == (0, 1)


def test_identifiers_come_from_all_tables_and_folders(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path)
    (results / "cohort").mkdir()
    (results / "cohort" / "candidates.tsv").write_text(
        "case\tpatient_id\tsampled\tfixed_segmentation\nnlst_9\t888777\ttrain\tseg-4711\n"
    )
    (results / "cohort" / "kernels.tsv").write_text("maker\tseries\nGE\t26254\n")
    (results / "series" / "99.8877.6").mkdir(parents=True)
    (results / "cases" / "hidden-case").mkdir()
    known = identifiers_of(results, manifest)
    secrets = [*PATIENTS.values(), "888777", "seg-4711", "hidden-case", "99.8877.6", str(results)]
    secrets.remove(PATIENTS["bad"])  # not in this manifest
    for secret in secrets:
        assert known.find("a.txt", f"x {secret} y".encode()), secret
    assert known.find("a.txt", b"training train T0 sampled 26254") == []


def test_names_and_texts_of_our_own_are_no_identifiers() -> None:
    texts = [("0001", "patient_id"), ("0000", "patient_id"), ("2013", "patient_id")]
    known = Identifiers(texts, constants=["Großbröhmer et al., 2013."])
    for content in (
        "lcsd_0001, ./labelsTr/lcsd_0001_0000.nii.gz; `0001` is the follow-up",
        "See Großbröhmer et al., 2013.",
        json.dumps("See Großbröhmer et al., 2013."),
    ):
        assert known.find("labelsTr/lcsd_0001_0000.nii.gz.txt", content.encode()) == []
    for content in ("of 0001", "lcsd_0002_0001_0000", "x_lcsd_0003_0001 0001", "in 2013."):
        assert known.find("a.txt", content.encode()), content


@pytest.mark.slow
def test_patients_numbered_as_our_own_names_stop_no_release(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2", "c3"))
    rows = read_rows(manifest)
    for row, patient in zip(rows, ("0001", "2013", "0000"), strict=True):
        row["patient_id"] = patient
    write_table(manifest, tuple(rows[0]), rows)
    settings = ReleaseSettings(archive=False, viewer=False, source="nlst")
    write_release(results, manifest, tmp_path / "out", settings)
    titled = settings.model_copy(update={"title": "Lungs of 2013"})
    with pytest.raises(BadInputError, match="line 3 of the manifest") as caught:
        write_release(results, manifest, tmp_path / "titled", titled)
    assert "2013" not in caught.value.message


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ("smith7.nii.gz", "smith7"),
        ("smith7.x.dcm.zip", "smith7"),
        ("a/smith7.ct.nii", "smith7"),
        ("data/ct204816x/a.nii", "204816"),
        ("scan_20230506b.nii", "20230506"),
    ],
)
def test_stems_and_long_numbers_of_file_names_are_identifiers(tmp_path: Path, source: str, secret: str) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    rows = read_rows(manifest)
    rows[0]["fixed_source"] = source
    write_table(manifest, tuple(rows[0]), rows)
    assert identifiers_of(results, manifest).find("a.txt", f"x {secret} y".encode())


@pytest.mark.parametrize("cell", ['"nlst_9', '"nlst_9\t1"x', '"nlst_9\nnlst_8"'])
def test_a_stray_quotation_mark_hides_no_rows(tmp_path: Path, cell: str) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    (results / "cohort").mkdir()
    table = results / "cohort" / "candidates.tsv"
    table.write_text(f"case\tpatient_id\n{cell}\t888777\nnlst_7\t888666\n")
    with pytest.raises(BadInputError, match="bad_table"):
        identifiers_of(results, manifest)


def test_years_and_words_for_times_are_no_identifiers(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    rows = read_rows(manifest)
    rows[0] |= {
        "fixed_source": "data/2023/visit-20230506/a.nii.gz",
        "fixed_time": "baseline",
        "moving_time": "2023-05-06",
    }
    write_table(manifest, tuple(rows[0]), rows)
    known = identifiers_of(results, manifest)
    assert known.find("a.txt", b"baseline and follow-up, ICCV 2023.") == []
    assert known.find("a.txt", b"on 2023-05-06")
    assert known.find("a.txt", b"x visit-20230506 y")


def test_arrays_for_viewers_are_decoded_whole(tmp_path: Path) -> None:
    """Across several blocks of compression."""
    points = np.arange(30_000, dtype=np.float32).reshape(-1, 3)
    write_vtp(tmp_path / "a.vtp", points, {})
    parts = list(decoded_arrays((tmp_path / "a.vtp").read_bytes()))
    assert parts[0] == points.tobytes()
    assert parts[1] == np.arange(10_000, dtype=np.int32).tobytes()
