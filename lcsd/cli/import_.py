"""``lcsd import``: published datasets into our files."""

from pathlib import Path
from typing import Any

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.settings.imports import ImportSettings


@click.group(epilog="Example: lcsd import dirlab downloads/copd dirlab")
def command() -> None:
    """Turn a published dataset, as it was downloaded, into our files (docs/import.md)."""


@command.command(epilog="Example: lcsd import dirlab downloads/copd dirlab --cases copd1,copd2")
@click.argument("source", type=FILE)
@click.argument("out_dir", type=FILE)
@click.option("--cases", help="Cases to take, with commas: copd1 to copd10, 4dct1 to 4dct10.")
@click.option(
    "--fixed", type=click.Choice(["inhale", "exhale"]), default="inhale", show_default=True,
    help="Phase of the fixed scan.",
)  # fmt: skip
@click.option(
    "--intercept", type=float, default=-1024.0, show_default=True,
    help="Added to the stored values it gives HU; tested on every scan.",
)  # fmt: skip
@click.option(
    "--first-slice", type=click.Choice(["head", "feet"]), default="head", show_default=True,
    help="Where the file's first slice lies.",
)  # fmt: skip
@stage("import", ImportSettings)
def dirlab(
    run: Run[ImportSettings], *, source: Path, out_dir: Path, cases: str | None, fixed: Any,
    intercept: float, first_slice: Any,
) -> None:  # fmt: skip
    """DIR-Lab's COPDgene and 4DCT cases: raw images and landmark texts, in folders or zip files.

    OUT_DIR gets pairs.tsv for a build, and the scans and landmarks of each case.
    """
    from lcsd.importers.archives import dataset_files  # noqa: PLC0415
    from lcsd.importers.dirlab import (  # noqa: PLC0415
        DirLabOptions,
        find_cases,
        import_dirlab,
        part_of,
    )
    from lcsd.importers.folder import new_folder  # noqa: PLC0415

    only = _names(cases)
    with new_folder(out_dir) as folder:
        scratch = folder / "unpacked"
        files = dataset_files(
            source, scratch, wanted=lambda name: part_of(name) is not None, limits=run.settings
        )
        found = find_cases(files, only)
        rows = import_dirlab(
            found, folder, DirLabOptions(fixed, intercept, first_slice),
            progress=lambda names: run.progress(names, label="cases", unit="case"),
        )  # fmt: skip
        _remove(scratch)
        inputs = {
            f"{case} {phase} {kind}": path
            for case, held in found.items()
            for (phase, kind), path in held.items()
            if path.exists()
        }
    distances = {f"{row['case']}_mean_distance_mm": row["distance_mm"] for row in rows}
    run.done(out_dir / "pairs.tsv", inputs=inputs, result={"cases": len(rows), **distances})


def _names(text: str | None) -> list[str]:
    """Return the case names of an option; unknown ones are refused."""
    from lcsd.errors import BadInputError  # noqa: PLC0415
    from lcsd.importers.dirlab import GEOMETRY  # noqa: PLC0415

    names = [] if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in GEOMETRY:
            raise BadInputError(
                "unknown case", code="unknown_case", field="--cases", found=name,
                expected="copd1 to copd10, 4dct1 to 4dct10",
            )  # fmt: skip
    return names


def _remove(folder: Path) -> None:
    import shutil  # noqa: PLC0415

    if folder.exists():
        shutil.rmtree(folder)
