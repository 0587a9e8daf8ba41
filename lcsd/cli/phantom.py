"""``lcsd phantom``: synthetic longitudinal lung CT pairs with exact truth."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, choice
from lcsd.settings.phantom import Format, PhantomSettings, Size

MOST_AT_ONCE = 4
"""Cases made at once; each takes 0.8 GiB."""


@click.command(epilog="Example: lcsd phantom data/phantom --cases 3 --seed 0")
@click.argument("out_dir", type=FILE)
@click.option("--cases", type=int, default=1, show_default=True, help="Number of pairs to make.")
@click.option(
    "--test-cases",
    type=int,
    default=1,
    show_default=True,
    help="Number of test cases among them, with landmarks in the manifest; the last ones.",
)
@choice(
    "--size", Size, "Voxels and vessels: full as in the clinic, small a tenth, tiny for a smoke test.", default="full"
)
@choice("--format", Format, "NIfTI volumes, or DICOM studies with a localizer and two kernels.", default="nifti")
@stage("phantom", PhantomSettings, seeded=True)
def command(
    run: Run[PhantomSettings],
    out_dir: Path,
    *,
    cases: int,
    test_cases: int,
    size: Size,
    format: Format,  # noqa: A002
) -> None:
    """Make synthetic pairs and their manifest OUT_DIR/pairs.tsv.

    The folder of a case holds the scans and `truth/`: landmarks, random lung points, lung and
    vessel masks of both scans, and the parameters of the motion.
    """
    from lcsd.phantom.phantom import write_cases, write_manifest

    rows = write_cases(
        out_dir,
        cases=cases,
        seed=run.seed,
        size=size,
        file_format=format,
        test_cases=test_cases,
        settings=run.settings,
        # Each has all threads: the last case shares the cores with no other.
        workers=min(run.threads, MOST_AT_ONCE),
    )
    manifest = write_manifest(out_dir, list(run.progress(rows, label="pairs", total=cases, unit="pair")))
    run.done(manifest, inputs={}, result={"cases": cases, "test_cases": test_cases})
