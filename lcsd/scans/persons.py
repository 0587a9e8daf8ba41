"""Compare what two headers say about the person. The values are never written, only which elements differ."""

import re
from dataclasses import dataclass

from lcsd.scans.dicom import Header

PLACEHOLDER = re.compile(
    r"ANON(YM\w*)?|DE-?IDENTIFIED|DEID|REMOVED|UNKNOWN|NONE|NULL|N/?A|NO ?ID|NOT? ?GIVEN|PATIENT|0+|X+|[-*?.]+"
)
"""What takes the place of a number that was removed."""

SEXES = frozenset({"F", "M"})
"""Values that contradict each other; others are unknown or removed."""

DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
"""A date of birth, also as ACR-NEMA wrote it."""

OLDEST_YEAR = 1900
"""Dates of birth up to this year take the place of removed ones."""

ONLY_YEAR = "0101"
"""Month and day where only the year was kept."""


@dataclass(frozen=True)
class Comparison:
    """Elements of two headers that can be compared, and those of them that contradict each other."""

    compared: tuple[str, ...]
    differ: tuple[str, ...]


def compare(first: Header, second: Header) -> Comparison:
    """Return which elements that identify a person differ between the headers of two scans.

    Elements that are missing or were removed tell nothing. Nor do the numbers of two issuers, a number that the other
    header lists among further ones of its patient, and a real number next to a pseudonym. Of dates of birth, only the
    years count if one of them is the first of January, which may stand for the whole year.
    """
    found = {
        "PatientID": _other_number(first, second),
        "PatientSex": _other_sex(first, second),
        "PatientBirthDate": _other_birth(first, second),
    }
    known = tuple(name for name, differs in found.items() if differs is not None)
    return Comparison(known, tuple(name for name in known if found[name]))


def _other_number(first: Header, second: Header) -> bool | None:
    numbers = [_number(header) for header in (first, second)]
    if not all(numbers):
        return None
    if numbers[0] == numbers[1]:
        return False
    listed = [set(header.texts("OtherPatientIDs")) for header in (first, second)]
    if numbers[0] in listed[1] or numbers[1] in listed[0]:
        return False
    issuers = {header.text("IssuerOfPatientID") for header in (first, second)} - {""}
    removed = {header.text("PatientIdentityRemoved") == "YES" for header in (first, second)}
    return True if len(issuers) < 2 and len(removed) == 1 else None


def _number(header: Header) -> str:
    number = header.text("PatientID")
    return "" if PLACEHOLDER.fullmatch(number) else number


def _other_sex(first: Header, second: Header) -> bool | None:
    sexes = [header.text("PatientSex") for header in (first, second)]
    return sexes[0] != sexes[1] if SEXES.issuperset(sexes) else None


def _other_birth(first: Header, second: Header) -> bool | None:
    birth, other = _birth(first), _birth(second)
    if birth is None or other is None:
        return None
    return birth[0] != other[0] or (birth[1] != other[1] and ONLY_YEAR not in (birth[1], other[1]))


def _birth(header: Header) -> tuple[int, str] | None:
    """Return the year, and month and day, of a date of birth."""
    found = DATE.fullmatch(header.text("PatientBirthDate"))
    if found is None or int(found[1]) <= OLDEST_YEAR:
        return None
    return int(found[1]), found[2] + found[3]
