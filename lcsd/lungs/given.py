"""Put a lung mask of the user on the grid of its scan."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, is_image, read_image, read_mask, resample
from lcsd.lungs.dicom_seg import read_lobes
from lcsd.lungs.fit import Fit, check_fit, fit_of
from lcsd.readings.mask import check_in_scan
from lcsd.settings.lungs import LungsSettings


@dataclass(frozen=True)
class GivenMask:
    """A lung mask on a scan's grid."""

    mask: Image
    lobes: int | None  # number of lobes that it was made from, if they were
    fit: Fit | None  # how it lies on the lungs of the scan; None if it is trusted


MOST_LITRES = 12.0  # the largest lungs of adults, after a deep breath, hold less than 10 l
LUNG_BELOW_HU = -300.0  # more than half of a lung, or of one of its labels, is less dense, even if much of it is ill
SMALL_LABEL = 0.01  # labels with less of all voxels are not judged: single voxels at borders
LITRES_PER_MM3 = 1e-6


def given_mask(
    path: Path, scan: Image, settings: LungsSettings | None = None, *, series_uid: str | None = None
) -> GivenMask:
    """Return a given lung mask on the grid of a scan in HU; see :func:`placed_mask`.

    ``path`` is a mask (NIfTI, NRRD or MetaImage) or a DICOM SEG with lobes (file, or folder with one); the SEG must
    say that it was made from the scan ``series_uid``. Raises ``BadInputError`` as :func:`placed_mask`,
    :func:`lcsd.io.masks.inside` and :func:`lcsd.lungs.dicom_seg.read_lobes`, for an empty mask, for a mask or label
    that is no lung in the scan (``not_lungs``), would be if it were turned (``mask_turned``), or lies beside the lungs
    (``mask_misfit``; neither of both if ``settings.anatomy`` is ``trusted``), and for another file with ``series_uid``
    (``bad_usage``).
    """
    settings = settings or LungsSettings()
    lobes = None
    if is_image(path):
        if series_uid is not None:
            raise BadInputError(
                "only a DICOM SEG names the series it was made from",
                code="bad_usage",
                file=path,
                field="series_uid",
                remedy="give a DICOM SEG, or omit the series",
            )
        mask = placed_mask(read_mask(path), scan.grid, file=path)
        _check_lungs(mask, scan, "the mask", file=path)
        _check_labels(path, scan)
    else:
        read = read_lobes(path, series_uid=series_uid)
        mask, lobes = placed_mask(read.mask, scan.grid, file=path), read.count
    if settings.anatomy == "trusted":
        return GivenMask(mask, lobes, None)
    check_in_scan(mask.array, scan.array, file=path)
    fit = fit_of(scan, mask, settings)
    check_fit(fit, file=path)
    return GivenMask(mask, lobes, fit)


def _check_labels(path: Path, scan: Image) -> None:
    """Refuse a mask of several labels of which one is another organ."""
    image = read_image(path)
    if np.issubdtype(image.array.dtype, np.floating) and (image.array != np.rint(image.array)).any():
        return
    labels, counts = np.unique(image.array[image.array > 0], return_counts=True)
    if len(labels) < 2:
        return
    for label, count in zip(labels, counts, strict=True):
        if count >= SMALL_LABEL * counts.sum():
            part = placed_mask(Image(image.array == label, image.grid), scan.grid, file=path)
            _check_lungs(part, scan, f"label {label:g}", file=path)


def _check_lungs(mask: Image, scan: Image, which: str, *, file: Path) -> None:
    litres = float(mask.array.sum() * np.prod(mask.grid.spacing)) * LITRES_PER_MM3
    median = float(np.median(scan.array[mask.array]))
    if litres <= MOST_LITRES and median <= LUNG_BELOW_HU:
        return
    raise BadInputError(
        f"{which} is not lung in this scan",
        code="not_lungs",
        file=file,
        expected=f"at most {MOST_LITRES:g} l with a median of at most {LUNG_BELOW_HU:g} HU",
        found=f"{litres:.1f} l with {median:.0f} HU",
        remedy="give a mask with the lungs only, in HU and place of this scan",
    )


def placed_mask(mask: Image, scan: Grid, *, file: Path) -> Image:
    """Return a mask on the scan's grid, by world position.

    ``mask`` is bool and not empty. On another grid, it is resampled by nearest neighbour; raises
    ``BadInputError`` (``mask_elsewhere``) if less than half of it is inside the scan. Errors name ``file``.
    """
    if mask.grid.same_as(scan):
        return mask
    moved = _pasted(mask, scan)
    if moved is None:
        inside = _share_inside(mask, scan)
        moved = resample(mask, scan, nearest=True)
    else:
        inside = float(moved.array.sum() / mask.array.sum())
    if inside < 0.5 or not moved.array.any():
        raise BadInputError(
            "the mask is not where the scan is",
            code="mask_elsewhere",
            file=file,
            expected="its voxels inside the scan",
            found=f"{inside:.0%} of them",
            remedy="check that the mask belongs to this scan and has its geometry",
        )
    return moved


def _pasted(mask: Image, scan: Grid) -> Image | None:
    """Return the mask without resampling if its voxels are voxels of the scan, else None."""
    first = np.rint(scan.world_to_voxel(np.asarray(mask.grid.origin))).astype(int)
    size = np.asarray(mask.grid.size)
    if not mask.grid.same_as(scan.part(first, mask.grid.size)):
        return None
    low, high = np.maximum(first, 0), np.minimum(first + size, scan.size)
    whole = np.zeros(scan.shape, dtype=bool)
    if (high > low).all():
        target = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
        source = tuple(slice(a, b) for a, b in zip((low - first)[::-1], (high - first)[::-1], strict=True))
        whole[target] = mask.array[source]
    return Image(whole, scan)


def _share_inside(mask: Image, scan: Grid) -> float:
    """Return the share of a mask's voxels whose centre is inside the scan, slice by slice."""
    total = inside = 0
    for k, plane in enumerate(mask.array):
        y, x = np.nonzero(plane)
        voxels = np.stack([x, y, np.full_like(x, k)], axis=1).astype(np.float64)
        inside += int(scan.contains(mask.grid.voxel_to_world(voxels)).sum())
        total += len(voxels)
    return inside / total
