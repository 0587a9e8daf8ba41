"""Tables of the report, except those of accuracy, as rows of plain values."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lcsd.build.inventory import BROKEN_FILE, STAGE_OUTPUTS, Case
from lcsd.build.jobs import INSIDE
from lcsd.build.verdicts import REGISTRATION_GATES, Verdict, gate_description, gate_part
from lcsd.io.tables import as_number
from lcsd.settings.gates import LCSD500

REJECTED_COLUMNS = ("case", "stage", "target", "code", "message", "file")

TABLE1_COLUMNS = (
    "cloud",
    "clouds",
    "points_min",
    "points_max",
    "points_mean",
    "lcsd500_min",
    "lcsd500_max",
    "lcsd500_mean",
)

STAGE_ORDER = (*STAGE_OUTPUTS, "evaluate")


def table1_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return the points per cloud in this build and in the published dataset."""
    counts: dict[str, list[int]] = {name: [] for name in LCSD500}
    for case in cases:
        if not case.counts:
            continue
        for (_, kind), count in case.points.items():
            counts["sparse" if kind == "keypoints" else kind].append(count)
        if case.correspondences is not None:
            counts["corrfield"].append(case.correspondences)
    rows = []
    for name, published in LCSD500.items():
        found = counts[name]
        low, high, mean = published
        rows.append(
            {
                "cloud": name,
                "clouds": len(found),
                "points_min": min(found) if found else "",
                "points_max": max(found) if found else "",
                "points_mean": round(sum(found) / len(found)) if found else "",
                "lcsd500_min": low,
                "lcsd500_max": high,
                "lcsd500_mean": mean,
            }
        )
    return rows


def plain_figure(value: float) -> str:
    """Return a figure of a gate as text: counts in full, shares with 4 significant digits."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def bounds(low: float | None, high: float | None) -> str:
    """Return limits as text, such as ``>= 0.01 and <= 0.2``; empty without limits."""
    given = ((">=", low), ("<=", high))
    return " and ".join(f"{sign} {plain_figure(v)}" for sign, v in given if v is not None)


def verdict_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return one row per failed or flagged gate: ``case``, ``gate`` and its description (``asked``)."""
    return [
        {"case": case, "gate": gate, "asked": gate_description(gate.name)}
        for case in cases
        for gate in (*case.failed_gates, *case.flagged_gates)
    ]


def discarded_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return one row per gate that leaves out a discarded or borderline case, columns ``REJECTED_COLUMNS``."""
    return [
        {
            "case": case.name,
            "stage": "gates",
            "target": str(INSIDE.registration_figures if gate.name in REGISTRATION_GATES else INSIDE.gates),
            "code": f"{'flagged' if gate.passed else 'gate'}_{gate.name}",
            "message": _gate_message(gate),
            "file": "",
        }
        for case in cases
        if case.status in ("discarded", "borderline")
        for gate in (case.failed_gates or case.flagged_gates)
    ]


def _gate_message(gate: Verdict) -> str:
    judged, low, high = (
        ("unusual", gate.usual_low, gate.usual_high) if gate.passed else ("implausible", gate.low, gate.high)
    )
    return (
        f"{gate.name} of {gate.of}: {judged} {gate_part(gate.name)}; expected "
        f"{bounds(low, high)}; found {plain_figure(gate.value)}"
    )


def rejected_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return one row per rejected case with the columns ``REJECTED_COLUMNS`` and the remedy."""
    return [
        {
            "case": case.name,
            "stage": case.rejection.stage,
            "target": case.rejection.target,
            "code": case.rejection.code,
            "message": case.rejection.message,
            "remedy": case.rejection.remedy,
            "file": case.rejection.file,
        }
        for case in cases
        if case.rejection is not None
    ]


def broken_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return one row per broken file that leaves a case out, columns ``REJECTED_COLUMNS``."""
    return [
        {
            "case": case.name,
            "stage": "",
            "target": "",
            "code": BROKEN_FILE,
            "message": problem.message,
            "file": problem.file,
        }
        for case in cases
        if case.status == "broken"
        for problem in case.broken
    ]


def left_out_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return the rows of all cases that are left out, columns ``REJECTED_COLUMNS``."""
    rows = [*rejected_rows(cases), *discarded_rows(cases), *broken_rows(cases)]
    return [{name: row[name] for name in REJECTED_COLUMNS} for row in rows]


def readable_rejections(cases: Sequence[Case], results: Path) -> list[dict[str, str]]:
    """Return the rejected rows for readers: paths relative to the build, no repeated code or remedy."""
    rows = []
    for row in rejected_rows(cases):
        message = row["message"].removesuffix(f" [{row['code']}]")
        message = message.removesuffix(row["remedy"]).rstrip("; ") if row["remedy"] else message
        for root in (results.resolve(), results):
            message = message.replace(f"{root}/", "")
        rows.append({**row, "message": message})
    return rows


def _rank(stage: str) -> tuple[int, str]:
    """Return the place of a stage in the order of the pipeline; unknown ones come last, by name."""
    return (STAGE_ORDER.index(stage) if stage in STAGE_ORDER else len(STAGE_ORDER), stage)


def cost_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return seconds and memory per stage, in the order of the pipeline, with the slowest case."""
    runs = [(run.stage, case.name, run.seconds, run.memory_gib) for case in cases for run in case.runs]
    table = pd.DataFrame(runs, columns=["stage", "case", "s", "gib"]).astype({"s": float, "gib": float})
    rows = []
    for stage in sorted(table.dropna(subset="s")["stage"].unique(), key=_rank):
        part = table[table["stage"] == stage]
        rows.append(
            {
                "stage": stage,
                "runs": int(part["s"].count()),
                "median_s": float(part["s"].median()),
                "max_s": float(part["s"].max()),
                # The first of equally slow cases.
                "slowest": part.loc[part["s"].idxmax(), "case"],
                "total_s": float(part["s"].sum()),
                "median_gib": as_number(float(part["gib"].median())),
                "max_gib": as_number(float(part["gib"].max())),
            }
        )
    return rows


def case_cost_rows(case: Case) -> list[dict[str, Any]]:
    """Return seconds and memory of each command of a case, in the order of the pipeline."""
    runs = sorted(case.runs, key=lambda run: _rank(run.stage))
    return [{"stage": run.stage, "output": run.output, "seconds": run.seconds, "gib": run.memory_gib} for run in runs]


def version_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return the packages that made the build, with all versions."""
    versions: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        for run in case.runs:
            for package, number in run.versions.items():
                versions[package].add(number)
    return [{"package": name, "version": ", ".join(sorted(found))} for name, found in sorted(versions.items())]


def setting_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return the settings of each stage with all their values in the build."""
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for case in cases:
        for run in case.runs:
            for key, value in run.settings.items():
                values[run.stage, key].add(json.dumps(value, sort_keys=True))
    ordered = sorted(values, key=lambda item: (_rank(item[0]), item))
    return [
        {"stage": stage, "setting": key, "value": " or ".join(sorted(values[stage, key]))} for stage, key in ordered
    ]


def motion_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return the figures of the rigid step per case: overlap of the lungs, shift, rotation."""
    return [
        {
            "case": case.name,
            "role": case.role,
            "dice_centred": as_number(case.prealign.get("dice_centred")),
            "dice_aligned": as_number(case.prealign.get("dice_aligned")),
            "shift_mm": _length(case.prealign.get("translation_mm")),
            "rotation_deg": as_number(case.prealign.get("rotation_deg")),
            "residual_mm": as_number(case.prealign.get("match_residual_mean_mm")),
        }
        for case in cases
        if case.prealign
    ]


def _length(vector: object) -> float | None:
    """Return the length of a list of three numbers, or None for anything else."""
    parts = [as_number(part) for part in vector] if isinstance(vector, list) else []
    known = [part for part in parts if part is not None]
    return math.hypot(*known) if len(known) == len(parts) == 3 else None
