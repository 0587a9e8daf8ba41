"""``lcsd select``: pairs with the strongest motion, and the test cases."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.errors import BadInputError
from lcsd.settings.screen import ScreenSettings
from lcsd.settings.select import SelectSettings


@click.command(epilog="Example: lcsd select results --candidates results/cohort/candidates.tsv")
@click.argument("results", type=FILE)
@click.option("--candidates", type=FILE, help="Table of candidates, written by lcsd cohort.")
@click.option("--manifest", type=FILE, help="With --test: the build's manifest.  [default: RESULTS/cohort/pairs.tsv]")
@click.option("--test", is_flag=True, help="Choose the test cases from a finished test pool instead.")
@stage("select", SelectSettings, also={"screen": ScreenSettings}, seeded=True)
def command(
    run: Run[SelectSettings], results: Path, *, candidates: Path | None, manifest: Path | None, test: bool
) -> None:
    """Choose the pairs of the build RESULTS by their motion.

    With --candidates: the training pairs whose lung masks overlap least and the whole test pool,
    from the screenings in RESULTS/cohort/screening. Writes to RESULTS/cohort: pairs.tsv (the
    manifest), selection.tsv (every candidate with its rank) and names.tsv (names to publish).

    With --test: the cases of the test pool that corrfield moves furthest. Writes test.tsv there.
    """
    from lcsd.build.jobs import BuildFiles
    from lcsd.selection.select import select_pairs
    from lcsd.selection.select_test import select_test

    if test == (candidates is not None) or (manifest is not None and not test):
        raise BadInputError(
            "the options do not go together",
            code="bad_option",
            field="--candidates, --test, --manifest",
            expected="the table of candidates, or --test with or without a manifest",
        )
    files = BuildFiles(results)
    if candidates is None:
        manifest = manifest or files.pairs
        pool = select_test(results, manifest, run.settings)
        for problem in pool.problems:
            run.warn(f"{problem.line()}; the case cannot be selected")
        _warn_if_few(run, pool.count("selected"), run.settings.test_count, "test cases")
        verdicts = ("selected", "spare", "discarded", "borderline", "rejected", "broken")
        run.done(files.test_cases, inputs={"manifest": manifest}, result={name: pool.count(name) for name in verdicts})
        return
    chosen = select_pairs(results, candidates, run.settings, run.sections["screen"], seed=run.seed)
    _warn_if_few(run, chosen.count("train"), run.settings.count, "training pairs")
    run.done(
        files.pairs,
        inputs={"candidates": candidates},
        result={
            "screened": len(chosen.rows),
            "accepted": sum(row["verdict"] == "accepted" for row in chosen.rows),
            "train": chosen.count("train"),
            "test_pool": chosen.count("test_pool"),
        },
    )


def _warn_if_few(run: Run[SelectSettings], found: int, wanted: int, what: str) -> None:
    if found < wanted:
        run.warn(f"only {found} of {wanted} {what}: no others were accepted")
