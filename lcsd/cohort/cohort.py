"""Build a cohort: load the index, apply the rules, draw the samples, count, price, write."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lcsd.cohort.index import Connection, Wanted, connect, default_index, first_row, load_series
from lcsd.cohort.rules import Step, funnel, judge
from lcsd.cohort.sample import draw
from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import BLANKS, FORMULA_SIGNS, TEXT_SIGN, atomic_path, write_table
from lcsd.io.tables import read_entries
from lcsd.names import UID_LENGTH, is_uid
from lcsd.settings.cohort import CohortSettings

ID_RULES: dict[str, tuple[Callable[[str], object], str]] = {
    "patient": (re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch, "letters, digits, '.', '_' and '-'"),
    "series": (is_uid, f"a DICOM UID: numbers between '.', at most {UID_LENGTH} characters"),
}
"""DICOM PS3.5 6.2 limits both to 64 characters."""

MEGABYTES_PER_GB = 1000.0
MEGABIT_PER_GB = 8000.0
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Cohort:
    """A cohort, still in its database."""

    connection: Connection
    settings: CohortSettings
    steps: list[Step]  # the funnel
    index: Path  # main index that was used
    download_gb: float  # size of the sampled series, 10^9 bytes

    @property
    def download_hours(self) -> float:
        """Hours of download at the setting's network speed."""
        return self.download_gb * MEGABIT_PER_GB / self.settings.bandwidth_mbit_s / SECONDS_PER_HOUR

    @property
    def download_usd(self) -> float:
        """Price of the download in US dollars."""
        return self.download_gb * self.settings.egress_usd_per_gb

    def count(self, name: str) -> int:
        """Return the number of patients left after a step."""
        return next(step.patients for step in self.steps if step.name == name)

    def warnings(self) -> list[str]:
        """Return lines about skipped checks and samples that are too small."""
        lines = [
            f"{name} is not given, so {what} is not checked; download it with the package "
            f"idc-index and give it with --set {name}=FILE"
            for name, what in (
                ("volume_geometry_index", "the spacing of slices"),
                ("ct_index", "the tilt of the gantry"),
            )
            if getattr(self.settings, name) is None
        ]
        lines += [
            f"{self.count(role)} of {wanted} pairs for {role}: there are no more candidates"
            for role, wanted in (("train", self.settings.train), ("test_pool", self.settings.test_pool))
            if self.count(role) < wanted
        ]
        return lines


def read_ids(kind: str, given: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """Return the user's ``patient`` or ``series`` identifiers from options and from a file (one per line)."""
    rows: list[tuple[str, Path | None, str]] = [(identifier.strip(), None, f"--{kind}") for identifier in given]
    if file is not None:
        entries = read_entries(file)
        if not entries:
            raise BadInputError(
                "no identifier in the list", code="empty_table", file=file, expected="one identifier per line"
            )
        rows += [(identifier, file, f"line {line}") for line, identifier in entries]
    is_id, expected = ID_RULES[kind]
    for identifier, where, field in rows:
        if not is_id(identifier):
            raise BadInputError(
                f"not a {kind} identifier",
                code="bad_identifier",
                file=where,
                field=field,
                expected=expected,
                found=repr(identifier),
                remedy="correct it",
            )
    return tuple(dict.fromkeys(identifier for identifier, _, _ in rows))


def build(settings: CohortSettings, wanted: Wanted, *, seed: int, threads: int) -> Cohort:
    """Return the cohort for the settings; ``seed`` draws its samples."""
    index = settings.index or default_index()
    connection = connect(threads)
    try:
        load_series(connection, index, settings, wanted)
        judge(connection, settings)
        draw(connection, settings, seed=seed)
        row = first_row(
            connection,
            "SELECT coalesce(sum((fixed_size_mb + moving_size_mb)::DECIMAL(18, 3)), 0)"
            " FROM candidates WHERE sampled IS NOT NULL",
        )
        steps = funnel(connection, settings)
    except duckdb.OutOfMemoryException as error:
        raise WorkError(
            "the query needs more memory than it may use",
            code="out_of_memory",
            file=index,
            remedy="use --threads 1, or a machine with 2 GiB of free memory",
        ) from error
    gigabytes = float(row[0]) / MEGABYTES_PER_GB if row else 0.0
    return Cohort(connection, settings, steps, index, gigabytes)


KERNEL_SHARES = """
SELECT maker, kernel, family, series,
    round(series / sum(series) OVER (PARTITION BY maker), 6) AS share_of_maker,
    round(series / sum(series) OVER (), 6) AS share_of_all
FROM (
    SELECT maker, kernel, family, count(*) AS series FROM judged WHERE broken > 3
    GROUP BY maker, kernel, family
) ORDER BY series DESC, maker, kernel, family
"""
"""Series that pass the rules up to the kind, by kernel: all time points, every thickness."""


def _as_cells(table: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Return a table without formulas; the same rule as :func:`lcsd.io.files.as_cell`."""
    begins = f"^[{TEXT_SIGN * 2}{BLANKS}]*[{re.escape(FORMULA_SIGNS)}]"
    cells = []
    for name, kind in zip(table.columns, table.types, strict=True):
        text = (
            f"CASE WHEN regexp_matches(\"{name}\", '{begins}') "
            f'AND try_cast("{name}" AS DOUBLE) IS NULL '
            f'THEN \'{TEXT_SIGN * 2}\' || "{name}" ELSE "{name}" END AS "{name}"'
        )
        cells.append(text if kind == "VARCHAR" else f'"{name}"')
    return table.project(", ".join(cells))


def write(cohort: Cohort, folder: Path) -> Path:
    """Write all tables and the funnel's figure; return the path of ``candidates.tsv``, which is written last."""
    from lcsd.cohort.figure import funnel_figure
    from lcsd.io.plotting import render, save

    first = cohort.steps[0]
    before = [first, *cohort.steps]
    rows = [
        {
            "step": step.name,
            "reason": step.reason,
            "asked": step.text,
            "patients": step.patients,
            "series": step.series,
            "patients_removed": max(0, last.patients - step.patients)
            if step.name not in ("train", "test_pool")
            else "",
        }
        for last, step in zip(before, cohort.steps, strict=False)
    ]
    write_table(folder / "funnel.tsv", tuple(rows[0]), rows)
    save(folder / "funnel.png", render(funnel_figure(cohort.steps), "png"))
    queries = {
        "kernels.tsv": KERNEL_SHARES,
        "rejected.tsv": "SELECT * FROM rejected ORDER BY patient_id",
        "candidates.tsv": "SELECT * FROM candidates ORDER BY patient_id",
    }
    for name, query in queries.items():
        with atomic_path(folder / name) as temporary:
            _as_cells(cohort.connection.sql(query)).write_csv(str(temporary), sep="\t", header=True)
    return folder / "candidates.tsv"
