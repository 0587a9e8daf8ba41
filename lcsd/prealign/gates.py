"""Judge a pair: whose scans they are, whether each is of one acquisition, and their rigid alignment."""

from collections.abc import Mapping
from typing import Any

from lcsd.build.verdicts import gate_description, verdict
from lcsd.io.tables import as_number
from lcsd.settings.gates import GatesSettings

OF = "pair"

SLICE_FIGURES = {"seam": "seam", "slice_order": "order", "repeated_slices": "repeated"}
"""Gates of a scan's slices, and the names under which ``lcsd convert`` records their figures."""


def judge_scans(facts: Mapping[str, Mapping[str, Any]], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return the verdicts on whose scans they are, and on their slices.

    ``facts`` are those that ``lcsd convert`` recorded, by scan. What it did not record is not judged, such as persons
    if the headers have no element to compare.
    """
    found = []
    person = facts["moving"].get("person", {})
    if person.get("compared"):
        found.append(verdict("person", float(len(person["differ"])), settings.person, of=OF))
    for name, figure in SLICE_FIGURES.items():
        values = {scan: as_number(recorded.get("slices", {}).get(figure)) for scan, recorded in facts.items()}
        limits = getattr(settings, name)
        found += [verdict(name, value, limits, of=scan) for scan, value in values.items() if value is not None]
    return found


def judge(report: Mapping[str, Any], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return the verdicts on a rigid alignment; ``report`` is the content of ``prealign.json``.

    A figure that the method does not have is not judged.
    """
    kept, tried = as_number(report.get("matches_kept")), as_number(report.get("matches_tried"))
    dice, centred = as_number(report.get("dice_aligned")), as_number(report.get("dice_centred"))
    found = {
        "rotation_deg": as_number(report.get("rotation_deg")),
        "shift_mm": as_number(report.get("centre_distance_mm")),
        "dice": dice,
        "dice_change": None if dice is None or centred is None else dice - centred,
        "matched": None if kept is None or not tried else kept / tried,
        "residual_mm": as_number(report.get("match_residual_mean_mm")),
    }
    return [verdict(name, v, getattr(settings, name), of=OF) for name, v in found.items() if v is not None]


def doubts(report: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure of a rigid alignment that is implausible or unusual by the default limits.

    ``report`` is the content of ``prealign.json``. A single command says this; a build judges by its own settings.
    """
    found = []
    for gate in judge(report, GatesSettings()):
        value, low, high = gate["value"], gate["low"], gate["high"]
        if gate["flagged"]:
            low, high = gate["usual_low"], gate["usual_high"]
        elif gate["passed"]:
            continue
        limit = f"at least {low:g}" if low is not None and value < low else f"at most {high:g}"
        word = "unusual" if gate["flagged"] else "implausible"
        found.append(f"{word} alignment: {gate['name']} is {value:.3g}, {limit} ({gate_description(gate['name'])})")
    return found
