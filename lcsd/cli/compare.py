"""``lcsd compare``: methods of one or several builds in one table."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.settings.compare import CompareSettings


@click.command(epilog="Example: lcsd compare results other=my/results --out-dir comparison")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out-dir", type=FILE, required=True, help="Folder of the tables and the figure.")
@click.option("--method", "methods", multiple=True, help="Compare only this method. Repeatable.  [default: all]")
@click.option(
    "--reference",
    metavar="ROW",
    help="Row with which the others are compared in tests.  [default: the row with the lowest mean error]",
)
@stage("compare", CompareSettings, seeded=True)
def command(
    run: Run[CompareSettings], *, runs: tuple[str, ...], out_dir: Path, methods: tuple[str, ...], reference: str | None
) -> None:
    """Compare the methods scored in one or several builds: one row per build and method.

    RUN is a build's folder of results, or NAME=FOLDER to give it another name. Only cases that all
    rows have are compared. Writes compare.csv (one line per row), compare_cases.csv (one line per
    row and case), compare.png (cumulative errors) and compare.md, which is also printed.
    """
    from lcsd.evaluation.compare import CASE_COLUMNS, ROW_COLUMNS, compare_rows, markdown, pooled_errors
    from lcsd.evaluation.runs import common_cases, name_runs, read_rows, reasons, unlike_starts
    from lcsd.io.files import write_table, write_text
    from lcsd.io.plotting import render, save
    from lcsd.report.figures import BEFORE, cumulative_figure

    rows = read_rows(name_runs(runs), methods=methods)
    common, dropped = common_cases(rows)
    table = compare_rows(rows, common, dropped, run.settings, reference=reference, seed=run.seed)
    if dropped:
        of = len(common) + len(dropped)
        run.say(f"{len(dropped)} of {of} cases dropped: {'; '.join(reasons(dropped))}")
    if any("borderline" in reason for reason in dropped.values()):
        run.warn("borderline cases are left out; gates.keep_flagged: true includes them")
    if doubts := unlike_starts(rows, common):
        more = f" (and {len(doubts) - 1} more like this)" if len(doubts) > 1 else ""
        run.warn(f"{doubts[0]}{more}")
    text = markdown(table, run.settings)
    write_table(out_dir / "compare_cases.csv", CASE_COLUMNS, table.cases)
    write_text(out_dir / "compare.md", text)
    figure = cumulative_figure(pooled_errors(rows, common, before=BEFORE))
    save(out_dir / "compare.png", render(figure, "png"))
    out = out_dir / "compare.csv"
    write_table(out, ROW_COLUMNS, table.rows)
    files = ((row.name, case, path) for row in rows for case in common for path in row.scores[case].files)
    inputs = {f"{name} {case} {path.name}": path for name, case, path in files}
    rows_shown = [dict(row) for row in table.rows]
    result = {"reference": table.reference, "cases": list(common), "dropped": dropped, "rows": rows_shown}
    run.done(out, inputs=inputs, text=text, result=result)
