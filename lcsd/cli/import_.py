"""``lcsd import``: published datasets into our files."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, choice
from lcsd.errors import BadInputError
from lcsd.names import Axes, CloudFrame, CloudKind, FirstSlice, Phase, ScoredAt, TableFrame
from lcsd.settings.imports import ImportSettings


@click.group(epilog="Example: lcsd import dirlab downloads/copd dirlab")
def command() -> None:
    """Turn a published dataset, as it was downloaded, into our files (docs/import.md)."""


class _Import(NamedTuple):
    """An import in progress: the new folder, the files of the dataset, and the inputs for the provenance."""

    folder: Path
    files: list[Path]
    inputs: dict[str, Path]


@contextlib.contextmanager
def _importing(
    run: Run[ImportSettings], source: Path, out_dir: Path, wanted: Callable[[str], bool]
) -> Iterator[_Import]:
    """Yield the new folder and the dataset's files whose names are ``wanted``; unpacked archives are removed."""
    import shutil

    from lcsd.importers.archives import archives_in, dataset_files
    from lcsd.importers.folder import new_folder

    with new_folder(out_dir) as folder:
        scratch = folder / "unpacked"
        files = dataset_files(source, scratch, wanted=wanted, limits=run.settings)
        inputs: dict[str, Path] = {}
        try:
            yield _Import(folder, files, inputs)
        except BadInputError as error:
            if error.code == "no_cases":
                error.file = error.file or str(source)
            raise
        if scratch.exists():
            shutil.rmtree(scratch)
        if source.is_file():
            inputs[source.name] = source
        else:
            # Two archives of one name may be in two folders.
            read = (*(path for path in files if path.exists()), *archives_in(source))
            inputs.update({path.relative_to(source).as_posix(): path for path in read})


@command.command(epilog="Example: lcsd import dirlab downloads/copd dirlab --cases copd1,copd2")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@click.option("--cases", help="Cases to import, separated by commas: copd1 to copd10, 4dct1 to 4dct10.  [default: all]")
@choice("--fixed", Phase, "Phase of the fixed scan.", default="inhale")
@click.option(
    "--intercept",
    type=float,
    default=-1024.0,
    show_default=True,
    help="Number that turns stored values into HU when added; checked on every scan.",
)
@choice("--first-slice", FirstSlice, "End of the body at which the file's first slice is.", default="head")
@stage("import", ImportSettings)
def dirlab(
    run: Run[ImportSettings],
    *,
    source: Path,
    out_dir: Path,
    cases: str | None,
    fixed: Phase,
    intercept: float,
    first_slice: FirstSlice,
) -> None:
    """DIR-Lab's COPDgene and 4DCT cases: raw images and landmark texts, in folders or zip files.

    OUT_DIR gets pairs.tsv for a build, and the scans and landmarks of each case.
    """
    from lcsd.importers.dirlab import LANDMARKS, DirLabOptions, find_cases, import_dirlab, part_of

    only = _names(cases)
    with _importing(run, source, out_dir, lambda name: part_of(name) is not None) as found:
        rows = import_dirlab(
            find_cases(found.files, only),
            found.folder,
            DirLabOptions(fixed, intercept, first_slice),
            progress=lambda names: run.progress(names, label="cases", unit="case"),
        )
    for row in rows:
        if row["points"] != LANDMARKS:
            run.say(f"{row['case']} has {row['points']} landmarks, not {LANDMARKS}")
    distances = {f"{row['case']}_mean_distance_mm": row["distance_mm"] for row in rows}
    run.done(out_dir / "pairs.tsv", inputs=found.inputs, result={"cases": len(rows), **distances})


def _names(text: str | None) -> list[str]:
    """Return the case names of an option; unknown ones are refused."""
    from lcsd.importers.dirlab import GEOMETRY

    names = [] if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in GEOMETRY:
            raise BadInputError(
                "unknown case",
                code="unknown_case",
                field="--cases",
                found=name,
                expected="copd1 to copd10, 4dct1 to 4dct10",
            )
    return names


@command.command(epilog="Example: lcsd import pvt1010 downloads/PVT1010 pvt1010")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@choice("--fixed", Phase, "Phase of the fixed cloud.", default="inhale")
@choice("--frame", CloudFrame, "Frame of the clouds.", default="lps")
@stage("import", ImportSettings)
def pvt1010(run: Run[ImportSettings], *, source: Path, out_dir: Path, fixed: Phase, frame: CloudFrame) -> None:
    """PVT1010's vessel trees (.vtk), in folders or zip files.

    Landmark texts of DIR-Lab's COPDgene in SOURCE become the landmarks of the first ten pairs.
    OUT_DIR gets clouds.tsv and the clouds of each pair; there are no scans.
    """
    from lcsd.importers.cloud_table import TABLE, write_cloud_table
    from lcsd.importers.pvt1010 import find_pairs, import_pvt1010, lone_texts, wanted

    with _importing(run, source, out_dir, wanted) as found:
        pairs = find_pairs(found.files)
        for file in lone_texts(pairs):
            run.say(f"{file.name} left out: the landmarks of the other phase are missing")
        rows = import_pvt1010(
            pairs,
            found.folder,
            fixed=fixed,
            frame=frame,
            progress=lambda numbers: run.progress(numbers, label="pairs", unit="pair"),
        )
        result = write_cloud_table(found.folder, rows)
    run.done(out_dir / TABLE, inputs=found.inputs, result=result)


@command.command(
    epilog="Example: lcsd import lcsd500 LCSD500.zip lcsd500 --fixed '{case}_fixed.nii.gz' "
    "--moving '{case}_moving.nii.gz' --correspondences '{case}.csv' --frame voxel"
)
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@click.option("--fixed", required=True, help="Name of the baseline's vessel map, with {case}.")
@click.option("--moving", required=True, help="Name of the follow-up's vessel map, with {case}.")
@click.option("--correspondences", help="Name of the table of correspondences, with {case}.")
@click.option("--landmarks", help="Name of the table of landmarks, with {case}.")
@choice("--frame", TableFrame, "Frame of the tables.")
@click.option(
    "--base",
    type=click.Choice(["0", "1"]),
    default="0",
    show_default=True,
    help="Index of the first voxel in the tables.",
)
@choice("--axes", Axes, "Order of columns without names in the tables.  [default: xyz]")
@stage("import", ImportSettings)
def lcsd500(
    run: Run[ImportSettings],
    *,
    source: Path,
    out_dir: Path,
    frame: TableFrame | None,
    base: str,
    axes: Axes | None,
    **patterns: str | None,
) -> None:
    """LCSD500's vessel maps and tables, in folders or zip files.

    The names of its files and the frame of its tables are not published: look into the archive and
    pass them. OUT_DIR gets clouds.tsv, dense clouds, and the tables in LPS mm.
    """
    from lcsd.importers.cloud_table import TABLE, write_cloud_table
    from lcsd.importers.lcsd500 import Layout, find_cases, import_lcsd500
    from lcsd.landmarks.formats import Given

    named: dict[str, Any] = {kind: pattern for kind, pattern in patterns.items() if pattern is not None}
    if frame is None and len(named) > 2:
        raise BadInputError(
            "the frame of the tables is not known",
            code="missing_frame",
            field="--frame",
            expected="lps, ras or voxel",
            remedy="pass it",
        )
    layout = Layout(named, Given(frame, int(base) if frame == "voxel" else None, axes))
    with _importing(run, source, out_dir, lambda name: layout.case_of(name) is not None) as found:
        rows = import_lcsd500(
            find_cases(found.files, layout),
            found.folder,
            layout,
            progress=lambda names: run.progress(names, label="cases", unit="case"),
        )
        result = write_cloud_table(found.folder, rows)
    run.done(out_dir / TABLE, inputs=found.inputs, result=result)


@command.command(epilog="Example: lcsd import lung250m Lung250M-4B lung250m --cases 104,105 --cloud 8k")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@click.option("--cases", help="Numbers of the cases to import, separated by commas, such as 002,104.  [default: all]")
@choice("--cloud", CloudKind, "Which of the three clouds of a scan to take.", default="skeleton")
@stage("import", ImportSettings)
def lung250m(run: Run[ImportSettings], *, source: Path, out_dir: Path, cases: str | None, cloud: CloudKind) -> None:
    """Lung250M-4B: images, masks, vessel maps, clouds (.pth), keypoints and landmarks (.pth).

    OUT_DIR gets pairs.tsv for a build of the cases with images, and clouds.tsv for those with clouds. A case that
    lacks files is refused, and the message names them.
    """
    from lcsd.importers.cloud_table import TABLE, write_cloud_table
    from lcsd.importers.lung250m import SPACING_MM, SPACING_TOLERANCE, find_files, import_lung250m, wanted

    with _importing(run, source, out_dir, wanted) as found:
        rows = import_lung250m(
            find_files(found.files, _numbers(cases)),
            found.folder,
            cloud=cloud,
            progress=lambda numbers: run.progress(numbers, label="cases", unit="case"),
        )
        clouds = [row for row in rows if "fixed_cloud" in row]
        result = write_cloud_table(found.folder, clouds) if clouds else {}
    for row in rows:
        if row["spacing"] is not None and any(abs(size - SPACING_MM) > SPACING_TOLERANCE for size in row["spacing"]):
            sizes = " x ".join(f"{size:g}" for size in row["spacing"])
            run.warn(f"{row['case']} has voxels of {sizes} mm, not 1 mm: its distances are not the published ones")
    unplaced = sum(row["spacing"] is None for row in rows)
    if unplaced:
        run.say(f"{unplaced} cases have no image, mask or vessel map: their clouds begin at voxel 0, 1 mm per voxel")
    pairs = sum("fixed_source" in row for row in rows)
    distances = {f"{row['case']}_mean_distance_mm": row["distance_mm"] for row in rows if "distance_mm" in row}
    figures = {**result, "cases": len(rows), "with_images": pairs, "with_landmarks": len(distances), **distances}
    run.done(out_dir / ("pairs.tsv" if pairs else TABLE), inputs=found.inputs, result=figures)


def _numbers(text: str | None) -> list[str]:
    """Return the case numbers of an option, with three digits; others are refused."""
    numbers = [] if text is None else [name.strip() for name in text.split(",")]
    for number in numbers:
        if not re.fullmatch(r"\d{3}", number):
            raise BadInputError(
                "not a case number",
                code="unknown_case",
                field="--cases",
                found=number,
                expected="three digits, such as 002",
            )
    return numbers


@command.command(epilog="Example: lcsd import learn2reg NLST nlst --score-at keypoints")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@choice("--score-at", ScoredAt, "Which points become the landmarks of the manifest.", default="landmarks")
@stage("import", ImportSettings)
def learn2reg(run: Run[ImportSettings], *, source: Path, out_dir: Path, score_at: ScoredAt) -> None:
    """A lung task of the Learn2Reg challenge, such as LungCT or NLST: its dataset.json and the files that it lists.

    OUT_DIR gets pairs.tsv for a build, and images, masks, keypoints and landmarks of each pair. A pair that lacks
    files is refused, and the message names them.
    """
    from lcsd.importers.learn2reg import find_task, import_learn2reg, wanted

    with _importing(run, source, out_dir, wanted) as found:
        rows = import_learn2reg(
            find_task(found.files),
            found.folder,
            scored_at=score_at,
            progress=lambda pairs: run.progress(pairs, label="pairs", unit="pair"),
        )
    distances = [row["distance_mm"] for row in rows if row["distance_mm"] is not None]
    result = {
        "cases": len(rows),
        "test": sum(row["role"] == "test" for row in rows),
        "with_landmarks": len(distances),
        "mean_distance_mm": sum(distances) / len(distances) if distances else None,
    }
    run.done(out_dir / "pairs.tsv", inputs=found.inputs, result=result)
