"""Which cases of a build are published, and why the others are not."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.inventory import CaseState, Inventory, Problem, gates_line
from lcsd.build.jobs import BuildFiles, CaseFiles
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.recorded import recorded_manifest
from lcsd.errors import BadInputError
from lcsd.io.files import require_folder
from lcsd.io.tables import read_cases
from lcsd.names import SCANS
from lcsd.release.layout import CLOUDS, Split

UNFINISHED = "unfinished"
OUTDATED = "outdated"
NOT_JUDGED = "test_pool_not_judged"


@dataclass(frozen=True)
class Chosen:
    """A case that is published."""

    pair: Pair  # row of the manifest
    files: CaseFiles
    split: Split

    @property
    def case(self) -> str:
        """Name of the case in the build."""
        return self.pair.case


@dataclass(frozen=True)
class Choice:
    """The cases of a build."""

    chosen: tuple[Chosen, ...]  # in the manifest's order
    left_out: dict[str, str]  # reason code of every other case
    problems: tuple[Problem, ...] = ()  # broken files that leave a case out
    gates: str | None = None  # one line on the cases that gates leave out

    def reasons(self) -> dict[str, int]:
        """Return the number of cases left out for each reason, sorted by reason."""
        return dict(sorted(Counter(self.left_out.values()).items()))


def manifest_of(results: Path, manifest: Path | None) -> Path:
    """Return the manifest of a build: the given one, that of its selection, or the recorded one.

    Raises ``BadInputError`` if the build does not exist, or has no manifest and none is given.
    """
    files = BuildFiles(results)
    require_folder(files.cases, "the cases of a build", remedy="run the workflow first")
    manifest = manifest or recorded_manifest(results)
    if manifest is None:
        raise BadInputError(
            "the build has no manifest",
            code="missing_manifest",
            file=files.pairs,
            remedy="pass the pairs.tsv of the build with --manifest",
        )
    return manifest


def choose(results: Path, manifest: Path) -> Choice:
    """Return the cases of a build that are published, and the reasons of the others.

    Left out are rejected, discarded, borderline and unfinished cases, those with a broken or outdated file, and those
    of the test pool that were not selected. Rejected cases that are not in the manifest are counted, too. Raises
    ``BadInputError`` if the manifest or the table of test cases is broken, or a patient has cases in both splits.
    """
    pairs = {pair.case: pair for pair in read_pairs(manifest)}
    verdicts = _pool_verdicts(BuildFiles(results).test_cases)
    inventory = Inventory(results)
    chosen: list[Chosen] = []
    left_out: dict[str, str] = {}
    problems: list[Problem] = []
    judged: list[CaseState] = []  # only these: states with all provenance are large
    for state in inventory.states(list(pairs.values())):
        judged += [state] if state.status in ("borderline", "discarded") else []
        pair = pairs.get(state.name)
        reason = state.left_out if pair is None else _reason(pair, state, verdicts)
        problems += state.broken
        if pair is not None and reason is None:
            chosen.append(Chosen(pair, state.files, "train" if pair.role == "train" else "test"))
        elif reason is not None:
            left_out[state.name] = reason
    _check_patients(chosen, manifest)
    return Choice(tuple(chosen), left_out, tuple(problems), gates_line(judged))


def _pool_verdicts(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    return {row["case"]: row["verdict"] for row in read_cases(path, ("verdict",))}


def _reason(pair: Pair, state: CaseState, verdicts: dict[str, str]) -> str | None:
    """Return why a case is left out; None if it is not."""
    if state.left_out is not None:
        return state.left_out
    if not all(path.is_file() for path in _needed(state.files)):
        return UNFINISHED
    if pair.role == "test_pool" and verdicts.get(pair.case) != "selected":
        verdict = verdicts.get(pair.case)
        return NOT_JUDGED if verdict is None else f"test_pool_{verdict}"
    # A command was run again by hand, or a second run of the build was interrupted.
    return OUTDATED if any(state.records.outdated()) else None


def _needed(files: CaseFiles) -> list[Path]:
    """Return the files without which a case is not finished."""
    clouds = [files.cloud(scan, kind) for scan in SCANS for kind in CLOUDS.values()]
    volumes = [path for scan in SCANS for path in (files.mask(scan), files.vessels(scan))]
    return [files.rigid, files.correspondences, files.gates, *volumes, *clouds]


def _check_patients(chosen: list[Chosen], manifest: Path) -> None:
    """Refuse a patient with cases in both splits, which would make test results meaningless."""
    splits: dict[str, Chosen] = {}
    for item in chosen:
        patient = item.pair.patient_id.strip().casefold()  # tables written by hand mix upper and lower case
        first = splits.setdefault(patient, item) if patient else item
        if first.split != item.split:
            raise BadInputError(
                "a patient has cases in both splits",
                code="patient_in_both_splits",
                file=manifest,
                field=f"{first.case} and {item.case}",
                expected="all cases of a patient in one split",
                remedy="give both cases the same role, or leave one out",
            )
