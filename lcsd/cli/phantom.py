"""``lcsd phantom``: synthetic longitudinal lung CT pairs with exact truth."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.settings.phantom import Format, PhantomSettings, Size


@click.command(epilog="Example: lcsd phantom data/phantom --cases 3 --seed 0")
@click.argument("out_dir", type=FILE)
@click.option("--cases", type=int, default=1, show_default=True, help="How many pairs to make.")
@click.option(
    "--test-cases",
    type=int,
    default=1,
    show_default=True,
    help="How many of them, the last ones, are test cases with landmarks in the manifest.",
)
@click.option(
    "--size",
    type=click.Choice(["full", "small", "tiny"]),
    default="full",
    show_default=True,
    help="Voxels and vessels: clinical, about a tenth, enough for a smoke test.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["nifti", "dicom"]),
    default="nifti",
    show_default=True,
    help="NIfTI volumes, or DICOM studies with localizer and two kernels.",
)
@stage("phantom", PhantomSettings, seeded=True)
def command(
    run: Run[PhantomSettings], out_dir: Path, *, cases: int, test_cases: int, size: Size, file_format: Format
) -> None:
    """Make synthetic pairs and their manifest OUT_DIR/pairs.tsv.

    Every case folder holds the scans and `truth/`: landmarks, random lung points, lung and vessel
    masks of both scans, and the motion's parameters.
    """
    from lcsd.phantom.phantom import write_cases, write_manifest

    rows = write_cases(
        out_dir,
        cases=cases,
        seed=run.seed,
        size=size,
        file_format=file_format,
        test_cases=test_cases,
        settings=run.settings,
    )
    manifest = write_manifest(out_dir, list(run.progress(rows, label="pairs", total=cases, unit="pair")))
    run.done(manifest, inputs={}, result={"cases": cases, "test_cases": test_cases})
