"""The card says of each case what is true of it."""

from pathlib import Path

from lcsd.build.jobs import case_jobs
from lcsd.build.provenance import Recorder
from lcsd.io.files import write_json, write_table
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import make_build

QUICK = ReleaseSettings(viewer=False, archive=False)


def record_stage(results: Path, case: str, stage: str, settings: dict[str, object], *inputs: str) -> None:
    """Write the provenance of a command beside one of a case's files."""
    folder = results / "cases" / case
    output = folder / stage / "made.nii.gz"
    output.parent.mkdir(exist_ok=True)
    output.write_text("x")
    Recorder(stage, settings, written=[output]).write(
        output, inputs=dict.fromkeys(inputs, folder / "images" / "rigid.tfm")
    )


def card_of(folder: Path, results: Path, manifest: Path) -> str:
    write_release(results, manifest, folder / "out", QUICK)
    return (folder / "out" / "README.md").read_text()


def test_limits_that_differ_between_cases_are_all_on_the_card(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2"))
    record_stage(results, "a1", "gates", {"ratio": {"min": 0.4}, "share": {}})
    record_stage(results, "b2", "gates", {"ratio": {"min": 0.3}, "share": {}})
    card = card_of(tmp_path, results, manifest)
    assert "| ratio | differs: min 0.3; min 0.4 |" in card
    assert "| share | off |" in card


def test_given_masks_and_vessels_are_not_called_made(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2"))
    for case in ("a1", "b2"):
        record_stage(results, case, "lungs", {"method": "totalsegmentator"}, "scan", "given")
        (results / "cases" / case / "vessels" / "fixed.provenance.json").unlink()
    record_stage(results, "a1", "vessels", {"backend": "objectness"}, "given")
    record_stage(results, "b2", "vessels", {"backend": "objectness"})
    card = card_of(tmp_path, results, manifest)
    assert "Lungs: given." in card
    assert "Vessels: given or objectness." in card
    assert "TotalSegmentator" not in card


def test_errors_on_the_card_are_those_of_published_test_cases(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "c3"))
    for case, error in (("a1", 9.0), ("c3", 2.0)):
        folder = results / "cases" / case
        fields = [job for job in case_jobs(case) if job.stage in ("correspond", "register")]
        for path in (results / output for job in fields for output in job.outputs):
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                path.write_text("{}")
        write_json(folder / "evaluation" / "corrfield.json", {"tre_mean_mm": error})
        write_json(folder / "evaluation" / "divroc.json", {"tre_mean_mm": error})
        row = {"tre_mm": error, "tre_before_mm": 8.0}
        for method in ("corrfield", "divroc"):
            path = folder / "evaluation" / f"{method}_landmarks.csv"
            write_table(path, tuple(row), [row])
    card = card_of(tmp_path, results, manifest)
    assert "| corrfield | 1 | 8.00 | 2.00 |" in card
