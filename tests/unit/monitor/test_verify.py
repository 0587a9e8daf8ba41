"""Every flipped bit, missing and extra file of a release or a build is found."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

from lcsd.build.jobs import METHODS
from lcsd.build.provenance import Recorder
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.io.files import read_json, write_json
from lcsd.monitor.verify import verify
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit import made_up_cases
from tests.unit.release.made_up import make_build


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with a release in it."""
    folder = tmp_path_factory.mktemp("made")
    results, manifest = make_build(folder, ("a1", "c3"))
    write_release(results, manifest, results / "release", ReleaseSettings(images=True))
    return results


def copied(source: Path, to: Path) -> Path:
    shutil.copytree(source, to)
    return to


def kinds(folder: Path) -> dict[str, str]:
    return {found.file: found.kind for found in verify(folder).differences}


def flip(path: Path, *, byte: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte % len(content)] ^= 1 << bit
    path.write_bytes(content)


def one_of_each_kind(folder: Path) -> list[str]:
    """Return a file of each folder and of each suffix."""
    chosen: dict[tuple[str, str], str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            chosen[path.parent.name, "".join(path.suffixes)] = str(path.relative_to(folder))
    return list(chosen.values())


def test_untouched_folders_have_no_differences(made: Path) -> None:
    release, build = verify(made / "release"), verify(made)
    assert (release.what, release.differences) == ("release", ())
    assert (build.what, build.differences) == ("build", ())
    assert release.files == sum(p.is_file() for p in (made / "release").rglob("*")) - 1
    assert build.size_bytes > 0


def test_a_flipped_bit_is_found_in_each_kind_of_file(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "release", tmp_path / "release")
    names = one_of_each_kind(folder)
    assert len(names) > 20
    for place, name in enumerate(names):
        before = (folder / name).read_bytes()
        flip(folder / name, byte=7 * place + 3, bit=place % 8)
        if name != "SHA256SUMS":
            assert kinds(folder) == {name: "changed"}
        (folder / name).write_bytes(before)
    assert kinds(folder) == {}


def test_any_flipped_bit_of_the_list_itself_is_found(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "release", tmp_path / "release")
    path = folder / "SHA256SUMS"
    before = path.read_bytes()
    lines = before.split(b"\n")
    places = [0, 63, 64, 65, 66, len(lines[0]) - 1, len(lines[0]), len(before) - 1]
    for byte in places:
        for bit in range(8):
            flip(path, byte=byte, bit=bit)
            try:
                assert kinds(folder), (byte, bit)
            except BadInputError as error:
                assert error.code in ("bad_checksums", "truncated_file")  # noqa: PT017
            path.write_bytes(before)
    for broken in (b"", before[:-30], before + lines[0] + b"\n", b"0" * 64 + b"  ../a\n"):
        path.write_bytes(broken)
        with pytest.raises(BadInputError):
            verify(folder)


def test_a_flipped_bit_is_found_in_each_kind_of_file_of_a_build(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "results")
    names = [n for n in one_of_each_kind(folder) if n.startswith(("cases", "cohort"))]
    assert {Path(name).suffix for name in names} == {".gz", ".json", ".npz", ".csv", ".tfm", ".tsv"}
    for place, name in enumerate(names):
        before = (folder / name).read_bytes()
        flip(folder / name, byte=11 * place + 5, bit=place % 7)
        assert kinds(folder).get(name) == "changed", name
        (folder / name).write_bytes(before)
    assert kinds(folder) == {}


def test_missing_and_extra_files_are_found(made: Path, tmp_path: Path) -> None:
    for source, gone in ((made / "release", "dataset.json"), (made, "cases/a1/images/rigid.tfm")):
        folder = copied(source, tmp_path / source.name)
        (folder / gone).unlink()
        stray = Path(gone).parent / "stray.txt"
        (folder / stray).write_text("x")
        assert kinds(folder) == {gone: "missing", str(stray): "extra"}


def test_a_link_in_place_of_a_file_is_no_file(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "release", tmp_path / "release")
    (folder / "LICENSE").rename(tmp_path / "LICENSE")
    (folder / "LICENSE").symlink_to(tmp_path / "LICENSE")
    assert kinds(folder) == {"LICENSE": "missing"}


def test_what_was_made_from_another_file_is_outdated(made: Path, tmp_path: Path) -> None:
    """The scan was made again, the correspondences were not; the build was moved."""
    folder = copied(made, tmp_path / "moved")
    case = folder / "cases" / "a1"
    record = read_json(case / "vessels" / "fixed.provenance.json")
    assert "../images/fixed.nii.gz" in record["outputs"]
    flip(case / "images" / "fixed.nii.gz", byte=600, bit=1)
    written = [case / "vessels" / name for name in record["outputs"]]
    Recorder("vessels", {}, written=written).write(case / "vessels" / "fixed.nii.gz", inputs={})
    assert kinds(folder) == {"cases/a1/correspondences/correspondences.csv": "outdated"}


def test_files_given_from_another_build_are_not_outdated(made: Path, tmp_path: Path) -> None:
    """They end as files of this build do, and need not be equal to them."""
    folder = copied(made, tmp_path / "results")
    output = folder / "cases" / "a1" / "correspondences" / "correspondences.csv"
    other = tmp_path / "other" / "cases" / "a1"
    inputs = {"source": other / "correspondences" / "correspondences.csv"}
    inputs |= {"given": other / "images" / "fixed.nii.gz"}
    for path in inputs.values():
        path.parent.mkdir(parents=True)
        path.write_text("another")
    Recorder("correspond", {}, written=[output]).write(output, inputs=inputs)
    assert kinds(folder) == {}
    Recorder("correspond", {}, written=[output]).write(output, inputs={"x": inputs["given"]})
    assert set(kinds(folder).values()) == {"outdated"}


def test_what_snakemake_removed_of_a_case_set_aside_is_not_missing(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "results")
    case = folder / "cases" / "a1"
    (case / "vessels" / "fixed.nii.gz").unlink()
    (case / "vessels" / "moving.nii.gz").unlink()
    gone = {f"cases/a1/vessels/{scan}.nii.gz": "missing" for scan in ("fixed", "moving")}
    assert kinds(folder) == gone
    write_json(case / "rejected.json", {"code": "empty_vessels"})
    assert kinds(folder) == {}
    flip(case / "correspondences" / "correspondences.csv", byte=9, bit=1)
    assert set(kinds(folder).values()) == {"changed"}


def test_an_input_that_is_gone_with_its_provenance_is_missing(made: Path, tmp_path: Path) -> None:
    """Nothing else says that there were vessels."""
    folder = copied(made, tmp_path / "results")
    case = folder / "cases" / "a1"
    name = "cases/a1/vessels/fixed.nii.gz"
    output = case / "correspondences" / "correspondences.csv"
    inputs = {"vessels": folder / name, "landmarks": tmp_path / "my" / "cases" / "a1" / "marks.csv"}
    inputs["landmarks"].parent.mkdir(parents=True)
    inputs["landmarks"].write_text("x")
    Recorder("correspond", {}, written=[output]).write(output, inputs=inputs)
    assert kinds(folder) == {}
    shutil.rmtree(case / "vessels")
    assert kinds(folder)[name] == "missing"
    assert "cases/a1/marks.csv" not in kinds(folder)


def test_only_the_rejection_of_a_case_needs_no_provenance(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "results")
    strays = ("cases/a1/my_rejected.json", "cases/a1/images/rejected.json", "cohort/rejected.json")
    for name in strays:
        write_json(folder / name, {})
    assert kinds(folder) == dict.fromkeys(strays, "extra")


def test_other_bytes_of_the_same_meaning_are_found(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "results")
    output = folder / "cases" / "a1" / "correspondences" / "correspondences.csv"
    Recorder("correspond", {"step": 1e-8}, written=[output]).write(output, inputs={})
    path = output.with_name("correspondences.provenance.json")
    assert kinds(folder) == {}
    path.write_text(path.read_text().replace("1e-08", "1E-08"))
    assert kinds(folder)[str(path.relative_to(folder))] == "changed"


def test_provenance_of_older_versions_is_named(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "results")
    path = folder / "cases" / "a1" / "correspondences" / "correspondences.provenance.json"
    record = read_json(path)
    del record["record_sha256"]
    write_json(path, record)
    (found, *_) = [d for d in verify(folder).differences if d.file.endswith(path.name)]
    assert "older version" in found.why


def test_rejections_and_logs_of_a_build_are_left_out(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "results")
    write_json(folder / "cases" / "a1" / "rejected.json", {"code": "not_hu"})
    (folder / "logs").mkdir()
    (folder / "logs" / "select.log").write_text("x")
    assert kinds(folder) == {}


@pytest.mark.slow
def test_the_report_of_a_build_is_verified(made: Path, tmp_path: Path) -> None:
    """Each of its files but the one that Snakemake makes; a kept page is one of them."""
    folder = copied(made, tmp_path / "results")
    report = folder / "report"
    command = ["report", str(folder), "--views", "1", "--pages"]
    assert CliRunner().invoke(main, [*command, "1"]).exit_code == 0
    pages = {path: path.stat().st_mtime_ns for path in (report / "cases").glob("*.html")}
    assert CliRunner().invoke(main, [*command, "0"]).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in pages} == pages != {}
    (report / "complete").touch()
    assert kinds(folder) == {}
    names = [f"report/{name}" for name in one_of_each_kind(report) if name != "complete"]
    assert {Path(name).suffix for name in names} >= {".html", ".csv", ".tsv", ".jpg", ".json"}
    for place, name in enumerate(names):
        before = (folder / name).read_bytes()
        flip(folder / name, byte=13 * place + 2, bit=place % 7)
        assert kinds(folder).get(name) == "changed", name
        (folder / name).unlink()
        if not name.endswith(".provenance.json"):
            assert kinds(folder) == {name: "missing"}
        (folder / name).write_bytes(before)
    (report / "cases" / "foreign.html").write_text("x")
    assert kinds(folder) == {"report/cases/foreign.html": "extra"}


def test_a_stage_that_is_gone_as_a_whole_is_missed_by_the_manifest(tmp_path: Path) -> None:
    """Nothing else says that it was to be there."""
    with mock.patch("lcsd.build.provenance._versions", return_value={}):
        build = made_up_cases.make_build(tmp_path)
        for case in ("a", "b"):
            made_up_cases.make_case(build, case)
    folder, manifest = Path(build.results), Path(build.manifest)
    assert verify(folder, manifest=manifest).differences == ()
    shutil.rmtree(folder / "cases" / "b" / "evaluation")
    for case in ("a", "b"):
        (folder / "cases" / case / "gates.json").unlink()
        (folder / "cases" / case / "gates.provenance.json").unlink()
    assert kinds(folder) == {}
    lacks = {found.file: found.why for found in verify(folder, manifest=manifest).differences}
    assert set(lacks) == {
        "cases/a/gates.json",
        "cases/b/gates.json",
        *(f"cases/b/evaluation/{m}{end}" for m in METHODS for end in (".json", "_landmarks.csv")),
    }
    assert lacks["cases/a/gates.json"] == "the manifest needs it (gates)"
    write_json(folder / "cases" / "b" / "rejected.json", {"code": "landmark_outside"})
    assert len(verify(folder, manifest=manifest).differences) == 1
    code, printed, _ = run(str(folder), "--manifest", str(manifest))
    assert (code, printed.splitlines()[0].split(":")[0]) == (1, "missing")
    code, _, error = run(str(folder), "--manifest", str(tmp_path / "none.tsv"))
    assert (code, "missing_file" in error) == (2, True)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["verify", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_command_lists_differences_and_exits_with_1(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "release", tmp_path / "release")
    code, printed, _ = run(str(folder))
    assert (code, printed.split(":")[0]) == (0, "release")
    flip(folder / "cases.tsv", byte=0, bit=0)
    code, printed, bar = run(str(folder))
    assert code == 1
    assert printed.splitlines()[0].startswith("changed: cases.tsv: ")
    assert "B/s" in bar
    code, printed, _ = run(str(folder), "--json")
    assert (code, json.loads(printed)["differences"][0]["kind"]) == (1, "changed")


def test_names_of_files_cannot_drive_the_terminal(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "release", tmp_path / "release")
    sums = folder / "SHA256SUMS"
    sums.write_text(f"{sums.read_text()}{'0' * 64}  \x1b[2J\u202egood.txt\n", encoding="utf-8")
    code, printed, _ = run(str(folder))
    assert (code, printed.splitlines()[0]) == (1, "missing: [2J good.txt: the file is missing")
    assert all(line.isprintable() for line in printed.splitlines())


def test_a_release_takes_no_manifest(made: Path) -> None:
    code, printed, error = run(str(made / "release"), "--manifest", str(made / "none.tsv"))
    assert (code, printed) == (2, "")
    assert "leave the manifest out [bad_usage]" in error


def test_files_that_a_build_just_writes_are_left_out(made: Path, tmp_path: Path) -> None:
    name = ".0123456789ab.tmp.fixed.nii.gz"
    for source, expected in ((made, {}), (made / "release", {f"images/{name}": "extra"})):
        folder = copied(source, tmp_path / source.name)
        (folder / "images").mkdir(exist_ok=True)
        place = folder / "images" if expected else folder / "cases" / "a1" / "images"
        (place / name).write_bytes(b"half")
        assert kinds(folder) == expected


@pytest.mark.parametrize("look", [1, 2], ids=["while_counted", "while_compared"])
def test_a_file_that_goes_meanwhile_is_missing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    folder = copied(made, tmp_path / "results")
    gone = folder / "cases" / "a1" / "images" / "rigid.tfm"
    is_symlink, looks = Path.is_symlink, []

    def goes(path: Path) -> bool:
        if path == gone:
            looks.append(path)
            if len(looks) == look:
                gone.unlink()
        return is_symlink(path)

    monkeypatch.setattr(Path, "is_symlink", goes)
    assert kinds(folder) == {str(gone.relative_to(folder)): "missing"}
    assert len(looks) == look


def test_what_is_neither_release_nor_build_is_bad_input(tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "file"
    (empty / "cases" / "a1").mkdir(parents=True)
    file.write_text("x")
    for folder, reason in (
        (tmp_path / "none", "missing_folder"),
        (tmp_path, "not_verifiable"),
        (empty, "not_verifiable"),
        (file, "not_a_folder"),
    ):
        code, _, error = run(str(folder))
        assert code == 2
        assert reason in error
        assert "Traceback" not in error
