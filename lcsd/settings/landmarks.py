"""Settings of landmark files: checks and proposals."""

from pydantic import Field

from lcsd.settings.base import Settings


class LandmarksSettings(Settings):
    """Landmark files: checks, proposals and their correction."""

    same_mm: float = Field(0.5, ge=0, description="two landmarks of a scan nearer than this are listed, mm")
    outlier_mads: float = Field(
        5.0,
        gt=0,
        description="a landmark is listed if its distance from the predicted place exceeds the "
        "median by so many standard deviations (told by the median absolute deviation), count",
    )
    outlier_mm: float = Field(5.0, ge=0, description="nearer than this to the predicted place none is listed, mm")
    tps_smoothing: float = Field(
        1.0, ge=0, description="smoothing of the spline through the correspondences, in mm kernels"
    )
    moved_mm: float = Field(0.05, ge=0, description="a proposed landmark that moved further was corrected, mm")
    count: int = Field(100, ge=4, description="landmarks proposed, count")
    cube: int = Field(
        3, ge=1, description="proposed landmarks are the most distinctive within this distance along each axis, voxels"
    )
    pool_share: float = Field(
        0.5, gt=0, le=1, description="share of such points, the most distinctive, that are proposed from, of 1"
    )
    search_voxels: int = Field(
        4, ge=1, le=16, description="reach of the search that tests a predicted match, to each side, voxels"
    )
    doubt_mm: float = Field(2.0, gt=0, description="doubt at which the weight of a predicted match is 1/e, mm")
