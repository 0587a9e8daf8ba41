"""The report of a build: one page that opens offline, its tables and its figures."""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

from lcsd import __version__
from lcsd.build.inventory import Case, Inventory, Status
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
from lcsd.plotting import method_colours
from lcsd.report.cohort import Cohort, manifest_steps, read_cohort
from lcsd.report.figures import case_figure, dice_figure, error_figure
from lcsd.report.html import environment
from lcsd.report.overlays import SLAB_MM, cloud_figure, overlay_figure
from lcsd.report.pages import write_pages
from lcsd.report.pictures import Picture, PictureFolder
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
from lcsd.settings.report import DEFAULT_VIEWS, ReportSettings

PAGES_NAME = "cases"
"""Folder of the cases' pages in ``report/``."""

Progress = Callable[[Sequence[Case]], Iterable[Case]]


@dataclass(frozen=True)
class ReportSummary:
    """What a report covers.

    Parameters
    ----------
    page
        The written ``index.html``.
    done, discarded, rejected, broken, waiting
        Cases by state.
    problems
        One line per file that was broken and left out.
    """

    page: Path
    done: int
    discarded: int
    rejected: int
    broken: int
    waiting: int
    problems: tuple[str, ...]

    def line(self) -> str:
        """Return the summary as one line."""
        out = self.discarded + self.rejected + self.broken
        total = self.done + out + self.waiting
        parts = [f"{self.done} done"]
        parts += [f"{self.discarded} discarded"] if self.discarded else []
        parts += [f"{self.rejected} rejected"] if self.rejected else []
        parts += [f"{self.broken} with a broken file"] if self.broken else []
        parts += [f"{self.waiting} not finished"] if self.waiting else []
        see = f" (see {self.page.with_name('rejected.tsv')})" if out else ""
        return f"{total} case{'s' if total != 1 else ''}: {', '.join(parts)}{see}"


def _case_views(
    cases: Sequence[Case], inventory: Inventory, pictures: PictureFolder, progress: Progress
) -> dict[str, dict[str, Picture | None]]:
    """Return the pictures of every case; what cannot be drawn is recorded and left out."""
    views = {}
    for case in progress(cases):

        def overlay(_: Path, case: Case = case) -> Picture | None:
            return pictures.add(
                f"{case.name}_overlay",
                overlay_figure(case, inventory),
                kind="jpg",
                alt=f"Axial, coronal and sagittal slices of case {case.name}: baseline in magenta, "
                "follow-up in green, before and after registration; agreement is grey.",
            )

        def clouds(_: Path, case: Case = case) -> Picture | None:
            return pictures.add(
                f"{case.name}_clouds",
                cloud_figure(case, inventory),
                kind="jpg",
                alt=f"Projected vessel clouds of case {case.name}: baseline in magenta, follow-up "
                "in green, before and after registration.",
            )

        shown = {"overlay": inventory.attempt(case.folder, overlay), "clouds": inventory.attempt(case.folder, clouds)}
        if any(shown.values()):
            views[case.name] = shown
    return views


def _vessel_views(
    cases: Sequence[Case], inventory: Inventory, pictures: PictureFolder, progress: Progress
) -> dict[str, Picture]:
    """Return the pictures of the vessel masks of cases, of those that can be drawn."""
    views = {}
    for case in progress(cases):

        def vessels(_: Path, case: Case = case) -> Picture | None:
            return pictures.add(
                f"{case.name}_vessels",
                vessel_figure(case, inventory),
                kind="jpg",
                alt=f"Vessel masks of case {case.name}: baseline and follow-up, projected in three "
                "directions, and outlined over one slice each.",
            )

        picture = inventory.attempt(case.folder, vessels)
        if picture is not None:
            views[case.name] = picture
    return views


def _figures(
    cases: Sequence[Case], cohort: Cohort | None, inventory: Inventory, pictures: PictureFolder
) -> dict[str, Picture | None]:
    """Return the figures over all cases."""
    return {
        "errors": inventory.attempt(
            inventory.results,
            lambda _: pictures.add(
                "tre_distribution",
                error_figure(cases),
                kind="png",
                alt="Left: cumulative distribution of landmark errors before and after each "
                "method. Right: the same errors as box plots.",
            ),
        ),
        "cases": inventory.attempt(
            inventory.results,
            lambda _: pictures.add(
                "tre_cases",
                case_figure(cases),
                kind="png",
                alt="Mean landmark error of every case before and after each method.",
            ),
        ),
        "dice": inventory.attempt(
            inventory.results,
            lambda _: pictures.add(
                "cohort_dice",
                dice_figure(cohort.screened if cohort else ()),
                kind="png",
                alt="Histogram of the overlap of the lung masks of the accepted candidates for "
                "training, and the cut of the selection.",
            ),
        ),
    }


def _write_tables(folder: Path, cases: Sequence[Case]) -> None:
    write_table(folder / "tre.csv", TRE_COLUMNS, tre_rows(cases))
    write_table(folder / "summary.csv", SUMMARY_COLUMNS, summary_rows(cases))
    write_table(folder / "comparison.csv", COMPARISON_COLUMNS, comparison_rows(cases))
    write_table(folder / "table1.csv", TABLE1_COLUMNS, table1_rows(cases))
    write_table(folder / "rejected.tsv", REJECTED_COLUMNS, left_out_rows(cases))


def _statuses(cases: Sequence[Case]) -> dict[Status, int]:
    counts: dict[Status, int] = {"done": 0, "discarded": 0, "rejected": 0, "broken": 0, "waiting": 0}
    for case in cases:
        counts[case.status] += 1
    return counts


def _suspects(cases: Sequence[Case]) -> list[Case]:
    """Return the cases whose vessel masks somebody should look at, the failed ones first."""
    found = [case for case in cases if case.failed_gates or case.flagged_gates]
    return sorted(found, key=lambda case: not case.failed_gates)


def _context(
    cases: Sequence[Case],
    cohort: Cohort | None,
    inventory: Inventory,
    figures: dict[str, Picture | None],
    views: dict[str, dict[str, Picture | None]],
    vessel_views: dict[str, Picture],
    pages: set[str],
) -> dict[str, Any]:
    """Return everything the page's template shows."""
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
        "table1": table1_rows(cases),
        "motion": motion_rows(cases),
        "rejected": readable_rejections(cases, inventory.results),
        "suspects": _suspects(cases),
        "borderline": sum(case.status == "done" and bool(case.flagged_gates) for case in cases),
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
        "problems": inventory.problems,
    }


# Names and ids may hold a dollar sign, which is no formula.
@mpl.rc_context({"text.parse_math": False})
def write_report(
    results: Path,
    *,
    manifest: Path | None = None,
    views: int = DEFAULT_VIEWS,
    settings: ReportSettings | None = None,
    progress: Progress = iter,
) -> ReportSummary:
    """Write ``report/`` of a build over whatever exists: pages, tables, figures.

    Parameters
    ----------
    results
        Folder of the build.
    manifest
        Pairs manifest: which cases are expected. Without it, the folders that exist.
    views
        Largest number of pictures of cases on the page. Up to half of them show vessel masks,
        failed gates first; of the others, cases with landmarks come first.
    settings
        What pages of cases there are and what they show; defaults if None.
    progress
        Wraps the cases while their pictures are drawn.

    Returns
    -------
    ReportSummary
        Where the page is, how many cases are in which state, and which files were broken.

    Raises
    ------
    BadInputError
        If there is neither a folder of results nor a manifest.
    """
    if not results.is_dir() and manifest is None:
        raise BadInputError(
            "there is no such build",
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
    pictures = PictureFolder(folder / "figures")
    suspects = _suspects(cases)[: (max(views, 0) + 1) // 2]
    rest = max(views, 0) - len(suspects)
    chosen = sorted(cases, key=lambda case: not case.evaluations)[:rest]
    drawn = _case_views(chosen, inventory, pictures, progress)
    vessel_views = _vessel_views(suspects, inventory, pictures, progress)
    cohort = read_cohort(inventory)
    figures = _figures(cases, cohort, inventory, pictures)
    pictures.remove_others()
    pages = write_pages(cases, inventory, folder / PAGES_NAME, settings or ReportSettings(), progress=progress)
    page = folder / "index.html"
    template = environment().get_template("index.html.j2")
    context = _context(cases, cohort, inventory, figures, drawn, vessel_views, pages)
    write_text(page, template.render(context))
    status = _statuses(cases)
    return ReportSummary(
        page=page,
        done=status["done"],
        discarded=status["discarded"],
        rejected=status["rejected"],
        broken=status["broken"],
        waiting=status["waiting"],
        problems=tuple(problem.line() for problem in inventory.problems),
    )
