"""Segment vessels with TotalSegmentator, the method of LCSD500.

Task ``lung_vessels_LEGACY`` (dataset 258, the task ``lung_vessels`` before release 2.13) is the
model of the paper: Wasserthal et al., Radiology: AI 2023, doi 10.1148/ryai.230024. The current
task ``lung_vessels`` (dataset 117) separates arteries and veins.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from lcsd.errors import BadInputError, WorkError
from lcsd.io.images import Image, check_same_grid
from lcsd.numerics.morphology import grown
from lcsd.settings.totalsegmentator import VesselTaskSettings
from lcsd.totalsegmentator import TASKS, Session

KEPT = {"lung_vessels_LEGACY": {1: 1}, "lung_vessels": {3: 1, 4: 2}}
"""Vessel labels of each task and their new labels: 1 artery (or any vessel), 2 vein."""

CROP_SHARE = 0.5  # a crop shorter than this share of the lungs along an axis has missed a part of them


@dataclass(frozen=True)
class Vessels:
    """The vessels of a scan."""

    mask: Image  # bool, or uint8 labels (1 artery, 2 vein), on the scan's grid
    cut_voxels: int  # vessel voxels outside the lungs that were left out
    facts: dict[str, Any]  # versions, options and weights of a model, for the provenance


def segment_vessels(
    image: Image, lungs: Image, settings: VesselTaskSettings, session: Session, *, file: Path | None = None
) -> Vessels:
    """Return the vessels of a scan inside its lungs.

    ``lungs`` is bool, on the grid of ``image`` (CT in HU); ``session`` is ready for the settings' task; errors
    name ``file``. Raises ``BadInputError`` if the grids differ, or lungs or vessels are empty; ``WorkError``
    (``missing_labels``) if arteries or veins are missing; and as :meth:`lcsd.totalsegmentator.Session.segment`.
    """
    check_same_grid(lungs.grid, image.grid, file=file)
    if not lungs.array.any():
        raise BadInputError("the lung mask is empty", code="empty_lungs", file=file)
    box = ndimage.find_objects(lungs.array.astype(np.uint8))[0]
    extent = [
        CROP_SHARE * (part.stop - part.start) * step for part, step in zip(box[::-1], image.grid.spacing, strict=True)
    ]
    found = session.segment(image, min_crop_mm=(extent[0], extent[1], extent[2]), file=file)
    kept = np.zeros_like(found.labels.array)
    for label, meaning in KEPT[settings.task].items():
        kept[found.labels.array == label] = meaning
        if not (kept == meaning).any():
            raise WorkError(
                "TotalSegmentator segmented no voxel of a label",
                code="missing_labels",
                file=file,
                expected=TASKS[settings.task].labels[label],
                found=f"labels {', '.join(str(v) for v in np.unique(found.labels.array) if v)}",
                remedy="check the scan and the weights",
            )
    step = np.asarray(image.grid.spacing[::-1])
    near = grown(lungs.array, settings.outside_mm, step) if settings.outside_mm else lungs.array
    cut = int((kept[~near] != 0).sum())
    kept[~near] = 0
    if not kept.any():
        raise BadInputError(
            "no vessel is inside the lungs",
            code="empty_vessels",
            file=file,
            expected="vessels inside the lung mask",
            found=f"{cut} voxels outside it",
            remedy="check the lung mask",
        )
    labelled = len(KEPT[settings.task]) > 1
    mask = Image(kept if labelled else kept != 0, image.grid)
    return Vessels(mask, cut, found.facts)
