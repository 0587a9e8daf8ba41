"""Read the list of scans for ``lcsd vessels --batch``."""

from dataclasses import dataclass
from pathlib import Path

from lcsd.build.provenance import provenance_path
from lcsd.errors import BadInputError
from lcsd.io.tables import read_rows

COLUMNS = ("image", "lungs", "output")


@dataclass(frozen=True)
class Job:
    """One scan of a list."""

    # image, lungs: CT and lung mask on one grid
    image: Path
    lungs: Path
    output: Path  # vessel mask to write
    rejected: Path | None  # where a failure is recorded, as by ``--rejected``; None if the list has no such cell


def read_list(path: Path) -> list[Job]:
    """Return the scans of a list (TSV: ``image``, ``lungs``, ``output``, optional ``rejected``).

    Paths are relative to the list. Raises ``BadInputError`` if the list is not a table, has no row or an empty
    cell, or if a row would overwrite an input, or an output or provenance file of another row.
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
        raise BadInputError("the list has no scans", code="empty_list", file=path, remedy="add a row for each scan")
    _check_outputs({row.line: job for row, job in zip(rows, jobs, strict=True)}, path)
    return jobs


def _check_outputs(jobs: dict[int, Job], path: Path) -> None:
    """Refuse a list in which a scan would overwrite an input, or the output of another scan.

    Paths are resolved first, since one file can have several names.
    """
    inputs = {file.resolve() for job in jobs.values() for file in (job.image, job.lungs)}
    seen: set[Path] = set()
    for line, job in jobs.items():
        written = {job.output.resolve(), provenance_path(job.output).resolve()}
        if written & (inputs | seen):
            what, remedy = "two rows write the same output or provenance", "give each output a different name"
            if written & inputs:
                what, remedy = "the output of a row is an input of the list", "name another file"
            raise BadInputError(
                what,
                code="duplicate_output",
                file=path,
                field=f"line {line}, column output",
                found=job.output,
                remedy=remedy,
            )
        seen |= written
