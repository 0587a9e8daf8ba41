"""What rules ask of a build: options, inputs and targets, of a manifest and of a selection."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lcsd.build import plan
from lcsd.build.jobs import METHODS
from lcsd.build.plan import Build
from lcsd.config import read_sections
from lcsd.errors import BadInputError
from lcsd.settings.cloud import CloudSettings
from lcsd.settings.evaluate import EvaluateSettings
from lcsd.settings.keypoints import KeypointsSettings
from tests.unit.build.test_candidates import ROW as CANDIDATE
from tests.unit.build.test_candidates import write as write_candidates
from tests.unit.build.test_pairs import ROW as PAIR
from tests.unit.build.test_pairs import write as write_pairs

UID = "1.3.6.1.4.1.14519.5.2.1"


def test_planning_loads_nothing_heavy() -> None:
    code = (
        "import sys, lcsd.build.plan;"
        "heavy = ('torch', 'numpy', 'SimpleITK', 'duckdb', 'pyarrow', 'pandas', 'idc_index_data');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    columns = ("landmarks", "landmarks_frame", "fixed_mask", "moving_vessels", "fixed_series")
    plain = {**PAIR, **dict.fromkeys(columns, "")}
    full = {
        **plain,
        "case": "full",
        "landmarks": "l.csv",
        "landmarks_frame": "native",
        "fixed_mask": "m.nii",
        "moving_vessels": "v.nii",
        "fixed_series": f"{UID}.9",
    }
    remote = {**plain, "case": "remote", "fixed_source": f"{UID}.1", "moving_source": f"{UID}.2"}
    return write_pairs(tmp_path / "pairs.tsv", full, {**plain, "case": "plain"}, remote)


@pytest.fixture
def build(manifest: Path, tmp_path: Path) -> Build:
    return Build.from_config({"manifest": str(manifest), "results": str(tmp_path / "r")})


def test_options_give_back_the_settings(build: Build) -> None:
    kinds = {"evaluate": EvaluateSettings}
    option, document = build.settings("keypoints", "evaluate")
    assert option == "--settings"
    own, others = read_sections("keypoints", KeypointsSettings, kinds, None, documents=[document])
    assert (own, others) == (KeypointsSettings(), {"evaluate": EvaluateSettings()})
    assert list(json.loads(document)) == sorted([*KeypointsSettings.model_fields, "evaluate"])
    assert json.loads(build.settings("cloud")[1]) == CloudSettings().model_dump()


def test_options_are_the_same_text_for_the_same_settings(tmp_path: Path, manifest: Path) -> None:
    def document(**screen: object) -> str:
        content = {"manifest": str(manifest), "results": str(tmp_path / "r"), "screen": screen}
        return Build.from_config(content).screen_settings()[1]

    assert document() == document(spacing_mm=3) == document(min_dice=0.5)
    assert document(spacing_mm=3.5).startswith('{"convert":{')
    assert '"spacing_mm":3.5' in document(spacing_mm=3.5)


def test_targets_hold_scores_only_of_cases_with_landmarks(build: Build) -> None:
    targets = build.targets()
    root = f"{build.results}/cases"
    assert f"{root}/full/evaluation/divroc.json" in targets
    assert not [t for t in targets if "plain/evaluation" in t]
    assert f"{root}/plain/{METHODS['corrfield']}/field.nii.gz" in targets
    assert not [t for t in targets if "cohort" in t]


def test_a_release_waits_for_no_case_that_was_set_aside(build: Build, tmp_path: Path) -> None:
    aside = tmp_path / "r" / "cases" / "full"
    aside.mkdir(parents=True)
    assert build.targets(rejected=False) == build.targets()
    (aside / "rejected.json").write_text("{}")
    others = [target for target in build.targets() if "/full/" not in target]
    assert build.targets(rejected=False) == others
    assert others
    assert len(build.targets()) > len(others)


def test_a_named_series_goes_with_its_folder(build: Build, tmp_path: Path) -> None:
    folder = str(tmp_path / "a.nii.gz")
    assert build.source("full", "fixed") == [folder, "--set", f"series_uid={UID}.9"]
    assert build.source("full", "moving") == [str(tmp_path / "b.nii.gz")]


def test_given_vessels_of_the_follow_up_need_the_rigid_transform(build: Build, tmp_path: Path) -> None:
    options = build.given_moving_vessels("full", rigid="rigid.tfm")
    assert options == ["--given", str(tmp_path / "v.nii"), "--rigid", "rigid.tfm"]
    assert build.given_moving_vessels("plain", rigid="rigid.tfm") == []


def test_what_no_case_gives_is_not_asked_for(build: Build, selection: Build) -> None:
    assert build.gives("fixed_mask")
    assert build.gives("fixed_vessels", "moving_vessels")
    assert not build.gives("moving_mask")
    assert not build.gives("moving_mask", "fixed_vessels")
    assert selection.gives("moving_mask")


def test_only_files_that_exist_are_inputs(build: Build, tmp_path: Path) -> None:
    assert build.sources_present("plain") == build.masks_present("full") == []
    (tmp_path / "b.nii.gz").touch()
    (tmp_path / "m.nii").touch()
    assert build.sources_present("plain") == [str(tmp_path / "b.nii.gz")]
    assert build.masks_present("full") == [str(tmp_path / "m.nii")]


def test_a_source_dated_ahead_of_the_clock_is_no_input_and_named_once(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Snakemake (snakemake/snakemake 3261) would remove what is made from it, at each start."""
    source = tmp_path / "b.nii.gz"
    source.touch()
    os.utime(source, times=(time.time() + 1200,) * 2)
    assert build.sources_present("plain") == []
    assert build.sources_present("plain") == []
    said = capsys.readouterr().err
    assert said.count("[future_date]") == 1
    assert "20 min" in said
    plan.dated_ahead.cache_clear()
    os.utime(source)
    assert build.sources_present("plain") == [str(source)]


def _tomorrow(path: Path, *, link: bool = False) -> None:
    ahead = time.time() + 86_400
    os.utime(path, (ahead, ahead), follow_symlinks=not link)


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_dates_that_only_snakemake_looks_at(kind: str, tmp_path: Path) -> None:
    """A link (snakemake/snakemake 3687), and a folder that another workflow made (snakemake/snakemake 3097)."""
    source = tmp_path / "scan"
    if kind == "link":
        (tmp_path / "target").mkdir()
        source.symlink_to(tmp_path / "target")
        _tomorrow(source, link=True)
    else:
        source.mkdir()
        (source / ".snakemake_timestamp").touch()
        _tomorrow(source / ".snakemake_timestamp")
    plan.dated_ahead.cache_clear()
    assert Build.present(source, tmp_path / "made") == []
    assert Build.present(tmp_path, tmp_path / "made") == [str(tmp_path)]


def test_a_manifest_from_the_future_is_no_input(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """snakemake/snakemake 3254: files of a colleague in another time zone."""
    assert build.manifest_present == [build.manifest]
    _tomorrow(Path(build.manifest))
    plan.dated_ahead.cache_clear()
    assert build.manifest_present == []
    assert "pairs.tsv is dated 1440 min ahead" in capsys.readouterr().err


def test_a_source_that_cannot_be_looked_for_stops_no_other_case(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is too long, and a folder that this user may not enter."""
    assert build.pairs
    assert build.present("a" * 300, build.files.pairs) == []

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", closed)
    assert build.sources_present("plain") == []


def test_a_source_that_went_away_does_not_unmake_what_was_made_of_it(build: Build, tmp_path: Path) -> None:
    made = tmp_path / "r" / "cases" / "plain" / "scans" / "moving.nii.gz"
    made.parent.mkdir(parents=True)
    made.touch()
    assert build.sources_present("plain") == [str(tmp_path / "b.nii.gz")]


def test_a_series_is_no_file_of_the_workflow(build: Build, tmp_path: Path) -> None:
    for scan in ("fixed", "moving"):
        made = tmp_path / "r" / "cases" / "remote" / "scans" / f"{scan}.nii.gz"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    assert build.sources_present("remote") == []
    assert build.source("remote", "moving") == [f"{UID}.2"]
    # Lungs need no turn in the downloads: their masks are files, or none.
    assert (build.downloads("source"), build.downloads("mask")) == (True, False)
    assert build.fetch_options()[:2] == ["--series-dir", f"{tmp_path}/r/series"]


def test_a_lone_case_has_both_cores_for_its_long_stages(build: Build, manifest: Path) -> None:
    assert build.threads() == 1
    alone = write_pairs(manifest.with_name("one.tsv"), PAIR)
    assert Build.from_config({"manifest": str(alone)}).threads() == 2


def test_unknown_case_and_missing_landmarks_are_named(build: Build) -> None:
    with pytest.raises(BadInputError, match=r"\[no_landmarks\]"):
        build.landmarks("plain")
    with pytest.raises(BadInputError, match="unknown_case"):
        build.pair("c")


@pytest.mark.parametrize("keys", [(), ("manifest", "candidates")])
def test_cases_come_from_one_table(manifest: Path, keys: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError, match=r"\[bad_value\]"):
        Build.from_config(dict.fromkeys(keys, str(manifest)))


@pytest.fixture
def selection(tmp_path: Path) -> Build:
    rows = [
        {**CANDIDATE, "case": "a"},
        {**CANDIDATE, "case": "b", "fixed_segmentation": f"{UID}.3"},
        {**CANDIDATE, "case": "c", "sampled": "test_pool"},
        {**CANDIDATE, "case": "d", "sampled": ""},
    ]
    table = write_candidates(tmp_path / "candidates.tsv", *rows)
    return Build.from_config(
        {
            "candidates": str(table),
            "results": str(tmp_path / "r"),
            "select": {"exclude": ["a"]},
            "screen": {"masks": "published"},
        }
    )


def test_sampled_candidates_are_screened_unless_left_out(selection: Build, tmp_path: Path) -> None:
    folder = tmp_path / "r" / "cohort" / "screening"
    assert selection.screened() == [f"{folder}/b.json", f"{folder}/c.json"]


def test_candidates_are_downloaded_and_their_masks_where_published(selection: Build) -> None:
    assert selection.downloads("source")
    assert selection.downloads("mask")
    content = selection.config.model_dump(mode="json") | {"screen": {"masks": "made"}}
    assert not Build.from_config(content).downloads("mask")


def test_published_masks_are_taken_or_missed_by_name(selection: Build) -> None:
    options = ["--fixed-mask", f"{UID}.3", "--moving-mask", "1.2.3.6"]
    assert selection.screen_masks("b") == options
    with pytest.raises(BadInputError, match="no_published_segmentation"):
        selection.screen_masks("c")


def test_cases_are_what_the_selection_says_now(selection: Build, tmp_path: Path) -> None:
    path = tmp_path / "r" / "cohort" / "pairs.tsv"
    path.parent.mkdir(parents=True)
    assert selection.manifest == str(path)
    write_pairs(path, {**PAIR, "case": "b"})
    assert list(selection.pairs) == ["b"]
    assert not [t for t in selection.targets() if t.endswith("test.tsv")]
    write_pairs(path, {**PAIR, "case": "b"}, {**PAIR, "case": "c", "role": "test_pool"})
    os.utime(path, ns=(1, 1))
    assert list(selection.pairs) == ["b", "c"]
    folder = f"{tmp_path}/r/cases/c"
    assert selection.test_pool() == [f"{folder}/correspondences/correspondences.csv", f"{folder}/gates.json"]
    assert f"{tmp_path}/r/cohort/test.tsv" in selection.targets()


def test_candidates_that_were_set_aside_are_known(selection: Build, tmp_path: Path) -> None:
    assert selection.rejected() == []
    record = tmp_path / "r" / "cases" / "c" / "rejected.json"
    record.parent.mkdir(parents=True)
    record.touch()
    assert selection.rejected() == ["c"]
    of = len(selection.candidates)
    where = f"{tmp_path}/r/report/rejected.tsv"
    assert selection.summary() == f"1 of {of} candidates were rejected; see {where}"


TOTALSEGMENTATOR = {"vessels": {"backend": "totalsegmentator"}, "lungs": {"method": "totalsegmentator"}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"correspond", "register"}),
        (TOTALSEGMENTATOR, {"correspond", "register", "vessels", "lungs", "screen"}),
        ({**TOTALSEGMENTATOR, "screen": {"masks": "published"}}, {"correspond", "register", "vessels", "lungs"}),
    ],
)
def test_stages_on_the_gpu(settings: dict[str, object], expected: set[str], manifest: Path) -> None:
    stages = ("correspond", "register", "vessels", "lungs", "screen")
    content = {"manifest": str(manifest), **settings}
    on_cpu = Build.from_config(content)
    on_gpu = Build.from_config({**content, "workflow": {"device": "cuda"}})
    for stage in stages:
        assert on_cpu.device(stage) == ()
        assert not on_cpu.on_gpu(stage)
        assert on_gpu.device(stage) == (("--device", "cuda") if stage in expected else ())
        assert on_gpu.on_gpu(stage) == (stage in expected)
