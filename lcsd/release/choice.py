"""Which cases of a build are published, and why the others are not.

Light: files are looked for, not read, but for verdicts and provenance.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.jobs import GATES_NAME
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.records import is_outdated
from lcsd.build.rejections import REJECTED_NAME
from lcsd.errors import BadInputError
from lcsd.io.files import read_json
from lcsd.io.tables import read_cases
from lcsd.names import CASE_PATTERN
from lcsd.release.layout import CLOUDS, SCAN_NUMBER, Split

TEST_NAME = "cohort/test.tsv"
MANIFEST_NAME = "cohort/pairs.tsv"

NEEDED = (
    "images/rigid.tfm",
    "correspondences/correspondences.csv",
    GATES_NAME,
    *(f"images/{scan}_mask.nii.gz" for scan in SCAN_NUMBER),
    *(f"vessels/{scan}.nii.gz" for scan in SCAN_NUMBER),
    *(f"clouds/{scan}_{kind}.npz" for scan in SCAN_NUMBER for kind in CLOUDS.values()),
)
"""Files of a case without which it is not finished."""

UNFINISHED = "unfinished"
OUTDATED = "outdated"
NOT_JUDGED = "test_pool_not_judged"


@dataclass(frozen=True)
class Chosen:
    """A case that is published.

    Parameters
    ----------
    pair
        Its row of the manifest.
    folder
        Its folder in the build.
    split
        ``train`` or ``test``.
    """

    pair: Pair
    folder: Path
    split: Split

    @property
    def case(self) -> str:
        """Name of the case in the build."""
        return self.pair.case


@dataclass(frozen=True)
class Choice:
    """The cases of a build.

    Parameters
    ----------
    chosen
        Published cases in the manifest's order.
    left_out
        Reason of every other case, by its name.
    """

    chosen: tuple[Chosen, ...]
    left_out: dict[str, str]

    def reasons(self) -> dict[str, int]:
        """Return how many cases were left out for each reason, sorted by reason."""
        return dict(sorted(Counter(self.left_out.values()).items()))


def manifest_of(results: Path, manifest: Path | None) -> Path:
    """Return the manifest of a build: the given one, or the one that its selection made.

    Raises
    ------
    BadInputError
        There is no such build, or it has no manifest and none is given.
    """
    if not (results / "cases").is_dir():
        raise BadInputError(
            "there is no such build",
            code="missing_folder",
            file=results,
            expected="a folder of results with cases/",
            remedy="run the workflow first",
        )
    if manifest is None and not (results / MANIFEST_NAME).exists():
        raise BadInputError(
            "the build has no manifest of its own",
            code="missing_manifest",
            file=results / MANIFEST_NAME,
            remedy="name the pairs.tsv it was built from: --manifest",
        )
    return manifest or results / MANIFEST_NAME


def choose(results: Path, manifest: Path) -> Choice:
    """Return the cases of a build that are published, and the reasons of the others.

    Left out are rejected and unfinished cases, those that a gate discarded, those of the test
    pool that were not selected, and those whose files were made from others than are there. Folders
    of cases that are not in the manifest count if something set them aside.

    Raises
    ------
    BadInputError
        The manifest, ``test.tsv`` or a file of verdicts is broken; a patient has cases in both
        splits.
    """
    pairs = read_pairs(manifest)
    verdicts = _pool_verdicts(results / TEST_NAME)
    chosen: list[Chosen] = []
    left_out: dict[str, str] = {}
    for pair in pairs:
        folder = results / "cases" / pair.case
        reason = _reason(pair, results, verdicts)
        if reason is None:
            chosen.append(Chosen(pair, folder, "train" if pair.role == "train" else "test"))
        else:
            left_out[pair.case] = reason
    known = {pair.case for pair in pairs}
    for folder in sorted((results / "cases").iterdir()):
        other = CASE_PATTERN.fullmatch(folder.name) and folder.name not in known
        if other and (folder / REJECTED_NAME).exists():
            left_out[folder.name] = _rejection(folder / REJECTED_NAME)
    _check_patients(chosen, manifest)
    return Choice(tuple(chosen), left_out)


def _pool_verdicts(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    return {row["case"]: row["verdict"] for row in read_cases(path, ("verdict",))}


def _rejection(path: Path) -> str:
    try:
        code = read_json(path).get("code")
    except BadInputError:
        code = None
    return str(code or "unreadable_rejection")


def _reason(pair: Pair, results: Path, verdicts: dict[str, str]) -> str | None:
    """Return why a case is left out; None if it is not."""
    folder = results / "cases" / pair.case
    rejected = folder / REJECTED_NAME
    if rejected.exists() and not _of_dropped_landmarks(pair, rejected):
        return _rejection(rejected)
    failed = _failed_gates(folder / GATES_NAME)
    if failed:
        return "+".join(f"gate_{name}" for name in failed)
    if not all((folder / name).is_file() for name in NEEDED):
        return UNFINISHED
    if pair.role == "test_pool" and verdicts.get(pair.case) != "selected":
        verdict = verdicts.get(pair.case)
        return NOT_JUDGED if verdict is None else f"test_pool_{verdict}"
    # A command was run again by hand, or a build stopped halfway through its second run.
    return OUTDATED if is_outdated(results, pair.case) else None


def _of_dropped_landmarks(pair: Pair, path: Path) -> bool:
    """Return whether a rejection is by an evaluation that the manifest no longer asks for."""
    try:
        return pair.landmarks is None and read_json(path).get("stage") == "evaluate"
    except BadInputError:
        return False


def _failed_gates(path: Path) -> list[str]:
    if not path.exists():
        return []
    gates = read_json(path).get("gates")
    try:
        return sorted({str(gate["name"]) for gate in gates if gate["passed"] is not True})  # type: ignore[union-attr]
    except (TypeError, KeyError) as error:
        raise BadInputError(
            "verdicts cannot be read",
            code="bad_gates",
            file=path,
            field="gates",
            expected="a list of objects with name and passed",
            remedy="run lcsd gates again",
        ) from error


def _check_patients(chosen: list[Chosen], manifest: Path) -> None:
    """Refuse a patient whose cases are in both splits: test results would mean nothing."""
    splits: dict[str, Chosen] = {}
    for item in chosen:
        patient = item.pair.patient_id.strip().casefold()  # hand-made tables mix both
        first = splits.setdefault(patient, item) if patient else item
        if first.split != item.split:
            raise BadInputError(
                "a patient has cases in both splits",
                code="patient_in_both_splits",
                file=manifest,
                field=f"{first.case} and {item.case}",
                expected="one split for a patient",
                remedy="give both cases one role, or leave one out",
            )
