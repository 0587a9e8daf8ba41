"""Settings of the rigid pre-alignment and the common grid."""

from pydantic import Field

from lcsd.settings.base import Settings


class PrealignSettings(Settings):
    """Rigid pre-alignment by matched blocks inside the lungs, and the common grid."""

    size: tuple[int, int, int] = Field(
        (224, 192, 224), description="voxels of the common grid along x, y, z, count"
    )
    spacing_mm: float = Field(1.5, gt=0.1, le=10, description="voxel of the common grid, mm")
    match_spacing_mm: float = Field(
        3.0, ge=1, le=6, description="voxel of the volumes in which blocks are matched, mm"
    )
    block_radius_mm: float = Field(12.0, ge=4, le=30, description="half-width of a block, mm")
    search_mm: float = Field(
        36.0, ge=6, le=80,
        description="largest displacement searched after centring the masks, along each axis, mm",
    )  # fmt: skip
    block_distance_mm: float = Field(
        18.0, ge=5, le=60, description="one block is tried in each cube of this width, mm"
    )
    min_score: float = Field(
        0.6, ge=0, lt=1, description="least normalised cross-correlation of a match, no unit"
    )
    consistency_mm: float = Field(
        8.0, gt=0, description="a match may differ from the median of its neighbours by this, mm"
    )
    min_matches: int = Field(20, ge=4, description="fewer matches than this are an error, count")
    rounds: int = Field(
        2, ge=1, le=10, description="rounds of matching and fitting; each starts from the last fit"
    )
