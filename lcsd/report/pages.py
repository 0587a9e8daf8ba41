"""A page per case: slices, clouds in 3-D, errors on the lungs, worst landmarks, gates, costs."""

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from lcsd import __version__
from lcsd.build.inventory import Case, Inventory
from lcsd.build.jobs import INSIDE, METHODS
from lcsd.io.files import write_text
from lcsd.io.images import read_image, read_mask
from lcsd.names import SCANS
from lcsd.plotting import method_colours, method_name
from lcsd.report.html import environment
from lcsd.report.landmarks import PATCH_MM, Landmarks, landmark_figure, read_landmarks
from lcsd.report.overlays import CHECKER_MM, Slices, case_slices, checker_figure, mixed_figure
from lcsd.report.pictures import Picture, embed
from lcsd.report.registered import RegisteredClouds, registered_clouds
from lcsd.report.surface import KERNEL_MM, surface_figure
from lcsd.report.tables import case_cost_rows, readable_rejections, version_rows
from lcsd.report.vessels import vessel_figure
from lcsd.report.viewer import residual_figure, viewer_data
from lcsd.settings.report import ReportSettings

LIBRARY = "three-0.180.0.min.js"
"""Draws the clouds; see ``lcsd/report/vendor/README.md``."""

FINGERPRINT = '<meta name="lcsd-fingerprint" content="{}'
PROBLEMS = " problems"
"""Follows the fingerprint of a page for which a file could not be read."""

HEAD_CHARACTERS = 2000
"""A page's fingerprint stands within these."""

PARTS = ("index.html.j2", "case.html.j2", "macros.html.j2", "style.css", "viewer.js")

ALTS = {
    "mix": "Axial, coronal and sagittal slices of case {}: baseline in magenta, follow-up in "
    "green, before and after registration; agreement is grey.",
    "checker": "The same slices of case {} as a checkerboard of baseline and follow-up.",
    "clouds": "Vessel cloud of the baseline of case {} before and after registration, coloured by "
    "the distance to the follow-up's vessels.",
    "surface": "Lungs of case {} from four sides, coloured by the registration error near their "
    "surface, before and after registration.",
    "vessels": "Vessel masks of case {}: baseline and follow-up, projected in three directions, "
    "and outlined over one slice each.",
}
"""What the pictures of a case show, for readers who do not see them."""

WORST_ALT = (
    "Image patches around the landmarks of case {} with the largest errors of {}: baseline, "
    "follow-up at the true and at the found place."
)

Progress = Callable[[Sequence[Case]], Iterable[Case]]


@dataclass(frozen=True)
class Script:
    """A script inside a page, and its hash by which the page's policy admits it alone."""

    text: Markup
    policy: str


def _script(*path: str) -> Script:
    text = _resource(*path)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(Markup(text), f"'sha256-{digest}'")  # noqa: S704 - our own files


def _resource(*path: str) -> str:
    return resources.files("lcsd.report").joinpath(*path).read_text(encoding="utf-8")


def page_order(cases: Sequence[Case]) -> list[Case]:
    """Return cases in the order in which they get a page.

    First those with landmarks, then those that a gate has failed or flagged, then the others;
    each as the build has them. A case of which there is no file at all gets none.
    """
    begun = [case for case in cases if case.passed or case.rejection or case.runs]

    def rank(case: Case) -> int:
        return 0 if case.evaluations else 1 if case.failed_gates or case.flagged_gates else 2

    return sorted(begun, key=rank)


def write_pages(
    cases: Sequence[Case], inventory: Inventory, folder: Path, settings: ReportSettings, *, progress: Progress = iter
) -> set[str]:
    """Write pages of cases and return which cases have one.

    A page whose inputs have not changed is left as it is, also one beyond ``settings.pages``;
    others that are there are removed, since they show what is no more. What could not be read is
    recorded in the inventory, and such a page is made again next time.

    Parameters
    ----------
    folder
        Folder of the pages, named like their cases.
    progress
        Wraps the cases whose page is made.
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
    for case in progress(wanted) if wanted else ():
        own = Inventory(inventory.results)
        text = case_page(case, own, settings, fingerprint=prints[case.name])
        write_text(folder / f"{case.name}.html", text)
        for problem in own.problems:
            if problem not in inventory.problems:
                inventory.problems.append(problem)
    return current | {case.name for case in wanted}


def fingerprint(case: Case, settings: ReportSettings) -> str:
    """Return a hash of what a page is made of: files by size and time, settings, program."""
    files = sorted(
        (str(path.relative_to(case.folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in case.folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    parts = [_resource("templates", part) for part in PARTS]
    build = case.folder.resolve().parents[1].name
    drawn = settings.model_dump(exclude={"pages"})
    content = json.dumps([__version__, LIBRARY, build, parts, drawn, case.role, case.status, files])
    return hashlib.sha256(content.encode()).hexdigest()


def _has(page: Path, digest: str) -> bool:
    if not page.is_file():
        return False
    with page.open(encoding="utf-8", errors="replace") as handle:
        return FINGERPRINT.format(digest) in handle.read(HEAD_CHARACTERS)


def case_page(case: Case, inventory: Inventory, settings: ReportSettings, *, fingerprint: str) -> str:
    """Return the page of a case over whatever exists of it.

    Parameters
    ----------
    inventory
        Fresh: the page lists the problems that it records.
    fingerprint
        Written into the page, and whether a file was broken.
    """
    slices = inventory.attempt(case.folder, lambda _: case_slices(case, inventory))
    registered = inventory.attempt(case.folder, lambda _: registered_clouds(case, inventory))
    scored = _landmarks(case, inventory)
    drawn = _pictures(case, inventory, slices, registered, scored, settings)
    data = None if registered is None else viewer_data(registered, limit=settings.cloud_points)
    scripts = [_script("vendor", LIBRARY), _script("templates", "viewer.js")] if data else []
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
    }
    return environment().get_template("case.html.j2").render(context)


def _residual_rows(registered: RegisteredClouds | None) -> list[dict[str, Any]]:
    """Return the median and 95th percentile of the vessels' distances, before and by method."""
    if registered is None:
        return []
    states = {"before (rigid)": registered.before}
    states |= {f"after {method_name(name)}": m.residual for name, m in registered.after.items()}
    return [
        {"state": name, "median_mm": float(np.percentile(values, 50)), "p95_mm": float(np.percentile(values, 95))}
        for name, values in states.items()
    ]


def _pictures(
    case: Case,
    inventory: Inventory,
    slices: Slices | None,
    registered: RegisteredClouds | None,
    scored: Mapping[str, Landmarks],
    settings: ReportSettings,
) -> dict[str, Picture | None]:
    """Return the pictures of a page by name; None where something to draw is missing or broken."""
    figures: dict[str, Callable[[], Figure | None]] = {
        "mix": lambda: None if slices is None else mixed_figure(slices),
        "checker": lambda: None if slices is None else checker_figure(slices),
        "clouds": lambda: None if registered is None else residual_figure(registered),
        "surface": lambda: _surface(case, inventory, registered, scored),
        "vessels": lambda: vessel_figure(case, inventory),
    }
    alts = {key: text.format(case.name) for key, text in ALTS.items()}
    for method in (evaluation.method for evaluation in case.evaluations):
        figures[f"landmarks_{method}"] = functools.partial(
            _worst, case, inventory, scored.get(method), settings.worst_landmarks
        )
        alts[f"landmarks_{method}"] = WORST_ALT.format(case.name, method_name(method))

    def draw(key: str) -> Picture | None:
        return inventory.attempt(case.folder, lambda _: embed(figures[key](), kind="jpg", alt=alts[key]))

    return {key: draw(key) for key in figures}


def _landmarks(case: Case, inventory: Inventory) -> dict[str, Landmarks]:
    """Return the landmark errors of every method whose table can be read."""
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
    """Return errors on the lungs' surface: of landmarks if there are any, else of vessels."""
    mask = inventory.attempt(case.files.mask("fixed"), read_mask)
    if mask is None:
        return None
    states: dict[str, tuple[Any, Any]] = {}
    for method, landmarks in scored.items():
        states.setdefault("before (rigid)", (landmarks.fixed, landmarks.before))
        states[f"after {method_name(method)}"] = (landmarks.fixed, landmarks.tre)
    if states:
        return surface_figure(mask, states, label="landmark error (TRE) near by, mm")
    if registered is None:
        return None
    states = {"before (rigid)": (registered.fixed, registered.before)}
    for name, moved in registered.after.items():
        states[f"after {method_name(name)}"] = (registered.fixed, moved.residual)
    return surface_figure(mask, states, label="vessels' distance near by, mm")


def _worst(case: Case, inventory: Inventory, landmarks: Landmarks | None, count: int) -> Figure | None:
    images = [inventory.attempt(case.files.image(scan), read_image) for scan in SCANS]
    if images[0] is None or images[1] is None or landmarks is None:
        return None
    return landmark_figure(images[0], images[1], landmarks, count)


def _missing(case: Case, drawn: Mapping[str, Picture | None], registered: RegisteredClouds | None) -> list[str]:
    """Return what the page lacks, a sentence each."""
    needs = {
        "mix": "Slices: they need both scans and the lung mask in images/.",
        "clouds": f"Vessel clouds: they need {' and '.join(str(INSIDE.cloud(s, 'dense')) for s in SCANS)}.",
        "surface": f"Errors on the lungs: they need {INSIDE.mask('fixed')}, and errors.",
        "vessels": "Vessel masks: they need images/ and vessels/ of both scans.",
    }
    missing = [text for key, text in needs.items() if drawn[key] is None]
    if registered is not None:
        missing += [
            f"Motion of {method_name(method)}: it needs {INSIDE.field(method)}."
            for method in METHODS
            if method not in registered.after
        ]
    if not case.evaluations:
        missing.append("Landmark errors: the case has none (evaluation/ is empty).")
    return missing
