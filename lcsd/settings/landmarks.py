"""Settings of landmark files: checks and proposals."""

from pydantic import Field

from lcsd.settings.base import Settings


class LandmarksSettings(Settings):
    """Landmark files: checks, proposals and their correction."""

    same_mm: float = Field(0.5, ge=0, description="two landmarks of a scan that are closer than this are listed, mm")
    outlier_mads: float = Field(
        5.0,
        gt=0,
        description="a landmark is listed if its distance from the predicted position exceeds the median by this many "
        "standard deviations (estimated from the median absolute deviation), count",
    )
    outlier_mm: float = Field(
        5.0, ge=0, description="a landmark closer than this to the predicted position is never listed, mm"
    )
    tps_smoothing: float = Field(
        1.0, ge=0, description="smoothing of the spline through the correspondences, in mm kernels"
    )
    moved_mm: float = Field(
        0.05, ge=0, description="a proposed landmark that was moved farther counts as corrected, mm"
    )
    count: int = Field(100, ge=4, description="landmarks to propose, count")
    nms_radius: int = Field(
        3,
        ge=1,
        description="a proposed landmark is the most distinctive voxel within this distance along each axis, voxels",
    )
    pool_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of these points, the most distinctive ones, from which landmarks are proposed, of 1",
    )
    search_voxels: int = Field(
        4, ge=1, le=16, description="reach of the search that tests a predicted match, to each side, voxels"
    )
    doubt_mm: float = Field(2.0, gt=0, description="doubt at which the weight of a predicted match is 1/e, mm")
