"""Quality of registrations without landmarks, as rows of the report: every case has figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lcsd.build.inventory import Case
from lcsd.io.tables import as_number

FIGURES = (
    *("lungs_dice", "lungs_hd95_mm", "lungs_assd_mm"),
    *("vessels_dice", "vessels_hd95_mm", "vessels_assd_mm"),
    *("nmi", "mind_residual"),
)

QUALITY_COLUMNS = ("case", "role", "status", "method", *FIGURES)

BEFORE = "before"
"""Row of the scans after the rigid step, without a registration."""


def quality_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return one row per case and method, the rigid step alone first; an unknown figure is empty."""
    rows = []
    for case in cases:
        for method, figures in case.quality.items():
            known = {name: as_number(figures.get(name)) for name in FIGURES}
            row = {"case": case.name, "role": case.role, "status": case.status, "method": method}
            rows.append({**row, **{name: "" if value is None else value for name, value in known.items()}})
    return rows


def quality_medians(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return the median of each figure over the cases that count, by method; unknown figures are left out."""
    rows = quality_rows([case for case in cases if case.counts])
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        part = [row for row in rows if row["method"] == method]
        medians = {name: [row[name] for row in part if row[name] != ""] for name in FIGURES}
        figures = {name: float(np.median(values)) if values else "" for name, values in medians.items()}
        found.append({"method": method, "cases": len(part), **figures})
    return found
