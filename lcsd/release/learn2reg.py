"""``dataset.json``: a description of the release in the format of the Learn2Reg challenge.

The keys are those of the tasks NLST and ThoraxCBCT. Keypoints and landmarks are
voxel indices (x, y, z) of the volume, one row per point, without a header.
"""

from collections.abc import Sequence
from typing import Any

from lcsd.errors import BadInputError
from lcsd.release.case import Written
from lcsd.release.layout import SCAN_NUMBER, Split, scan_file
from lcsd.settings.release import ReleaseSettings


def _entry(case: Written, scan: str, *, images: bool) -> dict[str, str]:
    """Return the files of one scan by Learn2Reg's keys."""
    kinds = {"label": "labels", "mask": "masks", "keypoints": "keypoints"}
    kinds |= {"image": "images"} if images else {}
    kinds |= {"landmarks": "landmarks"} if case.has_landmarks else {}
    return {
        word: "./"
        + scan_file(kind, case.split, case.name, scan, end=".csv" if word in ("keypoints", "landmarks") else ".nii.gz")
        for word, kind in kinds.items()
    }


def _pairs(cases: Sequence[Written], *, images: bool) -> list[dict[str, str]]:
    kind = "images" if images else "labels"
    return [
        {scan: "./" + scan_file(kind, case.split, case.name, scan, end=".nii.gz") for scan in SCAN_NUMBER}
        for case in cases
    ]


def _labels(largest: int) -> dict[str, str]:
    if largest == 1:
        return {"1": "vessel"}
    return {str(label): f"vessel, kind {label}" for label in range(1, largest + 1)}


def learn2reg(
    cases: Sequence[Written], settings: ReleaseSettings, *, description: str, reference: str
) -> dict[str, Any]:
    """Return the content of ``dataset.json``.

    Pairs name the CT scans if they are published, otherwise the vessel maps. Raises ``BadInputError`` if the grids have
    different sizes, which the format cannot express.
    """
    sizes = sorted({case.grid.size for case in cases})
    if len(sizes) > 1:
        raise BadInputError(
            "the common grids have different sizes",
            code="mixed_grids",
            expected="one size for all cases",
            found=", ".join(map(str, sizes)),
            remedy="build all cases with the same prealign.size",
        )
    by_split: dict[Split, list[Written]] = {"train": [], "test": []}
    for case in cases:
        by_split[case.split].append(case)
    images = settings.images
    scans = {
        split: [_entry(case, scan, images=images) for case in chosen for scan in SCAN_NUMBER]
        for split, chosen in by_split.items()
    }
    return {
        "name": settings.name,
        "release": settings.version,
        "description": description,
        "licence": settings.licence,
        "reference": reference,
        "pairings": "paired",
        "provided_data": {"0": [*(["image"] if images else []), "label", "mask", "keypoints"]},
        "registration_direction": {"fixed": 0, "moving": 1},
        "modality": {"0": "CT" if images else "lung vessel segmentation of CT"},
        "img_shift": {"fixed": "baseline", "moving": "follow-up"},
        "labels": {"0": {"0": "background"} | _labels(max(case.labels for case in cases))},
        "tensorImageSize": {"0": "3D"},
        "tensorImageShape": {"0": list(sizes[0])},
        "numTraining": len(scans["train"]),
        "numTest": len(scans["test"]),
        "training": scans["train"],
        "test": scans["test"],
        "numPairedTraining": len(by_split["train"]),
        "training_paired_images": _pairs(by_split["train"], images=images),
        "numRegistration_val": 0,
        "registration_val": [],
        "numRegistration_test": len(by_split["test"]),
        "registration_test": _pairs(by_split["test"], images=images),
    }
