"""The result of a job as one page that works offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lcsd import __version__
from lcsd.io.files import read_json, write_text
from lcsd.io.points import Cloud
from lcsd.io.tables import read_rows
from lcsd.report.html import environment, viewer_scripts
from lcsd.report.registered import MovedCloud, RegisteredClouds
from lcsd.report.viewer import viewer_data
from lcsd.settings.register import UNTRUSTED_MM

SHOWN_POINTS = 50_000
"""Points of each cloud in the page; more would take longer to send than to see."""

PLOT = (600, 180)
"""Width and height of a curve, in units of its drawing."""


@dataclass(frozen=True)
class Landmarks:
    """Errors at the landmarks, shape (N,), mm, and their figures."""

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    figures: dict[str, Any]

    @classmethod
    def read(cls, scores: Path, errors: Path) -> "Landmarks":
        """Return what ``lcsd evaluate`` wrote."""
        rows = read_rows(errors, ["tre_before_mm", "tre_mm"], separator=",")
        before, after = (np.array([float(row[name]) for row in rows]) for name in ("tre_before_mm", "tre_mm"))
        return cls(before, after, read_json(scores))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of figures before and after, mm."""
        return [
            {
                "state": state,
                "mean": float(values.mean()),
                "median": float(np.median(values)),
                "p95": float(np.percentile(values, 95)),
                "max": float(values.max()),
            }
            for state, values in (("before", self.before), ("after", self.after))
        ]


@dataclass(frozen=True)
class ResultPage:
    """What a page shows; ``names`` are those of the user's files."""

    title: str
    names: Mapping[str, str]
    clouds: RegisteredClouds
    figures: Mapping[str, Any]
    landmarks: Landmarks | None
    commands: Sequence[str]
    warnings: Sequence[str]


def clouds_of(fixed: Cloud, moving: Cloud, moved: Cloud, method: str) -> RegisteredClouds:
    """Return both clouds and the moved one with their distances, as the 3-D view needs them."""
    points, others, after = (np.asarray(cloud.points, np.float64) for cloud in (fixed, moving, moved))
    near = KDTree(others)
    expected = None if moved.expected_error_mm is None else moved.expected_error_mm.astype(np.float64)
    shown = MovedCloud(after, near.query(after, workers=-1)[0], expected)
    return RegisteredClouds(points, others, near.query(points, workers=-1)[0], {method: shown})


def curve(across: Sequence[float] | NDArray[Any], up: Sequence[float] | NDArray[Any], top: float) -> str:
    """Return points of a line in a drawing of size ``PLOT``; ``across`` is of 1, ``up`` from 0 to ``top``."""
    width, height = PLOT
    x, y = np.asarray(across, float), np.asarray(up, float)
    return " ".join(f"{width * a:.1f},{height * (1 - b / top):.1f}" for a, b in zip(x, y, strict=True))


def _distance(figures: Mapping[str, Any]) -> dict[str, Any]:
    values = figures["distance"]
    top = max([*values, 1e-9])
    return {"line": curve(np.linspace(0, 1, len(values)), values, top), "top": top, "steps": len(values)}


def _shares(landmarks: Landmarks) -> dict[str, Any]:
    """Return the shares of the landmarks within each error, before and after."""
    top = float(max(landmarks.before.max(), landmarks.after.max(), 1e-9))
    lines = {}
    for state, values in (("before", landmarks.before), ("after", landmarks.after)):
        # One point per landmark, and up to the right edge.
        x = np.append(np.sort(values) / top, 1.0)
        share = np.append(np.arange(1, len(values) + 1) / len(values), 1.0)
        lines[state] = curve(np.insert(x, 0, 0.0), np.insert(share, 0, 0.0), 1.0)
    return {"lines": lines, "top": top}


def write_page(path: Path, page: ResultPage) -> None:
    """Write a page with its scripts and data inside; it asks for nothing and runs no other script."""
    scripts = viewer_scripts()
    (moved,) = page.clouds.after.values()
    context = {
        "page": page,
        "version": __version__,
        "data": viewer_data(page.clouds, limit=SHOWN_POINTS),
        "limit": SHOWN_POINTS,
        "scripts": scripts,
        "policy": " ".join(script.policy for script in scripts),
        "residuals": [
            {"median_mm": float(np.median(values)), "p95_mm": float(np.percentile(values, 95))}
            for values in (page.clouds.before, moved.residual)
        ],
        "distance": _distance(page.figures),
        "shares": None if page.landmarks is None else _shares(page.landmarks),
        "plot": PLOT,
        "untrusted_mm": UNTRUSTED_MM,
    }
    write_text(path, environment("lcsd.serve").get_template("result.html.j2").render(context))
