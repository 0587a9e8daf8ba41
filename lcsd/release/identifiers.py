"""Search for identifiers: names of patients, series and sources must not be published.

Every word of every file is searched, also in compressed data, in texts of two or four bytes per character, and with
non-ASCII letters in both cases and as JSON and Latin-1 encode them.
"""

import functools
import gzip
import io
import json
import re
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.jobs import BuildFiles
from lcsd.build.pairs import read_pairs
from lcsd.build.published_names import NAME_PATTERN
from lcsd.errors import BadInputError
from lcsd.io.tables import Row, read_rows
from lcsd.names import is_series_uid
from lcsd.release.vtp import decoded_arrays

MIN_CHARACTERS = 4
"""Shorter identifiers, such as p1, occur in any file by chance."""

MIN_WORD = 3
"""Least length of an identifier's longest run of letters and digits, by which it is searched."""

COHORT_COLUMNS = re.compile(r"case|patient_id|(?:fixed|moving)_(?:series|study|source|url|segmentation)")
"""Columns of a build's tables that hold identifiers; others hold counts and words."""

DATE_DIGITS = 6
"""A time point with fewer digits, such as T0, baseline or 2019, identifies no visit."""

YEAR_DIGITS = 4
"""A folder name of at most so many digits is a year or a number, which occurs in many texts."""

MANIFEST_COLUMNS = (
    "case",
    "patient_id",
    "fixed_source",
    "moving_source",
    "fixed_series",
    "moving_series",
    "fixed_time",
    "moving_time",
    "landmarks",
    "fixed_mask",
    "moving_mask",
    "fixed_vessels",
    "moving_vessels",
)

PATH_COLUMNS = re.compile(r"landmarks|(?:fixed|moving)_(?:source|mask|vessels|url|segmentation)")
"""Columns that hold paths, also without a slash."""

NUMBER_IN_NAME = re.compile(r"[0-9]{6,}")
"""Part of a file or folder name that is an identifier by itself: scan204816, 20230506."""

OWN_NAMES = re.compile(rb"lcsd_[0-9]{4,}(?:_000[01])?(?![0-9a-z])|`000[01]`")
"""Names of the release, lower case; patients may be numbered 0001, too."""

JSON_ESCAPE = re.compile(rb"\\u[0-9a-fA-F]{4}")
"""A non-ASCII letter in JSON."""

UID_PATTERN = re.compile(rb"[0-9]+(?:\.[0-9]+){5,}")
"""Any DICOM UID, in a table or not; no other number has five dots."""

HOME_PATTERN = re.compile(rb"/(?:home|users|root)/[0-9a-z]")
"""Home folders, lower case."""

WIDE_PATTERNS = {
    b"x\0" * MIN_CHARACTERS: re.compile(rb"(?:[\x20-\x7e]\0){4,}"),
    b"x\0\0\0" * MIN_CHARACTERS: re.compile(rb"(?:[\x20-\x7e]\0\0\0){4,}"),
}
"""Texts of two and of four bytes per character (as in NumPy), by their first bytes after ``_MARKED``."""

_MARKED = bytes(0 if code == 0 else ord("x" if 0x20 <= code <= 0x7E else "-") for code in range(256))
"""Translation of bytes to x (printable), zero or - (others)."""

GZIP_HEADER_BYTES = 256
"""Part of a gzip file that may hold a file name and a comment."""

ARRAY_TEXT = re.compile(rb"(?<=>)[^<>]+(?=</DataArray>)")
"""Compressed base64 data in a file for viewers."""

_LOWER = bytes(
    ord(chr(code).lower()) if chr(code).isascii() and (chr(code).isalnum() or chr(code) == ".") else ord(" ")
    for code in range(256)
)
"""Translation to words of lower-case letters, digits and dots, separated by spaces."""


@dataclass(frozen=True)
class Finding:
    """An identifier in a file."""

    file: str  # path inside the release
    kind: str  # column of its table, or its form; never the identifier itself


class Identifiers:
    """Texts that must not be published, and the search for them.

    ``texts`` are identifiers, each with its kind. ``harmless`` texts identify nobody; ``constants`` are texts of lcsd,
    such as citations, which are not searched.
    """

    def __init__(
        self, texts: Iterable[tuple[str, str]], *, harmless: Collection[str] = (), constants: Iterable[str] = ()
    ) -> None:
        self._by_word: dict[bytes, dict[str, str]] = defaultdict(dict)
        forms = {form for text in constants for form in (text, json.dumps(text)[1:-1])}
        own = (re.escape(form.encode().lower()) for form in sorted(forms, key=len, reverse=True))
        self._own = re.compile(b"|".join([OWN_NAMES.pattern, *own]))
        skipped = {text.strip().lower() for text in harmless}
        self.count = 0
        self.too_short = 0
        for text, kind in dict(sorted(texts)).items():
            known = text.strip().lower()
            if not known or known in skipped or NAME_PATTERN.fullmatch(known):
                continue
            word = max(re.findall("[0-9a-z]+", known), key=len, default="")
            if len(known) < MIN_CHARACTERS or len(word) < MIN_WORD:
                self.too_short += kind.split()[0] in ("case", "patient_id")
                continue
            self.count += 1
            self._by_word[word.encode()][known] = kind

    def find(self, file: str, content: bytes, *, figures: Collection[int] = ()) -> list[Finding]:
        """Return the identifiers in a file's name, its bytes and the files packed in it.

        ``file`` is a path inside the release. ``figures`` are numbers that the file states, such as its number of
        points; an equal identifier cannot be distinguished from them.
        """
        allowed = {str(figure) for figure in figures}
        kinds = {kind for part in _parts(file, content) for view in _views(part) for kind in self._kinds(view, allowed)}
        return [Finding(file, kind) for kind in sorted(kinds)]

    def _kinds(self, view: bytes, allowed: Collection[str]) -> Iterator[str]:
        words: set[bytes] = set()
        plain = JSON_ESCAPE.sub(b" ", view) if b"\\u" in view else view
        for text in set(plain.translate(_LOWER).split()):
            words.update(text.split(b"."))
            if UID_PATTERN.search(text):
                yield "a DICOM UID"
        hits = words & self._by_word.keys()
        # Most files have no hit, and lower-casing and searching all bytes is slow.
        lower = view.lower() if hits or b"/" in view else b""
        if HOME_PATTERN.search(lower):
            yield "a home folder"
        if hits:
            lower = self._own.sub(b" ", lower)
        for word in hits:
            for identifier, kind in self._by_word[word].items():
                if identifier not in allowed and _pattern(identifier).search(lower):
                    yield kind


@functools.cache
def _pattern(text: str) -> re.Pattern[bytes]:
    """Return a pattern of an identifier as a whole word: 1001 is not found in 51001."""
    alone = rb"(?<![0-9a-z])" + b"".join(map(_forms, text)) + rb"(?![0-9a-z])"
    if text.isdigit():
        # Nor in decimals: 0.1001 and 1001.5 are measurements.
        alone = rb"(?<![0-9]\.)" + alone + rb"(?!\.[0-9])"
    return re.compile(alone)


def _forms(letter: str) -> bytes:
    """Return a pattern of a letter, for bytes with ASCII letters in lower case."""
    if letter.isascii():
        return re.escape(letter.lower().encode())
    cases = {letter, letter.lower(), letter.upper()}
    texts = cases | {unicodedata.normalize("NFD", text) for text in cases}
    forms = {text.encode() for text in texts}
    forms |= {json.dumps(text)[1:-1].encode() for text in texts}
    forms |= {text.encode("latin-1", errors="ignore") for text in cases} - {b""}
    return b"(?:" + b"|".join(sorted(re.escape(form.lower()) for form in forms)) + b")"


def _views(part: bytes) -> Iterator[bytes]:
    yield part
    marked = part.translate(_MARKED)
    for begin, pattern in WIDE_PATTERNS.items():
        # Without this test, the pattern takes seconds on a volume of zeros.
        if begin in marked:
            yield from (run.replace(b"\0", b"") for run in pattern.findall(part))


def _parts(file: str, content: bytes) -> Iterator[bytes]:
    """Yield a file's name and bytes, or the headers and contents of a packed file.

    Compressed bytes are left out, since a gigabyte of them holds any six digits by chance.
    """
    yield file.encode()
    if file.endswith(".gz"):
        yield content[:GZIP_HEADER_BYTES]
        yield gzip.decompress(content)
    elif file.endswith(".vtp"):
        yield ARRAY_TEXT.sub(b"", content)
        yield from decoded_arrays(content)
    elif file.endswith(".parquet"):
        from lcsd.release.parquet import parts_of

        yield from parts_of(content)
    elif file.endswith((".npz", ".zip")):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive.comment
            for member in archive.infolist():
                yield member.comment + b" " + member.extra
                yield from _parts(member.filename, archive.read(member))
    else:
        yield content


def identifiers_of(
    results: Path, manifest: Path, *, harmless: Collection[str] = (), constants: Iterable[str] = ()
) -> Identifiers:
    """Return the identifiers of a build, from its manifest, the tables of its cohort and its paths.

    The kind of a manifest's identifier names the line. Raises ``BadInputError`` if the manifest or a table of the
    cohort is broken.
    """
    files = BuildFiles(results)
    found: set[tuple[str, str]] = set()
    for line, row in enumerate(_rows(manifest), 2):
        for column in MANIFEST_COLUMNS:
            cells = _of_cell(row.get(column, ""), column)
            found |= {(text, f"{kind} (line {line} of the manifest)") for text, kind in cells}
    for pair in read_pairs(manifest):
        found |= {(str(Path(pair.fixed_source).absolute()), "fixed_source")}
        found |= {(str(Path(pair.moving_source).absolute()), "moving_source")}
    for table in sorted(files.cohort.glob("*.tsv")):
        for row in _rows(table):
            for column in row:
                if COHORT_COLUMNS.fullmatch(column):
                    found |= _of_cell(row[column], column)
    for folder, kind in ((files.cases, "case"), (files.series, "series")):
        if folder.is_dir():
            found |= {(p.name, kind) for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    found |= {(str(path.absolute()), "path of the build") for path in (results, manifest.parent)}
    return Identifiers(found, harmless=harmless, constants=constants)


def _rows(table: Path) -> list[Row]:
    rows = read_rows(table)
    for row in rows:
        if any("\n" in text for text in row.values()):
            raise BadInputError(
                "a cell holds a line break, perhaps from an open quotation mark",
                code="bad_table",
                file=table,
                field=f"line {row.line}",
                remedy="remove the quotation mark",
            )
    return rows


def _of_cell(text: str, kind: str) -> set[tuple[str, str]]:
    """Return a cell, and the parts of a path that hold a digit, since folders are named after patients."""
    if kind.endswith("_time") and sum(c.isdigit() for c in text) < DATE_DIGITS:
        return set()
    parts = {text}
    if ("/" in text or PATH_COLUMNS.fullmatch(kind)) and not is_series_uid(text):
        names = {form for name in text.split("/") for form in _without_suffixes(name)}
        names |= {number for name in names for number in NUMBER_IN_NAME.findall(name)}
        parts |= {
            name
            for name in names
            if any(c.isdigit() for c in name) and not (name.isdigit() and len(name) <= YEAR_DIGITS)
        }
    return {(part, kind) for part in parts}


def _without_suffixes(name: str) -> Iterator[str]:
    """Yield a name with all, some and none of its suffixes."""
    yield name
    while Path(name).suffix:
        name = Path(name).stem
        yield name
