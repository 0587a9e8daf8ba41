"""``lcsd release``: write a dataset under a temporary name, search it for identifiers, then rename it."""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.inventory import Inventory, Problem
from lcsd.build.jobs import BuildFiles
from lcsd.build.provenance import Recorder
from lcsd.build.published_names import published_names
from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.io.files import atomic_path, leftovers_of, sha256, temporary_path, write_json, write_table, write_text
from lcsd.io.tables import read_cases
from lcsd.names import SCANS
from lcsd.release.archive import write_archive, write_checksums
from lcsd.release.card import Facts, citations, description, own_texts, render
from lcsd.release.case import Written, write_case
from lcsd.release.choice import Chosen, choose
from lcsd.release.citation import citation_file, datacite
from lcsd.release.croissant import croissant
from lcsd.release.identifiers import Identifiers, identifiers_of
from lcsd.release.layout import (
    CARD_NAME,
    CASE_COLUMNS,
    CASES_NAME,
    CHECKSUMS_NAME,
    CITATION_NAME,
    CLOUDS,
    CROISSANT_NAME,
    DATACITE_NAME,
    FOLDER_SUFFIX,
    LEARN2REG_NAME,
    LEFT_OUT_NAME,
    LICENCE_NAME,
    METHODS_NAME,
    parquet_file,
)
from lcsd.release.learn2reg import learn2reg
from lcsd.release.methods import methods
from lcsd.release.parquet import write_cases
from lcsd.settings.release import ReleaseSettings

CLOUD_FACTOR = 3
"""Size of a published cloud with its file for viewers, over the size in the build."""

TEXT_BYTES = 1 << 20
"""Room for tables, texts and checksums."""

Progress = Callable[[Sequence[Chosen]], Iterable[Chosen]]


@dataclass(frozen=True)
class Release:
    """What was published."""

    folder: Path
    archive: Path | None  # None if the settings ask for none
    # train, test, left_out: numbers of cases
    train: int
    test: int
    left_out: int
    # files, size_bytes: of the files in the folder
    files: int
    size_bytes: int
    problems: tuple[Problem, ...]  # broken files that leave a case out
    gates: str | None  # one line on the cases that gates leave out
    identifiers: int  # number that was searched for
    too_short: int  # number of identifiers that are too short for a search


class _Writer:
    """Gives paths in the temporary folder and remembers the numbers that each file states."""

    def __init__(self, folder: Path, identifiers: Identifiers) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}
        self._figures: dict[str, tuple[int, ...]] = {}
        self._identifiers = identifiers

    def add(self, name: str, figures: tuple[int, ...] = ()) -> Path:
        """Return the path for a file of the release; ``figures`` are numbers that it states."""
        self._figures[name] = figures
        return self.folder / name

    def close(self) -> None:
        """Search the files added since the last call for identifiers, and hash them.

        Raises ``BadInputError`` (``identifier_in_release``) if a file identifies a patient, a series or a source.
        """
        for name, figures in self._figures.items():
            content = (self.folder / name).read_bytes()
            found = self._identifiers.find(name, content, figures=figures)
            if found:
                kinds = ", ".join(finding.kind for finding in found)
                raise BadInputError(
                    "the file would publish an identifier",
                    code="identifier_in_release",
                    file=name,
                    expected="no text of the manifest and of the cohort's tables",
                    found=f"a cell of {kinds}",
                    remedy="rename its source, or list it in release.harmless if it identifies nobody",
                )
            self.hashes[name] = sha256(self.folder / name)
        self._figures.clear()


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to ``out``; remove it after the block if it is still there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in leftovers_of(out):
        shutil.rmtree(left, ignore_errors=True)
    temporary = temporary_path(out)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _name(folder: Path, out: Path) -> None:
    """Rename a finished folder to the release, then delete an earlier release."""
    if not out.exists():
        folder.rename(out)
        return
    earlier = temporary_path(out)
    out.rename(earlier)
    folder.rename(out)
    shutil.rmtree(earlier, ignore_errors=True)


def _archive_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.zip")


def _check_target(out: Path, *, replace: bool) -> None:
    if out.name in ("", ".."):
        raise BadInputError(
            "the path has no name for the folder and its archive",
            code="bad_folder",
            file=out,
            expected="a path like results/release",
            remedy="name the folder itself",
        )
    if out.is_symlink():
        raise BadInputError(
            "the folder of the release is a link", code="bad_folder", file=out, remedy="name the folder itself"
        )
    earlier = replace and (out / CHECKSUMS_NAME).is_file()
    if out.exists() and not earlier and (not out.is_dir() or any(out.iterdir())):
        raise BadInputError(
            "the folder of the release is not empty",
            code="not_empty",
            file=out,
            expected="an earlier release, or nothing" if replace else None,
            remedy="remove it, or name another" + ("" if replace else "; --replace replaces an earlier release"),
        )
    if _archive_of(out).exists() and not replace:
        raise BadInputError(
            "the archive of a release exists",
            code="not_empty",
            file=_archive_of(out),
            remedy="remove it, name another folder, or give --replace",
        )


def _check_space(chosen: Sequence[Chosen], out: Path, settings: ReleaseSettings) -> None:
    needed = TEXT_BYTES
    for item in chosen:
        files = item.files
        volumes = [path for scan in SCANS for path in (files.vessels(scan), files.mask(scan))]
        volumes += [files.image(scan) for scan in SCANS] if settings.images else []
        clouds = [files.cloud(scan, kind) for scan in SCANS for kind in CLOUDS.values()]
        needed += sum(map(_size, volumes)) + 2 * _size(files.correspondences) + CLOUD_FACTOR * sum(map(_size, clouds))
    needed *= 2 if settings.archive else 1
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise WorkError(
            "the disk is too full for the release",
            code="disk_full",
            file=out.parent,
            expected=f"{needed / 1e9:.2f} GB",
            found=f"{free / 1e9:.2f} GB free",
            remedy="free space, or name a folder on another disk",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _names(results: Path, manifest: Path, chosen: Sequence[Chosen], seed: int) -> dict[str, str]:
    """Return the published name of each case; new names are stored in the build."""
    path = BuildFiles(results).names
    rows = published_names(path, [item.case for item in chosen], seed=seed)
    before = {row["case"] for row in read_cases(path, ("name",))} if path.exists() else set()
    names = {str(row["case"]): str(row["name"]) for row in rows}
    if names.keys() != before:
        write_table(path, ("case", "name"), rows)
        Recorder("release", {"seed": seed}).write(path, inputs={"manifest": manifest})
    return names


def _integers(value: object) -> Iterator[int]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _integers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        yield int(value)


def _write_texts(writer: _Writer, facts: Facts, settings: ReleaseSettings) -> None:
    numbers = [value for case in facts.cases for value in case.row.values()]
    counts = tuple(value for value in numbers if isinstance(value, int))
    ordered = sorted(facts.cases, key=lambda case: case.name)
    write_table(writer.add(CASES_NAME, counts), tuple(CASE_COLUMNS), [case.row for case in ordered])
    if settings.parquet:
        for split in FOLDER_SUFFIX:
            rows = [case.row for case in ordered if case.split == split]
            if rows:
                write_cases(writer.add(parquet_file("cases", split), counts), rows)
    left_out = [{"reason": reason, "cases": count} for reason, count in facts.left_out.items()]
    write_table(writer.add(LEFT_OUT_NAME), ("reason", "cases"), left_out)
    limits = tuple(_integers(facts.methods))
    write_json(writer.add(METHODS_NAME, limits), facts.methods)
    text = description(settings, facts)
    works = citations(settings, facts)
    reference = " ".join(works)
    dataset = learn2reg(facts.cases, settings, description=text, reference=reference)
    write_json(writer.add(LEARN2REG_NAME), dataset)
    write_text(writer.add(CITATION_NAME), citation_file(settings, description=text))
    write_json(writer.add(DATACITE_NAME), datacite(settings, description=text, citations=works))
    write_text(writer.add(LICENCE_NAME), render(settings, facts, template="LICENSE.j2"))
    write_text(writer.add(CARD_NAME, limits), render(settings, facts, template="README.md.j2"))
    writer.close()
    content = croissant(writer.hashes, settings, description=text, cite_as=reference)
    write_json(writer.add(CROISSANT_NAME), content)
    writer.close()


def write_release(
    results: Path,
    manifest: Path,
    out: Path,
    settings: ReleaseSettings,
    *,
    seed: int = 0,
    replace: bool = False,
    progress: Progress = iter,
) -> Release:
    """Write the publishable dataset of a build; equal builds give equal bytes.

    ``manifest`` is the build's ``pairs.tsv``; names of new cases are added to the ``cohort/names.tsv`` of ``results``,
    in an order drawn from ``seed``. ``out`` is missing or empty, unless ``replace`` allows an earlier release there: it
    and its archive are deleted once the new one is complete. The archive is written next to ``out``. ``progress`` wraps
    the cases while they are written.

    Raises ``BadInputError`` if no case can be published, the folder is not empty, is a link or has no name, a file of
    the build is missing or broken, an identifier would be published, or a patient is in both splits; ``WorkError`` if
    the disk is too full.
    """
    _check_target(out, replace=replace)
    archive = _archive_of(out) if settings.archive else None
    choice = choose(results, manifest)
    if not choice.chosen:
        reasons = ", ".join(f"{count} {why}" for why, count in choice.reasons().items())
        raise BadInputError(
            "no case of the build can be published",
            code="nothing_to_release",
            file=results,
            found="; ".join([reasons or "no case", *(problem.line() for problem in choice.problems[:1])]),
            remedy="finish the build, and see its report",
        )
    _check_space(choice.chosen, out, settings)
    identifiers = identifiers_of(results, manifest, harmless=settings.harmless, constants=own_texts())
    names = _names(results, manifest, choice.chosen, seed)
    ordered = sorted(choice.chosen, key=lambda item: names[item.case])
    with _folder(out) as folder:
        writer = _Writer(folder, identifiers)
        cases = [_publish(item, names[item.case], writer, settings) for item in progress(ordered)]
        published = {item.case for item in ordered}
        made = [case for case in Inventory(results).cases(manifest) if case.name in published]
        runs = [run for case in made for run in case.runs]
        splits = {item.case: item.split for item in ordered}
        tested = [case for case in made if splits[case.name] == "test"]
        _write_texts(writer, Facts(cases, tested, choice.reasons(), methods(runs)), settings)
        write_checksums(folder / CHECKSUMS_NAME, writer.hashes)
        files = [*writer.hashes, CHECKSUMS_NAME]
        size = sum((folder / name).stat().st_size for name in files)
        if archive is None:
            _name(folder, out)
            # An archive of an earlier release does not belong to this one.
            _archive_of(out).unlink(missing_ok=True)
        else:
            with atomic_path(archive) as packed:
                write_archive(packed, folder, files, root=settings.name)
                _name(folder, out)
    return Release(
        folder=out,
        archive=archive,
        train=sum(case.split == "train" for case in cases),
        test=sum(case.split == "test" for case in cases),
        left_out=len(choice.left_out),
        files=len(files),
        size_bytes=size,
        problems=choice.problems,
        gates=choice.gates,
        identifiers=identifiers.count,
        too_short=identifiers.too_short,
    )


def _publish(item: Chosen, name: str, writer: _Writer, settings: ReleaseSettings) -> Written:
    """Write a case and search its files; an error names the case of the build."""
    try:
        written = write_case(item, name, writer.add, settings)
    except LcsdError as error:
        raise BadInputError(
            f"case {item.case} cannot be published: {error.what}",
            code=error.code,
            file=error.file,
            field=error.field,
            expected=error.expected,
            found=error.found,
            remedy=error.remedy or "build the case again",
        ) from error
    writer.close()
    return written
