"""Published names of cases: random numbers, independent of patient and motion."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.tables import read_cases

NAME_PATTERN = re.compile(r"lcsd_([0-9]{4,})")


def published_names(path: Path, cases: Sequence[str], *, seed: int) -> list[dict[str, object]]:
    """Return the rows ``case``, ``name`` of all cases with a name, sorted by case.

    Names in the file at ``path`` stay, also those of cases that are no longer chosen, so that a published name never
    means another case. New cases get the next numbers in the order of a hash of seed and case, a random permutation.
    Raises ``BadInputError`` if the file is broken, or holds a name that is not valid or is repeated (``bad_name``).
    """
    given = {row["case"]: row["name"] for row in read_cases(path, ("name",))} if path.exists() else {}
    for case, name in given.items():
        if not NAME_PATTERN.fullmatch(name) or list(given.values()).count(name) > 1:
            raise BadInputError(
                "not a unique published name",
                code="bad_name",
                file=path,
                field=case,
                expected="lcsd_ and a unique number",
                found=repr(name),
                remedy="restore the file, since published names must not change",
            )
    last = max((int(name.removeprefix("lcsd_")) for name in given.values()), default=0)
    new = sorted(
        (case for case in cases if case not in given),
        key=lambda case: hashlib.sha256(f"name:{seed}:{case}".encode()).hexdigest(),
    )
    given |= {case: f"lcsd_{number:04d}" for number, case in enumerate(new, last + 1)}
    return [{"case": case, "name": given[case]} for case in sorted(given)]
