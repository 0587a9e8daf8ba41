"""The search for identifiers: nothing that names a patient, a series or a source may be published.

Every word of every file is looked up, also inside what is compressed, and in texts of two or four
bytes a character.
"""

import csv
import gzip
import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.pairs import read_pairs
from lcsd.release.vtp import decoded_arrays
from lcsd.selection.names import NAME_PATTERN

MIN_CHARACTERS = 4
"""Shorter identifiers, such as p1, stand in any file by chance."""

MIN_WORD = 3
"""An identifier is found by its longest run of letters and digits, at least this long."""

COHORT_COLUMNS = re.compile(
    r"case|patient_id|(?:fixed|moving)_(?:series|study|source|url|segmentation)"
)
"""Columns of a build's tables whose cells are identifiers; others are counts and words."""

DATE_DIGITS = 6
"""A time point with fewer digits, such as T0, baseline or 2019, names nobody's visit."""

YEAR_DIGITS = 4
"""A folder named by so few digits is a year or a number, which stands in many texts."""

MANIFEST_COLUMNS = (
    "case", "patient_id", "fixed_source", "moving_source", "fixed_series", "moving_series",
    "fixed_time", "moving_time", "landmarks", "fixed_mask", "moving_mask", "fixed_vessels",
    "moving_vessels",
)  # fmt: skip

UID_PATTERN = re.compile(rb"[0-9]+(?:\.[0-9]+){5,}")
"""Any DICOM UID, in a table or not; no number of ours has five dots."""

HOME_PATTERN = re.compile(rb"/(?:home|users|root)/[0-9a-z]")
"""Folders of persons, lower case."""

WIDE_PATTERNS = {
    b"x\0" * MIN_CHARACTERS: re.compile(rb"(?:[\x20-\x7e]\0){4,}"),
    b"x\0\0\0" * MIN_CHARACTERS: re.compile(rb"(?:[\x20-\x7e]\0\0\0){4,}"),
}
"""Texts of two and of four bytes a character (numpy's), and what they begin with once marked."""

_MARKED = bytes(
    0 if code == 0 else ord("x" if 0x20 <= code <= 0x7E else "-") for code in range(256)
)
"""Translation that leaves of a text only which bytes are printable and which are zero."""

GZIP_HEADER_BYTES = 256
"""The file name and the comment that a gzip file may carry stand here."""

ARRAY_TEXT = re.compile(rb"(?<=>)[^<>]+(?=</DataArray>)")
"""Compressed data in a file for viewers, in base64."""

_LOWER = bytes(
    ord(chr(code).lower()) if chr(code).isascii() and (chr(code).isalnum() or chr(code) == ".")
    else ord(" ")
    for code in range(256)
)  # fmt: skip
"""Translation to words of lower-case letters, digits and dots, separated by spaces."""


@dataclass(frozen=True)
class Finding:
    """An identifier in a file.

    Parameters
    ----------
    file
        Path inside the release.
    kind
        Which column of a table it stands in, or what it looks like; never the identifier.
    """

    file: str
    kind: str


class Identifiers:
    """What must not be published, and how to find it.

    Parameters
    ----------
    texts
        Identifiers and where each comes from.
    harmless
        Texts that identify nobody.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], *, harmless: Collection[str] = ()) -> None:
        self._by_word: dict[bytes, dict[bytes, str]] = defaultdict(dict)
        skipped = {text.strip().lower() for text in harmless}
        self.count = 0
        self.too_short = 0
        for text, kind in dict(sorted(texts)).items():
            known = text.strip().lower()
            if not known or known in skipped or NAME_PATTERN.fullmatch(known):
                continue
            word = max(re.findall("[0-9a-z]+", known), key=len, default="")
            if len(known) < MIN_CHARACTERS or len(word) < MIN_WORD:
                self.too_short += kind in ("case", "patient_id")
                continue
            self.count += 1
            self._by_word[word.encode()][known.encode()] = kind

    def find(self, file: str, content: bytes, *, figures: Collection[int] = ()) -> list[Finding]:
        """Return what is found in a file's bytes, its name and all that is packed in it.

        Parameters
        ----------
        file
            Path inside the release.
        content
            The file's bytes.
        figures
            Numbers that the file states, such as its number of points: an identifier that is
            the same number cannot be told from it.
        """
        allowed = {str(figure).encode() for figure in figures}
        kinds = {
            kind
            for part in _parts(file, content)
            for view in _views(part)
            for kind in self._kinds(view, allowed)
        }
        return [Finding(file, kind) for kind in sorted(kinds)]

    def _kinds(self, view: bytes, allowed: Collection[bytes]) -> Iterator[str]:
        words: set[bytes] = set()
        for text in set(view.translate(_LOWER).split()):
            words.update(text.split(b"."))
            if UID_PATTERN.search(text):
                yield "a DICOM UID"
        hits = words & self._by_word.keys()
        # Most files have none, and lower-casing and searching all bytes is slow.
        lower = view.lower() if hits or b"/" in view else b""
        if HOME_PATTERN.search(lower):
            yield "a folder of a person"
        for word in hits:
            for text, kind in self._by_word[word].items():
                if text not in allowed and _pattern(text).search(lower):
                    yield kind


def _pattern(text: bytes) -> re.Pattern[bytes]:
    """Return a pattern of an identifier that stands alone: 1001 is not found in 51001."""
    alone = rb"(?<![0-9a-z])" + re.escape(text) + rb"(?![0-9a-z])"
    if text.isdigit():
        # Nor in decimals: 0.1001 and 1001.5 are measurements.
        alone = rb"(?<![0-9]\.)" + alone + rb"(?!\.[0-9])"
    return re.compile(alone)


def _views(part: bytes) -> Iterator[bytes]:
    yield part
    marked = part.translate(_MARKED)
    for begin, pattern in WIDE_PATTERNS.items():
        # The pattern alone would take seconds for a volume of zeros.
        if begin in marked:
            yield from (run.replace(b"\0", b"") for run in pattern.findall(part))


def _parts(file: str, content: bytes) -> Iterator[bytes]:
    """Yield a file's name and bytes; of a packed one its headers and what is packed in it.

    Compressed bytes are left out: in a gigabyte of them any six digits turn up by chance.
    """
    yield file.encode()
    if file.endswith(".gz"):
        yield content[:GZIP_HEADER_BYTES]
        yield gzip.decompress(content)
    elif file.endswith(".vtp"):
        yield ARRAY_TEXT.sub(b"", content)
        yield from decoded_arrays(content)
    elif file.endswith((".npz", ".zip")):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive.comment
            for member in archive.infolist():
                yield member.comment + b" " + member.extra
                yield from _parts(member.filename, archive.read(member))
    else:
        yield content


def identifiers_of(results: Path, manifest: Path, *, harmless: Collection[str] = ()) -> Identifiers:
    """Return the identifiers of a build: of its manifest, its cohort's tables, and its paths.

    Raises
    ------
    BadInputError
        The manifest or a table of the cohort is broken.
    """
    found: set[tuple[str, str]] = set()
    for row in _rows(manifest):
        for column in MANIFEST_COLUMNS:
            found |= _of_cell(row.get(column) or "", column)
    for pair in read_pairs(manifest):
        found |= {(str(Path(pair.fixed_source).absolute()), "fixed_source")}
        found |= {(str(Path(pair.moving_source).absolute()), "moving_source")}
    for table in sorted((results / "cohort").glob("*.tsv")):
        for row in _rows(table):
            for column in row:
                if COHORT_COLUMNS.fullmatch(column):
                    found |= _of_cell(row[column] or "", column)
    for folder, kind in (("cases", "case"), ("series", "series")):
        if (results / folder).is_dir():
            found |= {
                (path.name, kind)
                for path in (results / folder).iterdir()
                if path.is_dir() and not path.name.startswith(".")
            }
    found |= {(str(path.absolute()), "path of the build") for path in (results, manifest.parent)}
    return Identifiers(found, harmless=harmless)


def _rows(table: Path) -> list[dict[str, str | None]]:
    with table.open(newline="", encoding="utf-8-sig") as handle:
        try:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInputError(
                f"not a readable table ({error})", code="bad_table", file=table
            ) from error
    return [{key: text for key, text in row.items() if key is not None} for row in rows]


def _of_cell(text: str, kind: str) -> set[tuple[str, str]]:
    """Return a cell and, of a path, its parts with a digit: folders are named after patients."""
    if kind.endswith("_time") and sum(c.isdigit() for c in text) < DATE_DIGITS:
        return set()
    parts = {text}
    if "/" in text:
        names = (name.removesuffix(".gz").split(".nii")[0] for name in text.split("/"))
        parts |= {
            name
            for name in names
            if any(c.isdigit() for c in name) and not (name.isdigit() and len(name) <= YEAR_DIGITS)
        }
    return {(part, kind) for part in parts}
