"""Screen one candidate pair: segment both lungs, align them, and judge the figures."""

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lcsd.build.verdicts import in_range
from lcsd.errors import BadInputError, WorkError
from lcsd.io.images import Image
from lcsd.lungs.anatomy import evidence
from lcsd.lungs.given import given_mask
from lcsd.lungs.lungs import make_lungs
from lcsd.lungs.sides import lung_volumes
from lcsd.names import SCANS, is_series_uid
from lcsd.numerics.device import Compute
from lcsd.readings.anatomy import check_anatomy
from lcsd.scans.convert import read_scan
from lcsd.selection.overlap import align_masks, border_areas
from lcsd.settings.convert import ConvertSettings
from lcsd.settings.lungs import LungsSettings
from lcsd.settings.screen import ScreenSettings

DIGITS = 6
"""Decimals of all figures, far finer than the effect of one voxel."""

GATED_OF_SCANS = ("lungs", "volume_l", "balance", "border_cm2")
GATED = (
    *(f"{scan}_{name}" for scan in SCANS for name in GATED_OF_SCANS),
    "volume_ratio",
    "balance_change",
    "shared_view",
    "dice",
)
"""Figures that gates judge; None if unknown."""

EXPECTED = {
    "lungs": "both lungs",
    "volume_l": "litres of two adult lungs",
    "volume_ratio": "volumes of one patient",
    "balance": "two lungs of like size",
    "balance_change": "the same lungs in both scans",
    "border_cm2": "lungs that the scan holds",
    "shared_view": "the same part of the lungs in both scans",
    "dice": "masks that overlap",
}
"""Requirement of each gate, by its name without the scan's."""


@dataclass(frozen=True)
class ScanMask:
    """The lungs of one scan."""

    mask: Image  # on the scan's grid, bool
    volumes_l: list[float]  # litres of each lung, the right one first

    @property
    def volume_l(self) -> float:
        """Litres of the whole mask."""
        voxel = float(np.prod(self.mask.grid.spacing))
        return float(np.count_nonzero(self.mask.array)) * voxel / 1e6

    @property
    def border_cm2(self) -> float:
        """Largest area of lung on one face of the scan, cm2."""
        return float(border_areas(self.mask).max())

    @property
    def right_to_left(self) -> float | None:
        """Ratio of the right lung's volume to the left one's; None unless there are two."""
        return self.volumes_l[0] / self.volumes_l[1] if len(self.volumes_l) == 2 else None


class Unfit(Exception):  # noqa: N818 - a verdict, not an error
    """A scan that cannot be screened, and the stage that refused it."""

    def __init__(self, stage: Literal["fetch", "convert", "lungs"], reason: BadInputError) -> None:
        super().__init__(reason.message)
        self.stage = stage
        self.reason = reason


BROKEN_SERIES = frozenset(
    {
        "missing_objects",
        "unexpected_objects",
        "size_mismatch",
        "truncated_object",
        "wrong_series",
        "duplicate_instance",
        "bad_object_name",
    }
)
"""Faults of a series in the archive. Other failures of a fetch, such as a wrong index, are no verdict on the
pair: the verdict would outlive them."""

NO_LUNGS = frozenset({"empty_lungs", "empty_crop", "flat_crop", "empty_result"})
"""Faults of a scan that either method of segmentation reports; other failures are the method's."""

Opener = Callable[[str], AbstractContextManager[Path]]
"""Gives the path of a source while it is needed."""


def lungs_of(
    scan: str,
    source: str,
    mask: str | None,
    *,
    opened: Opener,
    convert: ConvertSettings,
    lungs: LungsSettings,
    device: str = "cpu",
    threads: int = 1,
) -> ScanMask:
    """Return the lungs of one scan, segmented or given; ``source`` and ``mask`` are paths or series UIDs.

    ``scan`` is ``fixed`` or ``moving``, for messages. They never contain a user's path, which may have a patient's
    identifier.

    Raises ``Unfit`` if the scan is broken or shows no lung, or the given mask belongs to another scan; ``WorkError`` if
    a file is missing, or a download failed for a reason that may be temporary.
    """
    with _local(scan, source, opened) as path:
        with _refusals("convert", scan, source, path):
            read = read_scan(path, convert)
            image = read.image
        if mask is None:
            with _refusals("lungs", scan, source, path, codes=NO_LUNGS):
                found = make_lungs(image, lungs, on=Compute(device, threads)).mask
        else:
            with _local(scan, mask, opened) as mask_path, _refusals("lungs", scan, mask, mask_path):
                # A published segmentation must belong to this series.
                uid = read.series_uid if is_series_uid(mask) else None
                found = given_mask(mask_path, image, lungs, series_uid=uid).mask
        if lungs.anatomy == "checked":
            with _refusals("lungs", scan, source, path):
                check_anatomy(evidence(image, found), file=path)
    return ScanMask(found, lung_volumes(found, lungs))


@contextlib.contextmanager
def _local(scan: str, source: str, opened: Opener) -> Iterator[Path]:
    """Yield the path of a source; a series that differs from the index is unfit."""
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(opened(source))
        except BadInputError as error:
            if error.code not in BROKEN_SERIES:
                raise
            raise Unfit("fetch", error) from error
        if not path.exists():
            raise WorkError(
                "the source or its mask is missing",
                code="missing_source",
                file=f"{scan} scan",
                remedy="mount its disk and run the command again",
            )
        yield path


@contextlib.contextmanager
def _refusals(
    stage: Literal["convert", "lungs"], scan: str, source: str, path: Path, *, codes: frozenset[str] | None = None
) -> Iterator[None]:
    """Turn an error about a scan (of these codes, if given) into a verdict on it."""
    try:
        yield
    except BadInputError as error:
        if codes is not None and error.code not in codes:
            raise
        # The names of a fetched series come from the archive: they are safe, and they help.
        shown = error if is_series_uid(source) else _anonymous(error, scan, path)
        raise Unfit(stage, shown) from error


def _anonymous(error: BadInputError, scan: str, path: Path) -> BadInputError:
    """Return the error with the scan's role in place of all names of files."""
    inside = path.rglob("*") if path.is_dir() else []
    names = {path.name, str(path), *(name for part in inside for name in (part.name, str(part)))}
    ordered = sorted(names, key=len, reverse=True)
    named = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)")

    def clean(text: str | None) -> str | None:
        return None if text is None else named.sub("the file", text)

    return BadInputError(
        clean(error.what) or "",
        code=error.code,
        file=f"{scan} scan",
        field=clean(error.field),
        expected=clean(error.expected),
        found=clean(error.found),
        remedy=clean(error.remedy),
    )


def _least_ratio(a: float, b: float) -> float:
    return min(a, b) / max(a, b) if max(a, b) > 0 else 0.0


def figures(fixed: ScanMask, moving: ScanMask, settings: ScreenSettings) -> dict[str, Any]:
    """Return all figures of a pair, with units in their names; None if unknown."""
    aligned = align_masks(fixed.mask, moving.mask, spacing_mm=settings.spacing_mm)
    sides = [scan.right_to_left for scan in (fixed, moving)]
    result: dict[str, Any] = {
        "dice": aligned.dice,
        "shared_view": aligned.shared,
        "volume_ratio": _least_ratio(fixed.volume_l, moving.volume_l),
        "balance_change": None if None in sides else _least_ratio(*sides),  # type: ignore[arg-type]
    }
    for name, scan in zip(SCANS, (fixed, moving), strict=True):
        result |= {
            f"{name}_lungs": len(scan.volumes_l),
            f"{name}_volume_l": scan.volume_l,
            f"{name}_balance": _least_ratio(*scan.volumes_l) if len(scan.volumes_l) == 2 else None,
            f"{name}_border_cm2": scan.border_cm2,
        }
    return {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in result.items()}


def gates(found: dict[str, Any], settings: ScreenSettings) -> list[dict[str, Any]]:
    """Return the verdict of each gate whose figure is known, the most obvious failures first."""
    limits: list[tuple[str, float | None, float | None]] = []
    for scan in SCANS:
        limits += [
            (f"{scan}_lungs", settings.min_lungs, None),
            (f"{scan}_volume_l", settings.min_volume_l, settings.max_volume_l),
            (f"{scan}_balance", settings.min_balance, None),
            (f"{scan}_border_cm2", None, settings.max_border_cm2),
        ]
    limits += [
        ("volume_ratio", settings.min_volume_ratio, None),
        ("balance_change", settings.min_balance_change, None),
        ("shared_view", settings.min_shared, None),
        ("dice", settings.min_dice, None),
    ]
    return [in_range(name, found[name], low=low, high=high) for name, low, high in limits if found[name] is not None]


def failed(gate: dict[str, Any]) -> BadInputError:
    """Return a failed gate as an error with the code ``gate_NAME``."""
    name = str(gate["name"])
    plain = name.removeprefix("fixed_").removeprefix("moving_")
    scan = name.removesuffix(plain).rstrip("_")
    bounds = [f"{sign} {gate[key]:g}" for sign, key in ((">=", "low"), ("<=", "high")) if gate[key] is not None]
    return BadInputError(
        "implausible for a pair of lung scans",
        code=f"gate_{plain}",
        file=f"{scan} scan" if scan else None,
        field=plain,
        expected=f"{EXPECTED[plain]}: {' and '.join(bounds)}",
        found=f"{gate['value']:.4g}",
    )


def screen_pair(
    sources: tuple[str, str],
    masks: tuple[str | None, str | None],
    *,
    opened: Opener,
    settings: ScreenSettings,
    convert: ConvertSettings,
    lungs: LungsSettings,
    device: str = "cpu",
    threads: int = 1,
) -> tuple[dict[str, Any], BadInputError | None]:
    """Return the record of a candidate pair and, if it is not accepted, the reason.

    ``sources`` are the fixed and the moving scan: DICOM folders, NIfTI files or series UIDs. ``masks`` are lung masks
    (NIfTI, DICOM SEG or its series UID), or None to segment. ``opened`` gives the path of a source.

    The record has ``verdict`` (accepted, rejected by a stage or discarded by a gate), ``stage``, ``code``, ``message``,
    ``expected``, ``found`` (None if accepted), all figures (None if a scan could not be read) and ``gates``. Raises
    ``WorkError`` if a file is missing or cannot be fetched now: no verdict on the pair.
    """
    record: dict[str, Any] = {"gates": []}
    try:
        fixed, moving = (
            lungs_of(scan, source, mask, opened=opened, convert=convert, lungs=lungs, device=device, threads=threads)
            for scan, source, mask in zip(SCANS, sources, masks, strict=True)
        )
        record |= figures(fixed, moving, settings)
        record["gates"] = gates(record, settings)
        broken = [gate for gate in record["gates"] if not gate["passed"]]
        stage, reason = "screen", failed(broken[0]) if broken else None
    except Unfit as unfit:
        stage, reason = unfit.stage, unfit.reason
    parts = reason.to_dict() if reason else {}
    record |= {key: parts.get(key) for key in ("code", "message", "expected", "found")}
    verdict = "accepted" if reason is None else "discarded" if stage == "screen" else "rejected"
    record |= {"verdict": verdict, "stage": stage if reason else None}
    return record, reason
