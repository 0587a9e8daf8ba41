"""Select training pairs: the screened candidates whose masks overlap least."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd.build.candidates import Candidate, read_candidates
from lcsd.build.jobs import BuildFiles
from lcsd.build.published_names import published_names
from lcsd.errors import BadInputError
from lcsd.io.files import read_json, write_table
from lcsd.selection.screen import GATED, failed, gates
from lcsd.settings.screen import ScreenSettings
from lcsd.settings.select import SelectSettings

MANIFEST_COLUMNS = (
    "case",
    "patient_id",
    "role",
    "fixed_source",
    "moving_source",
    "fixed_time",
    "moving_time",
    "fixed_mask",
    "moving_mask",
)

FIGURES = ("dice", "fixed_volume_l", "moving_volume_l", "volume_ratio")

SELECTION_COLUMNS = ("case", "role", *FIGURES, "verdict", "code", "rank", "selected")


@dataclass(frozen=True)
class Selection:
    """Every screened candidate with its rank, and the chosen ones."""

    rows: list[dict[str, object]]  # content of ``selection.tsv``, sorted by case
    chosen: list[dict[str, object]]  # content of ``pairs.tsv``, sorted by case

    def count(self, role: str) -> int:
        """Return how many cases of a role are chosen."""
        return sum(row["role"] == role for row in self.chosen)


def wanted_candidates(path: Path, settings: SelectSettings) -> list[Candidate]:
    """Return the sampled candidates that the settings do not exclude, sorted by case.

    Raises ``BadInputError`` as :func:`lcsd.build.candidates.read_candidates`, and for an excluded case that does not
    exist (``unknown_case``).
    """
    found = read_candidates(path)
    unknown = set(settings.exclude) - set(found)
    if unknown:
        raise BadInputError(
            "an excluded case is not a sampled candidate",
            code="unknown_case",
            file=path,
            field="select.exclude",
            found=min(unknown),
            remedy="correct its name",
        )
    return [found[case] for case in sorted(set(found) - set(settings.exclude))]


def read_screenings(results: Path, rows: Sequence[Candidate]) -> dict[str, dict[str, Any]]:
    """Return the screening of every candidate by its case.

    Raises ``BadInputError`` if some are missing (``missing_screening``), or one is no screening (``bad_screening``).
    """
    paths = {row.case: BuildFiles(results).screening(row.case) for row in rows}
    missing = [case for case, path in paths.items() if not path.exists()]
    if missing:
        raise BadInputError(
            f"{len(missing)} of {len(rows)} candidates have no screening",
            code="missing_screening",
            file=paths[missing[0]],
            expected="a screening of every sampled candidate",
            found=f"none for {missing[0]}",
            remedy="run the build again, or add the cases to select.exclude",
        )
    found = {case: read_json(path) for case, path in paths.items()}
    for case, record in found.items():
        whole = all(name in record for name in GATED)
        numbers = all(isinstance(record.get(name), int | float) for name in FIGURES)
        broken = record.get("verdict") == "rejected" and record.get("dice") is None
        if not broken and not (whole and numbers):
            raise BadInputError(
                "not a screening result",
                code="bad_screening",
                file=paths[case],
                expected="a file of lcsd screen",
                remedy="remove it and screen the case again",
            )
    return found


def choose(
    rows: Sequence[Candidate], screenings: dict[str, dict[str, Any]], settings: SelectSettings, screen: ScreenSettings
) -> Selection:
    """Select the candidates with the lowest Dice for training, and the whole accepted test pool.

    Training candidates are ranked by Dice, ties by case; only accepted candidates have a rank. The
    limits of ``screen`` apply to the stored figures, so a changed limit needs no new screening. Cases
    keep the published masks with which they were screened.
    """
    codes = {case: _code(record, screen) for case, record in screenings.items()}
    accepted = {case for case, code in codes.items() if code is None}
    train = [row.case for row in rows if row.sampled == "train" and row.case in accepted]
    train.sort(key=lambda case: (screenings[case]["dice"], case))
    ranks = {case: rank for rank, case in enumerate(train, 1)}
    chosen = set(train[: settings.count])
    chosen |= {r.case for r in rows if r.sampled == "test_pool" and r.case in accepted}
    table: list[dict[str, object]] = [
        {
            "case": row.case,
            "role": row.sampled,
            **{name: _cell(screenings[row.case].get(name)) for name in FIGURES},
            "verdict": _verdict(codes[row.case]),
            "code": _cell(codes[row.case]),
            "rank": ranks.get(row.case, ""),
            "selected": "yes" if row.case in chosen else "no",
        }
        for row in rows
    ]
    published = screen.masks == "published"
    manifest: list[dict[str, object]] = [
        {
            "case": row.case,
            "patient_id": row.patient_id,
            "role": row.sampled,
            "fixed_source": row.fixed_series,
            "moving_source": row.moving_series,
            "fixed_time": row.fixed_time,
            "moving_time": row.moving_time,
            "fixed_mask": row.fixed_segmentation if published else "",
            "moving_mask": row.moving_segmentation if published else "",
        }
        for row in rows
        if row.case in chosen
    ]
    return Selection(table, manifest)


def _code(record: dict[str, Any], screen: ScreenSettings) -> str | None:
    """Return the reason code of a candidate that is not accepted, or None."""
    if record.get("dice") is None:
        return str(record.get("code"))
    broken = [gate for gate in gates(record, screen) if not gate["passed"]]
    return failed(broken[0]).code if broken else None


def _verdict(code: str | None) -> str:
    if code is None:
        return "accepted"
    return "discarded" if code.startswith("gate_") else "rejected"


def _cell(value: object) -> object:
    return "" if value is None else value


def select_pairs(
    results: Path, candidates: Path, settings: SelectSettings, screen: ScreenSettings, *, seed: int
) -> Selection:
    """Choose the pairs of a build and write ``pairs.tsv``, ``selection.tsv`` and ``names.tsv``.

    Raises ``BadInputError`` if a table or screening is missing or invalid, or no candidate was accepted
    (``nobody_accepted``).
    """
    rows = wanted_candidates(candidates, settings)
    selection = choose(rows, read_screenings(results, rows), settings, screen)
    if not selection.chosen:
        raise BadInputError(
            "no candidate was accepted",
            code="nobody_accepted",
            file=candidates,
            expected="at least one that passes all gates",
            found=f"{len(rows)} rejected or discarded",
            remedy="check the verdicts of the screening and the limits in 'screen'",
        )
    files = BuildFiles(results)
    cases = [str(row["case"]) for row in selection.chosen]
    names = published_names(files.names, cases, seed=seed)
    write_table(files.names, ("case", "name"), names)
    write_table(files.selection, SELECTION_COLUMNS, selection.rows)
    # Last, so that a manifest proves that the other files exist.
    write_table(files.pairs, MANIFEST_COLUMNS, selection.chosen)
    return selection
