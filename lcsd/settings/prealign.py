"""Settings of the rigid pre-alignment and the common grid."""

from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings


class PrealignSettings(Settings):
    """Rigid pre-alignment of the two scans, and the common grid."""

    method: Literal["blocks", "corrfield", "deeds"] = Field(
        "blocks",
        description="blocks (matched blocks inside the lungs), corrfield (rigid stages of corrfield) or deeds "
        "(external program linearBCV of deedsBCV)",
    )
    size: tuple[int, int, int] = Field((224, 192, 224), description="voxels of the common grid along x, y, z, count")
    spacing_mm: float = Field(1.5, gt=0.1, le=10, description="voxel size of the common grid, mm")
    match_spacing_mm: float = Field(
        3.0, ge=1, le=6, description="blocks: voxel size of the volumes that are matched, mm"
    )
    block_radius_mm: float = Field(
        12.0, ge=4, le=30, description="blocks, corrfield: half-width of a compared block, mm"
    )
    search_mm: float = Field(
        36.0,
        ge=6,
        le=80,
        description="blocks, corrfield: largest displacement along each axis after the masks are centred, mm",
    )
    block_distance_mm: float = Field(
        18.0, ge=5, le=60, description="blocks: one block is tried in each cube of this width, mm"
    )
    min_score: float = Field(
        0.6, ge=0, lt=1, description="blocks, corrfield: smallest normalised cross-correlation of a match, no unit"
    )
    consistency_mm: float = Field(
        8.0,
        gt=0,
        description="blocks: largest difference of a match from its neighbours' motion; corrfield: also largest "
        "forward-backward distance, mm",
    )
    min_matches: int = Field(20, ge=4, description="blocks, corrfield: smallest number of matches, count")
    rounds: int = Field(
        2, ge=1, le=10, description="blocks: rounds of matching and fitting, count; each starts from the last fit"
    )
    keypoint_spacing_mm: float = Field(
        2.0, ge=1, le=6, description="corrfield: voxel size of the volumes in which keypoints are matched, mm"
    )
    linear_bcv: str = Field("linearBCV", min_length=1, description="deeds: the program, a name on the PATH or a path")
    linear_bcv_limit_s: float = Field(1800.0, gt=0, description="deeds: time limit of the program, s")
