"""``lcsd compare``: methods of one or several builds in one table."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.compare import CompareSettings


@click.command(epilog="Example: lcsd compare results other=my/results --out-dir comparison")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out-dir", type=FILE, required=True, help="Where to write the tables.")
@click.option("--method", "methods", multiple=True, help="Compare this method only. Repeatable.  [default: all]")
@click.option(
    "--reference", metavar="ROW", help="Row that the others are tested against.  [default: the lowest mean error]"
)
@stage("compare", CompareSettings, seeded=True)
def command(
    run: Run[CompareSettings], *, runs: tuple[str, ...], out_dir: Path, methods: tuple[str, ...], reference: str | None
) -> None:
    """Compare the methods scored in one or several builds: one row per build and method.

    RUN is a build's folder of results, or NAME=FOLDER to call it something else. Only cases that
    all rows have are compared. Writes compare.csv (one line a row), compare_cases.csv (one line a
    row and case), compare.png (cumulative errors) and compare.md, which is printed, too.
    """
    from lcsd.comparison.compare import CASE_COLUMNS, ROW_COLUMNS, compare_rows, markdown, pooled_errors
    from lcsd.comparison.runs import common_cases, name_runs, read_rows, reasons, unlike_starts
    from lcsd.io.files import write_table, write_text
    from lcsd.plotting import render, save
    from lcsd.report.figures import BEFORE, cumulative_figure

    rows = read_rows(name_runs(runs), methods=methods)
    common, dropped = common_cases(rows)
    table = compare_rows(rows, common, dropped, run.settings, reference=reference, seed=run.seed)
    if dropped:
        of = len(common) + len(dropped)
        say(f"lcsd compare: {len(dropped)} of {of} cases dropped: {'; '.join(reasons(dropped))}")
    if doubts := unlike_starts(rows, common):
        more = f" (and {len(doubts) - 1} more like this)" if len(doubts) > 1 else ""
        say(f"lcsd compare: warning: {doubts[0]}{more}")
    text = markdown(table, run.settings)
    write_table(out_dir / "compare_cases.csv", CASE_COLUMNS, table.cases)
    write_text(out_dir / "compare.md", text)
    figure = cumulative_figure(pooled_errors(rows, common, before=BEFORE))
    save(out_dir / "compare.png", render(figure, "png"))
    out = out_dir / "compare.csv"
    write_table(out, ROW_COLUMNS, table.rows)
    inputs = {
        f"{row.name} {case} {path.name}": path for row in rows for case in common for path in row.scores[case].files
    }
    run.done(
        out,
        inputs=inputs,
        text=text,
        result={
            "reference": table.reference,
            "cases": list(common),
            "dropped": dropped,
            "rows": [dict(row) for row in table.rows],
        },
    )
