"""``lcsd cohort``: candidate pairs of NLST scans from the index of the IDC."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.errors import BadInputError
from lcsd.settings.cohort import CohortSettings


@click.command(epilog="Example: lcsd cohort --out-dir results/cohort --seed 0")
@click.option("--out-dir", type=FILE, help="Folder of the tables and the figure.")
@click.option("--dry-run", is_flag=True, help="Only print the funnel and the size and price of the download.")
@click.option("--patient", "patients", multiple=True, help="Only this patient. Repeatable.")
@click.option("--patients-file", type=FILE, help="Only the patients in this file, one per line.")
@click.option("--series", multiple=True, help="Only this series UID. Repeatable.")
@click.option("--series-file", type=FILE, help="Only the series UIDs in this file, one per line.")
@stage("cohort", CohortSettings, seeded=True)
def command(
    run: Run[CohortSettings],
    out_dir: Path | None,
    *,
    dry_run: bool,
    patients: tuple[str, ...],
    patients_file: Path | None,
    series: tuple[str, ...],
    series_file: Path | None,
) -> None:
    """Choose pairs of scans of one patient, a year apart, from the IDC's index of NLST.

    Nothing is downloaded: the index comes with the package idc-index-data. Writes candidates.tsv
    (one pair per patient; the column `sampled` holds train, test_pool or nothing), rejected.tsv
    (every other patient with the reason), funnel.tsv, funnel.png and kernels.tsv.
    """
    from lcsd.cohort.cohort import build, read_ids, write
    from lcsd.cohort.index import Wanted

    if out_dir is None and not dry_run:
        raise BadInputError(
            "no folder for the results",
            code="missing_option",
            field="--out-dir",
            expected="a folder",
            remedy="pass one, or use --dry-run",
        )
    wanted = Wanted(
        patients=read_ids("patient", patients, patients_file), series=read_ids("series", series, series_file)
    )
    cohort = build(run.settings, wanted, seed=run.seed, threads=run.threads)
    for warning in cohort.warnings():
        run.warn(warning)
    result: dict[str, object] = {f"patients_{step.name}": step.patients for step in cohort.steps}
    result |= {
        "download_gb": round(cohort.download_gb, 1),
        "download_hours": round(cohort.download_hours, 1),
        "download_usd": round(cohort.download_usd, 2),
        "assumed_mbit_s": run.settings.bandwidth_mbit_s,
        "assumed_usd_per_gb": run.settings.egress_usd_per_gb,
    }
    inputs = {
        "index": cohort.index,
        "volume_geometry_index": run.settings.volume_geometry_index,
        "ct_index": run.settings.ct_index,
        "patients": patients_file,
        "series": series_file,
    }
    output = None if out_dir is None or dry_run else write(cohort, out_dir)
    run.done(output, inputs=inputs, result=result)
