"""Evidence of a chest: windpipe, lungs, spine and liver say whether the axes are as the header names them."""

from dataclasses import dataclass
from pathlib import Path

from lcsd.errors import BadInputError

LEAST_WINDPIPE_MM = 50.0
"""A tube of air this long in the midline is a windpipe; scans that end below the neck may show none."""

MORE_WINDPIPE = 0.5
"""Windpipe at one end of the lungs, as a part of that at the other end, below which the ends are told apart."""

NARROWER = 0.95
"""Width of the lungs at the end of the windpipe, as a part of that at the other end, is below 1 / this."""

LEAST_TIP, BLUNTER = 0.12, 0.5
"""Tips of the lungs reach this part of the lungs' height beyond their rim; at the other end at most half as far.

At the head end 0.15 to 0.27, at the feet end -0.09 to 0.05: 16 scans of phantoms with classical and true masks and 10
changes of a phantom, two patients with expert and classical masks, and the extents of 24 clouds of 12 patients.
"""

LEAST_BONE_ML, MOST_BONE_ML = 80.0, 60.0
"""Bone of a spine near the midline; bone and contrast medium in front of the lungs' middle do not replace it."""

LESS_BONE = 0.33
"""Bone in front, as a part of that behind, is below this (two patients: 0.13 and 0.17; phantoms: up to 0.29)."""

LIVER_SHARE = 0.4
"""Soft tissue below the lungs on the right, as a part of both sides, is above this (two patients: 0.63 and 0.71;
phantoms: 0.62 to 0.74); fluid in the left pleural space brings it to a half at most."""

HEART_LEFT_MM = 8.0
"""A heart that is this far on the left of the spine contradicts that left and right are exchanged."""


@dataclass(frozen=True)
class Evidence:
    """What a scan shows along the axes that its header names."""

    windpipe_mm: tuple[float, float]  # length of a tube of air in the midline, towards the head and towards the feet
    width_mm: tuple[float, float]  # width of both lungs near the head end and near the feet end
    bone_ml: tuple[float, float]  # bone in the midline behind and in front of the lungs' middle
    heart_mm: float | None  # tissue between the lungs to the left of the spine; None unless there are two lungs
    tips: (
        tuple[float, float] | None
    )  # how far the lungs' middle reaches beyond their rim at head and feet, of their height
    liver: float | None  # soft tissue below the lungs on the right, of both sides, of 1; None as before


def exchanged(found: Evidence) -> str | None:
    """Return what the header has exchanged: ``slices``, ``front``, ``sides`` or ``front and sides``; None if nothing.

    Weak evidence, as of a crop or a single lung, exchanges nothing.
    """
    if _slices(found):
        return "slices"
    front, sides = _front(found), _sides(found)
    return {(True, True): "front and sides", (True, False): "front", (False, True): "sides"}.get((front, sides))


def _slices(found: Evidence) -> bool:
    return _windpipe_at_feet(found) or _tips_at_feet(found)


def _windpipe_at_feet(found: Evidence) -> bool:
    head, feet = found.windpipe_mm
    top, bottom = found.width_mm
    return feet >= LEAST_WINDPIPE_MM and head < MORE_WINDPIPE * feet and top > NARROWER * bottom


def _tips_at_feet(found: Evidence) -> bool:
    """Return whether the lungs end in tips at the feet, and no windpipe is at the head."""
    if found.tips is None:
        return False
    head, feet = found.windpipe_mm
    at_head, at_feet = found.tips
    windpipe = head >= LEAST_WINDPIPE_MM and feet < MORE_WINDPIPE * head
    return at_feet >= LEAST_TIP and at_head <= BLUNTER * at_feet and not windpipe


def _front(found: Evidence) -> bool:
    behind, front = found.bone_ml
    return front >= LEAST_BONE_ML and behind < min(MOST_BONE_ML, LESS_BONE * front)


def _sides(found: Evidence) -> bool:
    if found.liver is None or found.heart_mm is None:
        return False
    return found.liver < LIVER_SHARE and found.heart_mm < HEART_LEFT_MM


def _words(found: Evidence) -> dict[str, tuple[str, str, str]]:
    head, feet = found.windpipe_mm
    behind, front = found.bone_ml
    share = 0.0 if found.liver is None else found.liver
    windpipe = (
        "the windpipe at the head end of the lungs",
        f"{feet:.0f} mm of it at the feet end, {head:.0f} at the head end",
    )
    at_head, at_feet = found.tips or (0.0, 0.0)
    tips = (
        "the tips of the lungs at the head end",
        f"their middle {at_feet:.0%} of their height beyond their rim at the feet end, {at_head:.0%} at the head end",
    )
    spine = ("the spine behind the lungs", f"{front:.0f} ml of bone in front of their middle, {behind:.0f} behind")
    liver = ("the liver under the right lung", f"{1 - share:.0%} of the tissue below the lungs on the left")
    return {
        "slices": (*(windpipe if _windpipe_at_feet(found) else tips), "the slices are in reverse order"),
        "front": (*spine, "front and back are exchanged"),
        "sides": (*liver, "left and right are exchanged"),
        "front and sides": (*spine, "the scan is turned by half a circle, as if RAS were read as LPS"),
    }


def check_anatomy(found: Evidence, *, file: Path | None) -> None:
    """Refuse a scan whose header names its axes otherwise than the anatomy shows.

    Raises ``BadInputError`` (``anatomy_mismatch``) with the reading that fits better.
    """
    better = exchanged(found)
    if better is None:
        return
    expected, seen, reading = _words(found)[better]
    raise BadInputError(
        "the anatomy contradicts the header",
        code="anatomy_mismatch",
        file=file,
        field="orientation",
        expected=expected,
        found=seen,
        remedy=f"{reading}: correct the scan's header, or set lungs.anatomy to trusted if it is right",
    )
