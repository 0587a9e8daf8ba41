"""What corrfield demands of its images."""

import numpy as np

from lcsd.errors import BadInputError
from lcsd.images import Image, check_same_grid
from lcsd.settings.correspond import CorrespondSettings


def check_images(
    fixed: Image, moving: Image, fixed_mask: Image, settings: CorrespondSettings
) -> None:
    """Raise ``BadInputError`` unless the images can be matched."""
    check_same_grid(moving.grid, fixed.grid)
    check_same_grid(fixed_mask.grid, fixed.grid)
    if not fixed_mask.array.any():
        raise BadInputError(
            "the mask is empty", code="empty_mask", field="fixed mask",
            expected="at least one voxel", found="0 voxels", remedy="check the lung segmentation",
        )  # fmt: skip
    for name, image in (("fixed image", fixed), ("moving image", moving)):
        if not np.isfinite(image.array).all():
            raise BadInputError(
                "voxels are NaN or infinite", code="non_finite", field=name,
                expected="finite values",
            )  # fmt: skip
        lowest, highest = image.array.min(), image.array.max()
        if lowest == highest:
            raise BadInputError(
                "the image is constant", code="constant_image", field=name,
                expected="a CT scan", found=f"{lowest} everywhere",
            )  # fmt: skip
    smallest = min(fixed.grid.size)
    for radius, step, patch in zip(
        settings.search_radius, settings.quantisation, settings.patch_radius, strict=True
    ):
        needed = max(radius * step, 2 * patch + 1)
        if needed > smallest:
            raise BadInputError(
                "the image is smaller than the search", code="image_too_small", field="size",
                expected=f">= {needed} voxels along each axis", found=fixed.grid.size,
                remedy="lower correspond.search_radius or use a larger image",
            )  # fmt: skip
