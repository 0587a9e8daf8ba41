"""Many scans by one process: the list that names them."""

from dataclasses import dataclass
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.tables import read_rows

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
        If the list is no table, has no row, an empty cell or an output twice.
    """
    jobs: list[Job] = []
    for number, row in enumerate(read_rows(path, COLUMNS), 2):
        for name in COLUMNS:
            if not row[name]:
                raise BadInputError(
                    "the cell is empty", code="bad_row", file=path,
                    field=f"row {number}, column {name}", remedy="name a file",
                )  # fmt: skip
        image, lungs, output = (path.parent / row[name] for name in COLUMNS)
        if any(job.output == output for job in jobs):
            raise BadInputError(
                "two rows make the same file", code="duplicate_output", file=path,
                field=f"row {number}, column output", found=row["output"],
                remedy="give each scan an output of its own",
            )  # fmt: skip
        rejected = row.get("rejected")
        jobs.append(Job(image, lungs, output, path.parent / rejected if rejected else None))
    if not jobs:
        raise BadInputError(
            "the list names no scan", code="empty_list", file=path, remedy="add a row for each"
        )
    return jobs
