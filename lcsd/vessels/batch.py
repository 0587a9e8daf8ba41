"""Many scans by one process: the list that names them."""

from dataclasses import dataclass
from pathlib import Path

from lcsd.build.provenance import provenance_path
from lcsd.errors import BadInputError
from lcsd.io.tables import read_rows

COLUMNS = ("image", "lungs", "output")


@dataclass(frozen=True)
class Job:
    """One scan of a list.

    Parameters
    ----------
    image, lungs
        CT and lung mask on one grid.
    output
        Vessel mask to make.
    rejected
        Where a failure is recorded, as by ``--rejected``; none if the list does not say.
    """

    image: Path
    lungs: Path
    output: Path
    rejected: Path | None


def read_list(path: Path) -> list[Job]:
    """Return the scans of a list (TSV: ``image``, ``lungs``, ``output``, optional ``rejected``).

    Paths are relative to the list.

    Raises
    ------
    BadInputError
        If the list is no table, has no row, an empty cell, an output twice, two outputs whose
        provenance is one file, or an output that is a scan or a lung mask of the list.
    """
    jobs: list[Job] = []
    rows = read_rows(path, COLUMNS)
    for row in rows:
        for name in COLUMNS:
            if not row[name]:
                raise BadInputError(
                    "the cell is empty",
                    code="bad_row",
                    file=path,
                    field=f"line {row.line}, column {name}",
                    remedy="name a file",
                )
        image, lungs, output = (path.parent / row[name] for name in COLUMNS)
        rejected = row.get("rejected")
        jobs.append(Job(image, lungs, output, path.parent / rejected if rejected else None))
    if not jobs:
        raise BadInputError("the list names no scan", code="empty_list", file=path, remedy="add a row for each")
    _check_outputs({row.line: job for row, job in zip(rows, jobs, strict=True)}, path)
    return jobs


def _check_outputs(jobs: dict[int, Job], path: Path) -> None:
    """Refuse a list by which a scan would overwrite what belongs to another, or an input.

    Compared is where a path leads to: one file has many names.
    """
    inputs = {file.resolve() for job in jobs.values() for file in (job.image, job.lungs)}
    seen: set[Path] = set()
    for line, job in jobs.items():
        written = {job.output.resolve(), provenance_path(job.output).resolve()}
        for what, taken, remedy in (
            ("a row makes what another row reads", inputs, "name another file"),
            ("two rows make the same file or provenance", seen, "give each a name of its own"),
        ):
            if written & taken:
                raise BadInputError(
                    what,
                    code="duplicate_output",
                    file=path,
                    field=f"line {line}, column output",
                    found=job.output,
                    remedy=remedy,
                )
        seen |= written
