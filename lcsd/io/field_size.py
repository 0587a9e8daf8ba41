"""Refuse displacement fields that do not fit in memory, before any voxel of them exists."""

import math
from collections.abc import Iterable

from lcsd.errors import BadInputError

MOST_FIELD_GIB = 2.0
"""Twenty times a field on the common grid at its 1.5 mm; writing one takes twice this memory."""

VOXEL_BYTES = 12
"""Three components, float32."""

GIB = 2.0**30


def check_field_size(extent_mm: Iterable[float], spacing_mm: float, *, field: str) -> None:
    """Raise ``BadInputError`` (``field_too_large``) if a field of this spacing over a box has too many voxels.

    ``extent_mm`` are the edges of the box; ``field`` names the option or setting of the spacing in the error.
    """
    edges = [float(edge) for edge in extent_mm]
    counts = [max(edge / spacing_mm, 1.0) for edge in edges]
    gib = math.prod(counts) * VOXEL_BYTES / GIB
    if gib > MOST_FIELD_GIB:
        least = (math.prod(edges) * VOXEL_BYTES / GIB / MOST_FIELD_GIB) ** (1 / 3)
        raise BadInputError(
            "the displacement field is too large",
            code="field_too_large",
            field=field,
            expected=f"at most {MOST_FIELD_GIB:g} GiB",
            found=f"{' x '.join(f'{count:.0f}' for count in counts)} voxels, {gib:.3g} GiB, for {spacing_mm:g} mm",
            remedy=f"choose at least {math.ceil(100 * least) / 100:g} mm; the motion is smooth over several mm",
        )
