"""Pages of cases: slices, clouds in 3-D, errors on the lungs, worst landmarks, gates, costs."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lcsd import __version__
from lcsd.build.inventory import Case, Inventory, Problem
from lcsd.build.jobs import INSIDE, METHODS
from lcsd.io.files import write_text
from lcsd.io.images import read_image, read_mask
from lcsd.io.plotting import method_colours, method_name
from lcsd.names import SCANS
from lcsd.numerics.processes import in_processes
from lcsd.report.html import LIBRARY, environment, resource, viewer_scripts
from lcsd.report.landmarks import PATCH_MM, Landmarks, landmark_figure, read_landmarks
from lcsd.report.overlays import CHECKER_MM, Slices, case_slices, checker_figure, mixed_figure
from lcsd.report.pictures import ALTS, Picture, draw
from lcsd.report.quality import quality_rows
from lcsd.report.registered import RegisteredClouds, registered_clouds
from lcsd.report.surface import KERNEL_MM, surface_figure
from lcsd.report.tables import case_cost_rows, readable_rejections, version_rows
from lcsd.report.vessels import vessel_figure
from lcsd.report.viewer import expected_figure, residual_figure, viewer_data
from lcsd.settings.register import UNTRUSTED_MM
from lcsd.settings.report import ReportSettings

FINGERPRINT = '<meta name="lcsd-fingerprint" content="{}'
PROBLEMS = " problems"
"""Follows the fingerprint in a page if a file could not be read."""

HEAD_CHARACTERS = 2000
"""The fingerprint is in this first part of a page."""

PARTS = ("index.html.j2", "case.html.j2", "viewer.html.j2", "macros.html.j2", "style.css", "viewer.js")

Progress = Callable[[Sequence[Case]], Iterable[Case]]


def page_order(cases: Sequence[Case]) -> list[Case]:
    """Return cases in the order in which they get a page.

    Cases with landmarks come first, then those with failed or flagged gates, then others, each in the order of the
    build. A case without any file gets no page.
    """
    begun = [case for case in cases if case.passed or case.rejection or case.runs]

    def rank(case: Case) -> int:
        return 0 if case.evaluations else 1 if case.failed_gates or case.flagged_gates else 2

    return sorted(begun, key=rank)


@dataclass(frozen=True)
class Pages:
    """What pages of cases there are."""

    names: set[str]  # of the cases with a page
    pictures: dict[str, dict[str, Picture | None]]  # of the cases whose page was made now, by their key in ``ALTS``


def write_pages(
    cases: Sequence[Case],
    inventory: Inventory,
    folder: Path,
    settings: ReportSettings,
    *,
    workers: int = 1,
    progress: Progress = iter,
) -> Pages:
    """Write pages of cases and return which cases have one.

    Pages with unchanged inputs stay, also beyond ``settings.pages``; outdated ones are removed. Unreadable files are
    recorded in the inventory, and their pages are rebuilt next time. ``folder`` is that of the pages, which are named
    after their cases; ``workers`` is the number of processes that draw; ``progress`` wraps the cases whose page is
    written.
    """
    ordered = page_order(cases)
    prints = {case.name: fingerprint(case, settings) for case in ordered}
    pages = {name: folder / f"{name}.html" for name in prints}
    current = {name for name, digest in prints.items() if _has(pages[name], digest)}
    whole = {name for name in current if not _has(pages[name], prints[name] + PROBLEMS)}
    wanted = [case for case in ordered[: settings.pages] if case.name not in whole]
    if folder.is_dir():
        for path in folder.glob("*.html"):
            if path.stem not in current:
                path.unlink()
    pictures = {}
    bar = progress(wanted) if wanted else ()
    work = functools.partial(_drawn_page, results=inventory.results, settings=settings, prints=prints)
    for case, drawn in zip(bar, in_processes(work, wanted, workers=workers), strict=True):
        write_text(folder / f"{case.name}.html", drawn.text)
        inventory.remember(drawn.problems)
        pictures[case.name] = drawn.pictures
    return Pages(current | {case.name for case in wanted}, pictures)


@dataclass(frozen=True)
class DrawnPage:
    """A page of a case that is not written yet."""

    text: str
    pictures: dict[str, Picture | None]  # by their key in ``ALTS``
    problems: list[Problem]


def _drawn_page(case: Case, results: Path, settings: ReportSettings, prints: Mapping[str, str]) -> DrawnPage:
    inventory = Inventory(results)
    text, pictures = case_page(case, inventory, settings, fingerprint=prints[case.name])
    return DrawnPage(text, pictures, inventory.problems)


def fingerprint(case: Case, settings: ReportSettings) -> str:
    """Return a hash of the inputs of a page: size and time of files, settings, program."""
    files = sorted(
        (str(path.relative_to(case.folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in case.folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    parts = [resource("templates", part) for part in PARTS]
    build = case.folder.resolve().parents[1].name
    drawn = settings.model_dump(exclude={"pages"})
    content = json.dumps([__version__, LIBRARY, build, parts, drawn, case.role, case.status, files])
    return hashlib.sha256(content.encode()).hexdigest()


def _has(page: Path, digest: str) -> bool:
    if not page.is_file():
        return False
    with page.open(encoding="utf-8", errors="replace") as handle:
        return FINGERPRINT.format(digest) in handle.read(HEAD_CHARACTERS)


def case_page(
    case: Case, inventory: Inventory, settings: ReportSettings, *, fingerprint: str
) -> tuple[str, dict[str, Picture | None]]:
    """Return the page of a case with all that exists of it, and its pictures.

    ``inventory`` is a new one: the page lists its problems. ``fingerprint`` is written into the page, with a mark if a
    file is broken.
    """
    slices = inventory.attempt(case.folder, lambda _: case_slices(case, inventory))
    registered = inventory.attempt(case.folder, lambda _: registered_clouds(case, inventory))
    scored = _landmarks(case, inventory)
    drawn = _pictures(case, inventory, slices, registered, scored, settings)
    data = None if registered is None else viewer_data(registered, limit=settings.cloud_points)
    scripts = viewer_scripts() if data else []
    methods = [evaluation.method for evaluation in case.evaluations]
    context: dict[str, Any] = {
        "case": case,
        "build": inventory.results.resolve().name,
        "version": __version__,
        "fingerprint": fingerprint + (PROBLEMS if inventory.problems else ""),
        "colours": method_colours(methods),
        "rejected": readable_rejections([case], inventory.results),
        "problems": inventory.problems,
        "missing": _missing(case, drawn, registered),
        "registered": registered,
        "residuals": _residual_rows(registered),
        "apart": _apart(registered),
        "quality": quality_rows([case]),
        "pictures": drawn,
        "costs": case_cost_rows(case),
        "versions": version_rows([case]),
        "surface_landmarks": len(next(iter(scored.values())).fixed) if scored else 0,
        "data": data,
        "limit": settings.cloud_points,
        "scripts": scripts,
        "policy": " ".join(script.policy for script in scripts) or "'none'",
        "patch_mm": PATCH_MM,
        "checker_mm": CHECKER_MM,
        "kernel_mm": KERNEL_MM,
        "untrusted_mm": UNTRUSTED_MM,
    }
    return environment().get_template("case.html.j2").render(context), drawn


def _residual_rows(registered: RegisteredClouds | None) -> list[dict[str, Any]]:
    """Return the median and 95th percentile of the residual distances, before and after each method."""
    if registered is None:
        return []
    states = {"before (rigid)": registered.before}
    states |= {f"after {method_name(name)}": m.residual for name, m in registered.after.items()}
    return [
        {"state": name, "median_mm": float(np.percentile(values, 50)), "p95_mm": float(np.percentile(values, 95))}
        for name, values in states.items()
    ]


def _apart(registered: RegisteredClouds | None) -> dict[str, float] | None:
    """Return the median and 95th percentile of the distance between both methods' places; None without both."""
    apart = None if registered is None else registered.apart()
    return None if apart is None else dict(zip(("median_mm", "p95_mm"), np.percentile(apart, (50, 95)), strict=True))


def _pictures(
    case: Case,
    inventory: Inventory,
    slices: Slices | None,
    registered: RegisteredClouds | None,
    scored: Mapping[str, Landmarks],
    settings: ReportSettings,
) -> dict[str, Picture | None]:
    """Return the pictures of a page by name; None if something needed is missing or broken."""
    methods = {f"landmarks_{evaluation.method}": evaluation.method for evaluation in case.evaluations}
    figures: dict[str, Callable[[], Figure | None]] = {
        "overlay": lambda: None if slices is None else mixed_figure(slices),
        "checker": lambda: None if slices is None else checker_figure(slices),
        "clouds": lambda: None if registered is None else residual_figure(registered),
        "expected": lambda: None if registered is None else expected_figure(registered),
        "surface": lambda: _surface(case, inventory, registered, scored),
        "vessels": lambda: vessel_figure(case, inventory),
    }
    for key, method in methods.items():
        landmarks = scored.get(method)
        figures[key] = functools.partial(_worst, case, inventory, landmarks, settings.worst_landmarks)

    def alt(key: str) -> str:
        method = methods.get(key, "")
        return ALTS["landmarks" if method else key].format(case=case.name, method=method_name(method))

    return {key: draw(inventory, case.folder, figure, alt=alt(key)) for key, figure in figures.items()}


def _landmarks(case: Case, inventory: Inventory) -> dict[str, Landmarks]:
    """Return the landmark errors of each method with a readable table."""
    found = {}
    for evaluation in case.evaluations:
        table = case.files.landmark_errors(evaluation.method)
        landmarks = inventory.attempt(table, read_landmarks)
        if landmarks is not None:
            found[evaluation.method] = landmarks
    return found


def _surface(
    case: Case, inventory: Inventory, registered: RegisteredClouds | None, scored: Mapping[str, Landmarks]
) -> Figure | None:
    """Return errors on the surface of the lungs: of landmarks if there are any, else of vessels."""
    mask = inventory.once(case.files.mask("fixed"), read_mask)
    if mask is None:
        return None
    states: dict[str, tuple[Any, Any]] = {}
    for method, landmarks in scored.items():
        states.setdefault("before (rigid)", (landmarks.fixed, landmarks.before))
        states[f"after {method_name(method)}"] = (landmarks.fixed, landmarks.tre)
    if states:
        return surface_figure(mask, states, label="TRE near by (mm)")
    if registered is None:
        return None
    states = {"before (rigid)": (registered.fixed, registered.before)}
    for name, moved in registered.after.items():
        states[f"after {method_name(name)}"] = (registered.fixed, moved.residual)
    return surface_figure(mask, states, label="distance of vessels near by (mm)")


def _worst(case: Case, inventory: Inventory, landmarks: Landmarks | None, count: int) -> Figure | None:
    images = [inventory.once(case.files.image(scan), read_image) for scan in SCANS]
    if images[0] is None or images[1] is None or landmarks is None:
        return None
    return landmark_figure(images[0], images[1], landmarks, count)


def _missing(case: Case, drawn: Mapping[str, Picture | None], registered: RegisteredClouds | None) -> list[str]:
    """Return a sentence for each missing part of the page."""
    needs = {
        "overlay": "Slices: both scans and the lung mask in images/ are needed.",
        "clouds": f"Vessel clouds: the files needed are {' and '.join(str(INSIDE.cloud(s, 'dense')) for s in SCANS)}.",
        "surface": f"Errors on the lungs: {INSIDE.mask('fixed')} and errors are needed.",
        "vessels": "Vessel masks: images/ and vessels/ of both scans are needed.",
    }
    missing = [text for key, text in needs.items() if drawn[key] is None]
    if registered is not None:
        missing += [
            f"Registration by {method_name(method)}: {INSIDE.field(method)} is needed."
            for method in METHODS
            if method not in registered.after
        ]
    if not case.evaluations:
        missing.append("Landmark errors: the case has no evaluation.")
    return missing
