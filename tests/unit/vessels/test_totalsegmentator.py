"""Vessels by TotalSegmentator: what becomes of its labels (its own run: the slow tests)."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lcsd.build import rejections
from lcsd.build.pairs import REQUIRED
from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.clouds.cloud import dense_cloud
from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid
from lcsd.io.files import read_json, write_json
from lcsd.io.images import Image, read_image, write_image, write_mask
from lcsd.numerics.device import Compute
from lcsd.settings.totalsegmentator import VesselTaskSettings
from lcsd.settings.vessels import VesselsSettings
from lcsd.totalsegmentator import Segmentation
from lcsd.vessels import vessels
from lcsd.vessels.batch import read_list
from lcsd.vessels.vessels import make_vessels

GRID = Grid((20, 16, 12), (1.5, 1.5, 2.0), (10.0, -40.0, 300.0))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-in for the run: ``labels`` is what it gives; records what it is called with.

    It has no memory for a scan of zeros.
    """
    content: dict[str, Any] = {"labels": np.zeros(GRID.shape, np.uint8), "sessions": 0, "hash": "0a"}

    class Fake:
        @property
        def known_facts(self) -> dict[str, Any]:
            return {"weights": {"fold_0": content["hash"]}, "options": {"order": (1, 2)}}

        def segment(self, scan: Image, **options: Any) -> Segmentation:
            content.update(options)
            if (scan.array == 0).all():
                raise WorkError("no memory is left", code="out_of_memory")
            return Segmentation(Image(content["labels"], scan.grid), {"torch": "x", **self.known_facts}, 1.0)

    @contextlib.contextmanager
    def fake(task: object, settings: object, *, on: Compute) -> Iterator[Fake]:
        content.update(task=task, on=on, sessions=content["sessions"] + 1)
        yield Fake()

    monkeypatch.setattr(vessels, "session", fake)
    return content


def lungs() -> Image:
    mask = np.zeros(GRID.shape, bool)
    mask[2:10, 3:13, 4:16] = True
    return Image(mask, GRID)


def settings(**options: Any) -> VesselsSettings:
    return VesselsSettings(backend="totalsegmentator", totalsegmentator=VesselTaskSettings(**options))


def scan() -> Image:
    return Image(np.full(GRID.shape, -800, np.int16), GRID)


def test_legacy_vessels_are_one_label_inside_the_lungs(calls: dict[str, Any]) -> None:
    calls["labels"][4:8, 5, 0:20] = 1
    calls["labels"][4:8, 8, 4:16] = 2  # airways
    found = make_vessels(scan(), lungs(), settings(), on=Compute("cuda", 3))
    assert found.mask.array.dtype == bool
    expected = (calls["labels"] == 1) & lungs().array
    assert (found.mask.array == expected).all()
    assert found.cut_voxels == 4 * 8
    assert found.facts["torch"] == "x"
    assert (calls["on"].device, calls["on"].threads) == ("cuda", 3)
    assert calls["task"].task == "lung_vessels_LEGACY"
    # Half of the lungs' 12 x 10 x 8 voxels of 1.5 x 1.5 x 2 mm.
    assert calls["min_crop_mm"] == (9.0, 7.5, 8.0)


def test_reach_outside_the_lungs(calls: dict[str, Any]) -> None:
    calls["labels"][6, 5, 0:20] = 1
    found = make_vessels(scan(), lungs(), settings(outside_mm=3.0))
    assert np.flatnonzero(found.mask.array[6, 5]).tolist() == list(range(2, 18))
    assert found.cut_voxels == 4


def test_arteries_and_veins_become_labels_of_the_cloud(calls: dict[str, Any]) -> None:
    for row, label in enumerate((1, 2, 3, 4)):
        calls["labels"][5, 4 + row, 6:12] = label
    found = make_vessels(scan(), lungs(), settings(task="lung_vessels")).mask
    assert found.array.dtype == np.uint8
    assert np.unique(found.array).tolist() == [0, 1, 2]
    assert (found.array[5, 6, 6:12] == 1).all()
    assert (found.array[5, 7, 6:12] == 2).all()
    cloud = dense_cloud(found)
    assert cloud.label is not None
    assert cloud.label.tolist() == [1] * 6 + [2] * 6


def test_missing_labels(calls: dict[str, Any]) -> None:
    calls["labels"][5, 5, 6:12] = 3
    with pytest.raises(WorkError) as caught:
        make_vessels(scan(), lungs(), settings(task="lung_vessels"), file=Path("fixed.nii.gz"))
    assert caught.value.code == "missing_labels"
    assert "lung_veins" in caught.value.message
    calls["labels"][:] = 2
    with pytest.raises(WorkError) as caught:
        make_vessels(scan(), lungs(), settings())
    assert caught.value.code == "missing_labels"


def test_vessels_outside_only_empty_lungs_and_other_grid(calls: dict[str, Any]) -> None:
    calls["labels"][0, 0, 0] = 1
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), lungs(), settings())
    assert caught.value.code == "empty_vessels"
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), Image(np.zeros(GRID.shape, bool), GRID), settings())
    assert caught.value.code == "empty_lungs"
    moved = Grid(GRID.size, GRID.spacing, (0.0, 0.0, 0.0))
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), Image(lungs().array, moved), settings())
    assert caught.value.code == "grid_mismatch"


def test_command(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 3
    calls["labels"][5, 7, 6:12] = 4
    write_image(tmp_path / "ct.nii.gz", scan(), dtype=np.int16)
    write_mask(tmp_path / "lungs.nii.gz", lungs())
    arguments = ["vessels", str(tmp_path / "ct.nii.gz"), str(tmp_path / "v.nii.gz")]
    arguments += ["--lungs", str(tmp_path / "lungs.nii.gz")]
    chosen = ["--backend", "totalsegmentator", "--set", "totalsegmentator.task=lung_vessels"]
    run = CliRunner().invoke(main, [*arguments, *chosen, "--threads", "2", "--json"])
    assert run.exit_code == 0, run.output
    assert np.unique(read_image(tmp_path / "v.nii.gz").array).tolist() == [0, 1, 2]
    assert '"voxels": 12' in run.stdout
    assert calls["on"].threads == 2


def test_commands_without_weights_or_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "ct.nii.gz", scan(), dtype=np.int16)
    write_mask(tmp_path / "lungs.nii.gz", lungs())
    base = ["vessels", str(tmp_path / "ct.nii.gz"), str(tmp_path / "v.nii.gz")]
    base += ["--lungs", str(tmp_path / "lungs.nii.gz")]
    chosen = ["--backend", "totalsegmentator"]
    where = ["--set", f"totalsegmentator.weights={tmp_path}"]
    run = CliRunner().invoke(main, [*base, *chosen, *where])
    assert run.exit_code == 1
    assert "[weights_missing]" in run.stderr
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = CliRunner().invoke(main, [*base, *chosen, *where, "--device", "cuda"])
    assert run.exit_code == 2
    assert "[no_cuda]" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not (tmp_path / "v.nii.gz").exists()


def test_objectness_refuses_a_gpu() -> None:
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), lungs(), on=Compute("cuda"))
    assert caught.value.code == "bad_usage"


BATCH = ["--backend", "totalsegmentator", "--threads", "1", "--json"]


def write_batch(folder: Path, scans: dict[str, Image]) -> Path:
    rows = ["image\tlungs\toutput\trejected"]
    for name, image in scans.items():
        write_image(folder / f"{name}.nii.gz", image, dtype=np.int16)
        write_mask(folder / "lungs.nii.gz", lungs())
        rows.append(f"{name}.nii.gz\tlungs.nii.gz\t{name}/v.nii.gz\t{name}/rejected.json")
    (folder / "list.tsv").write_text("\n".join(rows) + "\n")
    return folder / "list.tsv"


def test_batch_leaves_out_a_bad_scan_and_goes_on(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 1
    moved = Image(scan().array, Grid(GRID.size, GRID.spacing, (0.0, 0.0, 0.0)))
    empty = Image(np.zeros_like(scan().array), GRID)
    made = write_batch(tmp_path, {"a": scan(), "moved": moved, "empty": empty, "b": scan()})
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "b.nii.gz").read_bytes()[:50])
    (tmp_path / "lost.tsv").write_text(made.read_text() + "absent\tlungs.nii.gz\tx.nii.gz\t\n")
    made = tmp_path / "lost.tsv"
    run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    assert run.exit_code == 1
    assert "expected 5 scans; found 1;" in run.stderr
    assert "[batch_incomplete]" in run.stderr
    assert "[missing_file]" in run.stderr
    assert "Traceback" not in run.stderr
    assert calls["sessions"] == 1
    codes = {p.parent.name: read_json(p)["code"] for p in tmp_path.glob("*/rejected.json")}
    expected = {"moved": "grid_mismatch", "empty": "out_of_memory", "b": "truncated_file"}
    assert codes == expected
    assert [p.parent.name for p in tmp_path.glob("*/v.nii.gz")] == ["a"]
    # What was made is kept, and a scan that was mended leaves the rejections.
    before = (tmp_path / "a" / "v.nii.gz").stat().st_mtime_ns
    write_image(tmp_path / "b.nii.gz", scan(), dtype=np.int16)
    run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    assert run.exit_code == 1
    assert (tmp_path / "a" / "v.nii.gz").stat().st_mtime_ns == before
    assert "a/v.nii.gz exists already" in run.stderr
    assert (tmp_path / "b" / "v.nii.gz").exists()
    assert not (tmp_path / "b" / "rejected.json").exists()
    assert len(run.stdout.splitlines()) == 1


@pytest.mark.parametrize("code", ["no_cuda", "weights_truncated", "cannot_write", "disk_full"])
def test_fault_of_the_machine_ends_the_batch_and_rejects_no_scan(
    code: str, calls: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def faulty(*_: object, **__: object) -> None:
        seen.append(code)
        raise WorkError("not on this machine", code=code)

    monkeypatch.setattr("lcsd.vessels.totalsegmentator.segment_vessels", faulty)
    made = write_batch(tmp_path, {"a": scan(), "b": scan()})
    run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    assert run.exit_code == 1
    assert f"[{code}]" in run.stderr.splitlines()[-1]
    assert seen == [code]
    assert not list(tmp_path.glob("*/rejected.json"))


def test_batch_clears_the_rejection_of_what_is_there(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 1
    made = ["vessels", "--batch", str(write_batch(tmp_path, {"a": scan()})), *BATCH]
    assert CliRunner().invoke(main, made).exit_code == 0
    rejected, output = tmp_path / "a" / "rejected.json", tmp_path / "a" / "v.nii.gz"
    error = WorkError("no memory is left", code="out_of_memory")
    rejections.reject(rejected, stage="vessels", target=output, error=error)
    run = CliRunner().invoke(main, made)
    assert "exists already" in run.stderr
    assert not rejected.exists()


def test_batch_goes_on_where_a_rejection_cannot_be_written(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 1
    empty = Image(np.zeros_like(scan().array), GRID)
    made = write_batch(tmp_path, {"a": empty, "b": scan()})
    made.write_text(made.read_text().replace("a/rejected.json", "list.tsv/rejected.json"))
    run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    assert "[out_of_memory]" in run.stderr
    assert "[batch_incomplete]" in run.stderr
    assert (tmp_path / "b" / "v.nii.gz").exists()


def test_batch_makes_again_what_other_files_or_settings_gave(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 1
    calls["labels"][5, 5, 16] = 1
    made = write_batch(tmp_path, {"a": scan()})
    run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    assert run.exit_code == 0, run.output
    for change, voxels in (
        ([], None),
        (["--threads", "2"], None),
        (["--set", "totalsegmentator.outside_mm=2"], 7),
        (["--device", "cpu"], 6),
    ):
        run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH, *change])
        assert run.exit_code == 0, run.output
        assert [json.loads(line)["voxels"] for line in run.stdout.splitlines()] == ([] if voxels is None else [voxels])
    (tmp_path / "a" / "v.nii.gz").unlink()
    assert CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH]).stdout
    write_mask(tmp_path / "lungs.nii.gz", Image(lungs().array | (calls["labels"] > 0), GRID))
    run = CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    assert json.loads(run.stdout)["voxels"] == 7


def no_inputs(record: dict[str, Any]) -> None:
    del record["inputs"]


def other_version(record: dict[str, Any]) -> None:
    record["versions"]["scipy"] = "0.1"


def other_list(record: dict[str, Any]) -> None:
    record["facts"] = []


@pytest.mark.parametrize("change", [no_inputs, other_version, other_list])
def test_batch_makes_again_what_no_equal_record_vouches_for(
    change: Callable[[dict[str, Any]], None], calls: dict[str, Any], tmp_path: Path
) -> None:
    calls["labels"][5, 5, 6:12] = 1
    batch = ["vessels", "--batch", str(write_batch(tmp_path, {"a": scan()})), *BATCH]
    assert CliRunner().invoke(main, batch).stdout
    assert not CliRunner().invoke(main, batch).stdout
    path = provenance_path(tmp_path / "a" / "v.nii.gz")
    record = read_json(path)
    change(record)
    write_json(path, record)
    run = CliRunner().invoke(main, batch)
    assert run.exit_code == 0, run.output
    assert run.stdout
    assert not CliRunner().invoke(main, batch).stdout


def test_batch_makes_again_what_other_weights_gave_or_somebody_changed(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 1
    batch = ["vessels", "--batch", str(write_batch(tmp_path, {"a": scan()})), *BATCH]
    assert CliRunner().invoke(main, batch).stdout
    calls["hash"] = "0b"
    assert CliRunner().invoke(main, batch).stdout
    assert not CliRunner().invoke(main, batch).stdout
    write_mask(tmp_path / "a" / "v.nii.gz", lungs())
    assert CliRunner().invoke(main, batch).stdout
    assert read_image(tmp_path / "a" / "v.nii.gz").array.sum() == 6


def test_single_command_and_batch_give_the_same_bytes(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 1
    made = write_batch(tmp_path, {"a": scan()})
    CliRunner().invoke(main, ["vessels", "--batch", str(made), *BATCH])
    files = [str(tmp_path / name) for name in ("a.nii.gz", "single.nii.gz", "lungs.nii.gz")]
    single = ["vessels", *files[:2], "--lungs", files[2], *BATCH]
    assert CliRunner().invoke(main, single).exit_code == 0
    expected = (tmp_path / "a" / "v.nii.gz").read_bytes()
    assert (tmp_path / "single.nii.gz").read_bytes() == expected


@pytest.mark.parametrize(
    ("arguments", "table", "code", "field"),
    [
        ([], None, "bad_usage", "IMAGE"),
        (["a.nii.gz", "v.nii.gz"], None, "bad_usage", "--lungs"),
        (["a.nii.gz", "--batch", "list.tsv"], "", "bad_usage", "IMAGE"),
        (["--given", "g.nii.gz", "--batch", "list.tsv"], "", "bad_usage", "--given"),
        (["--batch", "absent.tsv"], None, "missing_file", "absent.tsv"),
        (["--batch", "list.tsv"], "image\toutput\na\tb\n", "missing_column", "lungs"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\n", "empty_list", "list.tsv"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\tb\n", "bad_row", "line 2"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\t\tc\n", "bad_row", "lungs"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\tb\tc\nd\tb\tc\n", "duplicate_output", "line 3"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\tb\tc\nd\tb\tx/../c\n", "duplicate_output", "line 3"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\tb\tv.nii\nd\tb\tv.nii.gz\n", "duplicate_output", "line 3"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\tb\t./d\nd\tb\tv\n", "duplicate_output", "line 2"),
        (["--batch", "list.tsv"], "image\tlungs\toutput\na\tb\tb\n", "duplicate_output", "line 2"),
    ],
)
def test_bad_usage_and_bad_lists(
    arguments: list[str], table: str | None, code: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if table is not None:
        Path("list.tsv").write_text(table, encoding="utf-8")
    run = CliRunner().invoke(main, ["vessels", *arguments])
    assert run.exit_code == 2, run.output
    assert f"[{code}]" in run.stderr
    assert field in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_recipe_for_a_build_leaves_out_cases_with_a_given_map(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "vessels.md").read_text()
    end = "> vessels.tsv\n"
    recipe = text[text.index("{ printf") : text.index(end) + len(end)]
    table = ["\t".join((*REQUIRED, "fixed_vessels", "moving_vessels"))]
    for case, given in (("a", ""), ("b", "v.nii.gz"), ("c", "")):
        row = {"case": case, "patient_id": case, "role": "train", "moving_vessels": given}
        row |= {"fixed_source": "f", "moving_source": "m", "fixed_time": "0", "moving_time": "1"}
        table.append("\t".join(row.get(name, "") for name in table[0].split("\t")))
    (tmp_path / "pairs.tsv").write_text("\n".join(table) + "\n")
    for case in "ab":
        (tmp_path / "results" / "cases" / case / "images").mkdir(parents=True)
        for name in ("fixed", "moving"):
            (tmp_path / "results/cases" / case / "images" / f"{name}_mask.nii.gz").write_text("")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path}
    subprocess.run(["bash", "-ec", recipe], cwd=tmp_path, check=True, env=variables)
    jobs = read_list(tmp_path / "vessels.tsv")
    folder = tmp_path / "results" / "cases" / "a"
    assert [job.output for job in jobs] == [folder / "vessels" / f"{name}.nii.gz" for name in ("fixed", "moving")]
    assert {job.rejected for job in jobs} == {folder / "rejected.json"}
