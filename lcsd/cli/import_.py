"""``lcsd import``: published datasets into our files."""

from pathlib import Path
from typing import Any

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.imports import ImportSettings


@click.group(epilog="Example: lcsd import dirlab downloads/copd dirlab")
def command() -> None:
    """Turn a published dataset, as it was downloaded, into our files (docs/import.md)."""


@command.command(epilog="Example: lcsd import dirlab downloads/copd dirlab --cases copd1,copd2")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@click.option("--cases", help="Cases to take, with commas: copd1 to copd10, 4dct1 to 4dct10.")
@click.option(
    "--fixed",
    type=click.Choice(["inhale", "exhale"]),
    default="inhale",
    show_default=True,
    help="Phase of the fixed scan.",
)
@click.option(
    "--intercept",
    type=float,
    default=-1024.0,
    show_default=True,
    help="Added to the stored values it gives HU; tested on every scan.",
)
@click.option(
    "--first-slice",
    type=click.Choice(["head", "feet"]),
    default="head",
    show_default=True,
    help="Where the file's first slice lies.",
)
@stage("import", ImportSettings)
def dirlab(
    run: Run[ImportSettings],
    *,
    source: Path,
    out_dir: Path,
    cases: str | None,
    fixed: Any,
    intercept: float,
    first_slice: Any,
) -> None:
    """DIR-Lab's COPDgene and 4DCT cases: raw images and landmark texts, in folders or zip files.

    OUT_DIR gets pairs.tsv for a build, and the scans and landmarks of each case.
    """
    from lcsd.importers.archives import dataset_files
    from lcsd.importers.dirlab import LANDMARKS, DirLabOptions, find_cases, import_dirlab, part_of
    from lcsd.importers.folder import new_folder

    only = _names(cases)
    with new_folder(out_dir) as folder:
        scratch = folder / "unpacked"
        files = dataset_files(source, scratch, wanted=lambda name: part_of(name) is not None, limits=run.settings)
        found = find_cases(files, only)
        rows = import_dirlab(
            found,
            folder,
            DirLabOptions(fixed, intercept, first_slice),
            progress=lambda names: run.progress(names, label="cases", unit="case"),
        )
        inputs = _inputs(source, files, scratch)
    for row in rows:
        if row["points"] != LANDMARKS:
            say(f"lcsd import: {row['case']} has {row['points']} landmarks, not {LANDMARKS}")
    distances = {f"{row['case']}_mean_distance_mm": row["distance_mm"] for row in rows}
    run.done(out_dir / "pairs.tsv", inputs=inputs, result={"cases": len(rows), **distances})


def _names(text: str | None) -> list[str]:
    """Return the case names of an option; unknown ones are refused."""
    from lcsd.errors import BadInputError
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


def _inputs(source: Path, files: list[Path], scratch: Path) -> dict[str, Path]:
    """Return what was read, for the provenance; what was unpacked is removed."""
    import shutil

    from lcsd.importers.archives import archives_in

    if scratch.exists():
        shutil.rmtree(scratch)
    if source.is_file():
        return {source.name: source}
    read = [path for path in files if path.exists()]
    # Two archives of one name may lie in two folders.
    return {path.relative_to(source).as_posix(): path for path in (*read, *archives_in(source))}


@command.command(epilog="Example: lcsd import pvt1010 downloads/PVT1010 pvt1010")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@click.option(
    "--fixed",
    type=click.Choice(["inhale", "exhale"]),
    default="inhale",
    show_default=True,
    help="Phase of the fixed cloud.",
)
@click.option(
    "--frame", type=click.Choice(["lps", "ras"]), default="lps", show_default=True, help="Frame of the clouds."
)
@stage("import", ImportSettings)
def pvt1010(run: Run[ImportSettings], *, source: Path, out_dir: Path, fixed: Any, frame: Any) -> None:
    """PVT1010's vessel trees (.vtk), in folders or zip files.

    Landmark texts of DIR-Lab's COPDgene that lie in SOURCE, too, become the landmarks of the first
    ten. OUT_DIR gets clouds.tsv, and the clouds of each pair; there are no scans.
    """
    from lcsd.importers.archives import dataset_files
    from lcsd.importers.cloud_table import TABLE, write_cloud_table
    from lcsd.importers.folder import new_folder
    from lcsd.importers.pvt1010 import find_pairs, import_pvt1010, lone_texts, wanted

    with new_folder(out_dir) as folder:
        scratch = folder / "unpacked"
        files = dataset_files(source, scratch, wanted=wanted, limits=run.settings)
        pairs = find_pairs(files)
        for file in lone_texts(pairs):
            say(f"lcsd import: {file.name} left out: the landmarks of the other phase are missing")
        rows = import_pvt1010(
            pairs,
            folder,
            fixed=fixed,
            frame=frame,
            progress=lambda numbers: run.progress(numbers, label="pairs", unit="pair"),
        )
        result = write_cloud_table(folder, rows)
        inputs = _inputs(source, files, scratch)
    run.done(out_dir / TABLE, inputs=inputs, result=result)


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
@click.option("--frame", type=click.Choice(["lps", "ras", "voxel"]), help="Frame of the tables.")
@click.option(
    "--base",
    type=click.Choice(["0", "1"]),
    default="0",
    show_default=True,
    help="Index of the first voxel in the tables.",
)
@click.option(
    "--axes", type=click.Choice(["xyz", "zyx"]), help="Order of columns without names in the tables.  [default: xyz]"
)
@stage("import", ImportSettings)
def lcsd500(
    run: Run[ImportSettings], *, source: Path, out_dir: Path, frame: Any, base: str, axes: Any, **patterns: str | None
) -> None:
    """LCSD500's vessel maps and tables, in folders or zip files.

    The names of its files and the frame of its tables are not published in writing: look into the
    archive and say them. OUT_DIR gets clouds.tsv, dense clouds, and the tables in LPS mm.
    """
    from lcsd.errors import BadInputError
    from lcsd.importers.archives import dataset_files
    from lcsd.importers.cloud_table import TABLE, write_cloud_table
    from lcsd.importers.folder import new_folder
    from lcsd.importers.lcsd500 import Layout, find_cases, import_lcsd500
    from lcsd.landmarks.formats import Given

    said = {kind: pattern for kind, pattern in patterns.items() if pattern is not None}
    if frame is None and len(said) > 2:
        raise BadInputError(
            "the frame of the tables is not known",
            code="missing_frame",
            field="--frame",
            expected="lps, ras or voxel",
            remedy="give it",
        )
    layout = Layout(said, Given(frame, int(base) if frame == "voxel" else None, axes))
    with new_folder(out_dir) as folder:
        scratch = folder / "unpacked"
        files = dataset_files(
            source, scratch, wanted=lambda name: layout.case_of(name) is not None, limits=run.settings
        )
        rows = import_lcsd500(
            find_cases(files, layout),
            folder,
            layout,
            progress=lambda names: run.progress(names, label="cases", unit="case"),
        )
        result = write_cloud_table(folder, rows)
        inputs = _inputs(source, files, scratch)
    run.done(out_dir / TABLE, inputs=inputs, result=result)
