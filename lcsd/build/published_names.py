"""Names under which cases are published: numbers that say nothing of patient or motion."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.tables import read_cases

NAME_PATTERN = re.compile(r"lcsd_([0-9]{4,})")


def published_names(path: Path, cases: Sequence[str], *, seed: int) -> list[dict[str, object]]:
    """Return the rows ``case``, ``name`` of all cases that have or get a name, sorted by case.

    Names in the file at ``path`` stay, also those of cases that are not chosen any more: a name
    once published never means another case. New cases are put in the order of a hash of seed and
    case, which is a random permutation, and get the next free numbers.

    Raises
    ------
    BadInputError
        The file is broken, or a name in it is not a name of ours or stands there twice.
    """
    given = {row["case"]: row["name"] for row in read_cases(path, ("name",))} if path.exists() else {}
    for case, name in given.items():
        if not NAME_PATTERN.fullmatch(name) or list(given.values()).count(name) > 1:
            raise BadInputError(
                "not a published name of its own",
                code="bad_name",
                file=path,
                field=case,
                expected="lcsd_ and a number that no other case has",
                found=repr(name),
                remedy="restore the file; published names must not change",
            )
    last = max((int(name.removeprefix("lcsd_")) for name in given.values()), default=0)
    new = sorted(
        (case for case in cases if case not in given),
        key=lambda case: hashlib.sha256(f"name:{seed}:{case}".encode()).hexdigest(),
    )
    given |= {case: f"lcsd_{number:04d}" for number, case in enumerate(new, last + 1)}
    return [{"case": case, "name": given[case]} for case in sorted(given)]
