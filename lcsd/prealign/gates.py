"""Judge whether two scans are of one person, and whether their rigid alignment is plausible."""

from collections.abc import Mapping
from typing import Any

from lcsd.build.verdicts import verdict
from lcsd.io.tables import as_number
from lcsd.settings.gates import GatesSettings

OF = "pair"


def judge_person(person: Mapping[str, Any], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return the verdict on whose scans they are; ``person`` is the fact that ``lcsd convert --baseline`` recorded.

    There is none if the headers have no element to compare.
    """
    if not person.get("compared"):
        return []
    return [verdict("person", float(len(person["differ"])), settings.person, of=OF)]


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
