"""The report of a build: one page that opens offline, its tables and its figures."""

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lcsd import __version__
from lcsd.build.inventory import Case, Inventory, Problem, Status, gates_line
from lcsd.errors import BadInputError
from lcsd.evaluation.accuracy import (
    BOOTSTRAP_SEED,
    COMPARISON_COLUMNS,
    STATISTICS,
    SUMMARY_COLUMNS,
    TRE_COLUMNS,
    comparison_rows,
    method_summaries,
    role_summaries,
    summary_rows,
    tre_rows,
)
from lcsd.io.files import write_table, write_text
from lcsd.io.plotting import method_colours
from lcsd.numerics.processes import in_processes
from lcsd.report.cohort import Cohort, manifest_steps, read_cohort
from lcsd.report.figures import case_figure, dice_figure, error_figure
from lcsd.report.html import environment
from lcsd.report.overlays import SLAB_MM, cloud_figure, overlay_figure
from lcsd.report.pages import write_pages
from lcsd.report.pictures import ALTS, Picture, draw, write_pictures
from lcsd.report.quality import QUALITY_COLUMNS, quality_medians, quality_rows
from lcsd.report.tables import (
    REJECTED_COLUMNS,
    TABLE1_COLUMNS,
    cost_rows,
    left_out_rows,
    motion_rows,
    readable_rejections,
    setting_rows,
    table1_rows,
    verdict_rows,
    version_rows,
)
from lcsd.report.vessels import vessel_figure
from lcsd.settings.register import UNTRUSTED_MM
from lcsd.settings.report import DEFAULT_VIEWS, ReportSettings

PAGES_NAME = "cases"
"""Folder of the pages of cases in ``report/``."""

Progress = Callable[[Sequence[Case]], Iterable[Case]]


@dataclass(frozen=True)
class ReportSummary:
    """Result of writing a report."""

    page: Path  # the written ``index.html``
    # Number of cases in each state
    done: int
    borderline: int
    discarded: int
    rejected: int
    broken: int
    waiting: int
    problems: tuple[str, ...]  # one line per broken file, which is left out
    gates: str | None = None  # one line on the cases that gates leave out

    def line(self) -> str:
        """Return the summary as one line."""
        out = self.borderline + self.discarded + self.rejected + self.broken
        total = self.done + out + self.waiting
        parts = [f"{self.done} done"]
        parts += [f"{self.borderline} borderline"] if self.borderline else []
        parts += [f"{self.discarded} discarded"] if self.discarded else []
        parts += [f"{self.rejected} rejected"] if self.rejected else []
        parts += [f"{self.broken} with a broken file"] if self.broken else []
        parts += [f"{self.waiting} not finished"] if self.waiting else []
        see = f" (see {self.page.with_name('rejected.tsv')})" if out else ""
        return f"{total} case{'s' if total != 1 else ''}: {', '.join(parts)}{see}"


Drawings = Mapping[str, tuple[str, Callable[[Case, Inventory], Figure | None]]]
CASE_DRAWINGS: Drawings = {"overlay": ("overlay", overlay_figure), "clouds": ("projected", cloud_figure)}
VESSEL_DRAWINGS: Drawings = {"vessels": ("vessels", vessel_figure)}
"""Name of a picture, its description in ``ALTS``, and the function that draws it."""

Views = dict[str, dict[str, Picture | None]]
"""Pictures of each case by name."""


def _views(
    cases: Sequence[Case], drawings: Drawings, drawn: Views, inventory: Inventory, workers: int, progress: Progress
) -> Views:
    """Return the pictures of each case by name; cases without a picture are left out.

    ``drawn`` are the pictures of pages by description, which are not drawn again.
    """
    work = functools.partial(_view, drawings=drawings, results=inventory.results)
    views: Views = {}
    bar = progress(cases) if cases else ()
    items = [(case, drawn.get(case.name, {})) for case in cases]
    for case, (shown, problems) in zip(bar, in_processes(work, items, workers=workers), strict=True):
        inventory.remember(problems)
        if any(shown.values()):
            views[case.name] = shown
    return views


def _view(
    item: tuple[Case, Mapping[str, Picture | None]], drawings: Drawings, results: Path
) -> tuple[dict[str, Picture | None], list[Problem]]:
    case, drawn = item
    inventory = Inventory(results)
    shown = {
        name: drawn[alt]
        if alt in drawn
        else draw(
            inventory, case.folder, functools.partial(figure, case, inventory), alt=ALTS[alt].format(case=case.name)
        )
        for name, (alt, figure) in drawings.items()
    }
    return shown, inventory.problems


def _figures(cases: Sequence[Case], cohort: Cohort | None, inventory: Inventory) -> dict[str, Picture | None]:
    """Return the figures of the whole build, by the name of their file."""
    drawings: dict[str, tuple[str, Callable[[], Figure | None]]] = {
        "tre_distribution": (
            "Landmark errors before and after each method: cumulative distributions (left), box plots (right).",
            lambda: error_figure(cases),
        ),
        "tre_cases": ("Mean landmark error of each case before and after each method.", lambda: case_figure(cases)),
        "cohort_dice": (
            "Overlap of the lung masks of accepted candidates for training, with the largest selected overlap.",
            lambda: dice_figure(cohort.screened if cohort else ()),
        ),
    }
    return {
        name: draw(inventory, inventory.results, figure, alt=alt, kind="png")
        for name, (alt, figure) in drawings.items()
    }


def _write_tables(folder: Path, cases: Sequence[Case]) -> None:
    write_table(folder / "tre.csv", TRE_COLUMNS, tre_rows(cases))
    write_table(folder / "summary.csv", SUMMARY_COLUMNS, summary_rows(cases))
    write_table(folder / "comparison.csv", COMPARISON_COLUMNS, comparison_rows(cases))
    write_table(folder / "quality.csv", QUALITY_COLUMNS, quality_rows(cases))
    write_table(folder / "table1.csv", TABLE1_COLUMNS, table1_rows(cases))
    write_table(folder / "rejected.tsv", REJECTED_COLUMNS, left_out_rows(cases))


def _write_figures(folder: Path, figures: Mapping[str, Picture | None], *views: Views) -> None:
    found = dict(figures)
    for view in views:
        found |= {f"{case}_{name}": picture for case, shown in view.items() for name, picture in shown.items()}
    write_pictures(folder, {name: picture for name, picture in found.items() if picture is not None})


def _statuses(cases: Sequence[Case]) -> dict[Status, int]:
    counts: dict[Status, int] = {"done": 0, "borderline": 0, "discarded": 0, "rejected": 0, "broken": 0, "waiting": 0}
    for case in cases:
        counts[case.status] += 1
    return counts


def _suspects(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with failed or flagged gates, failed ones first."""
    found = [case for case in cases if case.failed_gates or case.flagged_gates]
    return sorted(found, key=lambda case: not case.failed_gates)


def _context(
    cases: Sequence[Case],
    cohort: Cohort | None,
    inventory: Inventory,
    figures: dict[str, Picture | None],
    views: Views,
    vessel_views: Views,
    pages: set[str],
) -> dict[str, Any]:
    steps = cohort.steps(cases) if cohort else []
    rows = tre_rows(cases)
    costs = cost_rows(cases)
    return {
        "build": inventory.results.resolve().name,
        "version": __version__,
        "date": datetime.datetime.now(datetime.UTC),
        "cases": cases,
        "status": _statuses(cases),
        "methods": method_summaries(cases),
        "roles": role_summaries(cases),
        "statistics": STATISTICS,
        "bootstrap_seed": BOOTSTRAP_SEED,
        "colours": method_colours([row["method"] for row in rows]),
        "tre": rows,
        "comparison": comparison_rows(cases),
        "quality": quality_medians(cases),
        "table1": table1_rows(cases),
        "motion": motion_rows(cases),
        "rejected": readable_rejections(cases, inventory.results),
        "suspects": _suspects(cases),
        "kept_flagged": sum(case.status == "done" and bool(case.flagged_gates) for case in cases),
        "gates_line": gates_line(cases),
        "verdicts": verdict_rows(_suspects(cases)),
        "vessel_views": vessel_views,
        "cohort": cohort,
        "steps": steps or manifest_steps(cases),
        "steps_are_patients": bool(steps),
        "costs": costs,
        "longest_s": max((row["total_s"] for row in costs), default=0.0),
        "total_s": sum(row["total_s"] for row in costs),
        "versions": version_rows(cases),
        "settings": setting_rows(cases),
        "figures": figures,
        "views": views,
        "pages": pages,
        "slab_mm": SLAB_MM,
        "untrusted_mm": UNTRUSTED_MM,
        "problems": inventory.problems,
    }


def write_report(
    results: Path,
    *,
    manifest: Path | None = None,
    views: int = DEFAULT_VIEWS,
    settings: ReportSettings | None = None,
    workers: int = 1,
    progress: Progress = iter,
) -> ReportSummary:
    """Write ``report/`` of a build: pages, tables and figures of what exists.

    ``manifest`` has the expected cases; None: all cases that have a folder. ``views`` is the largest number of cases
    with pictures on the overview: up to half of them show vessel masks, failed gates first; of the others, cases with
    landmarks come first. ``settings`` are those of the pages of cases; None: the defaults. ``workers`` is the number
    of processes that draw; ``progress`` wraps the cases.

    Raises ``BadInputError`` (``missing_folder``) if there is neither a folder of results nor a manifest.
    """
    if not results.is_dir() and manifest is None:
        raise BadInputError(
            "the build does not exist",
            code="missing_folder",
            file=results,
            expected="a folder of results",
            remedy="run the workflow first, or give --manifest",
        )
    results.mkdir(parents=True, exist_ok=True)
    inventory = Inventory(results)
    cases = inventory.cases(manifest)
    folder = results / "report"
    _write_tables(folder, cases)
    made = write_pages(
        cases, inventory, folder / PAGES_NAME, settings or ReportSettings(), workers=workers, progress=progress
    )
    suspects = _suspects(cases)[: (max(views, 0) + 1) // 2]
    rest = max(views, 0) - len(suspects)
    chosen = sorted(cases, key=lambda case: not case.evaluations)[:rest]
    case_views = _views(chosen, CASE_DRAWINGS, made.pictures, inventory, workers, progress)
    vessel_views = _views(suspects, VESSEL_DRAWINGS, made.pictures, inventory, workers, progress)
    cohort = read_cohort(inventory)
    figures = _figures(cases, cohort, inventory)
    _write_figures(folder / "figures", figures, case_views, vessel_views)
    page = folder / "index.html"
    template = environment().get_template("index.html.j2")
    context = _context(cases, cohort, inventory, figures, case_views, vessel_views, made.names)
    write_text(page, template.render(context))
    status = _statuses(cases)
    return ReportSummary(
        page=page,
        done=status["done"],
        borderline=status["borderline"],
        discarded=status["discarded"],
        rejected=status["rejected"],
        broken=status["broken"],
        waiting=status["waiting"],
        problems=tuple(problem.line() for problem in inventory.problems),
        gates=gates_line(cases),
    )
