"""Settings of the image correspondences (corrfield)."""

from typing import Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings


class CorrespondSettings(Settings):
    """Image correspondences by corrfield; lists have one entry per stage, lengths are voxels."""

    search_radius: tuple[int, ...] = Field(
        (16, 8), description="L: displacements searched to each side, in steps of quantisation, count"
    )
    nms_radius: tuple[int, ...] = Field(
        (4, 2), description="N: a keypoint is the most distinctive voxel within this distance along each axis, voxels"
    )
    quantisation: tuple[int, ...] = Field(
        (2, 1), description="Q: step between displacements and between patch samples, voxels"
    )
    patch_radius: tuple[int, ...] = Field((3, 2), description="R: half the edge of a compared patch, voxels")
    transform: tuple[Literal["n", "r"], ...] = Field(
        ("n", "n"), description="T: motion per stage: n non-rigid (thin-plate spline) or r rigid"
    )
    alpha: float = Field(2.5, gt=0, description="weight of the image cost, no unit")
    beta: float = Field(150.0, gt=0, description="intensity difference that costs as much as one voxel, HU")
    gamma: float = Field(5.0, gt=0, le=1e4, description="sharpness of the soft minimum, no unit")
    tps_lambda: float = Field(
        0.0, ge=0, description="smoothing of the spline (lambda) on coordinates scaled to [-1, 1], no unit"
    )
    sigma: float = Field(1.4, gt=0, description="Gaussian of the structure tensor, voxels")
    keypoint_threshold: float = Field(1e-8, ge=0, description="smallest distinctiveness of a keypoint, (HU / voxel)^2")
    erosion: int = Field(
        4,
        ge=1,
        description="erosions of the mask by one voxel before keypoints are chosen, count; the pleura slides, so "
        "patches across it match nowhere (the published program erodes once)",
    )
    mind_step: int = Field(1, ge=1, description="distance of the neighbours that MIND compares, voxels")
    mind_sigma: float = Field(1.0, gt=0, description="Gaussian patch of MIND, voxels")
    neighbours: int = Field(10, ge=1, description="nearest neighbours from which the tree chooses its edges, count")
    tps_grid_step: int = Field(3, ge=1, description="the spline is evaluated at every n-th voxel, count")
    consistency_mm: float = Field(
        3.0, gt=0, description="forward-backward distance at which the weight of a correspondence is 1/e, mm"
    )
    reject_mm: float | None = Field(
        6.0,
        gt=0,
        description="correspondences with a larger forward-backward distance are dropped, mm; null keeps all, as does "
        "a stage where every distance is larger",
    )

    outlier_mm: float | None = Field(
        3.0,
        gt=0,
        description="correspondences farther than this from an affine fit to their neighbours are dropped, mm; null "
        "keeps all",
    )
    outlier_neighbours: int = Field(24, ge=6, description="neighbours in that fit, count")
    outlier_rounds: int = Field(10, ge=1, le=50, description="rounds of that test, count")

    refine: bool = Field(True, description="refine the dense motion continuously after a non-rigid last stage")
    refine_step: int = Field(2, ge=1, le=8, description="the correction is estimated at every n-th voxel, count")
    refine_smoothness: float = Field(
        0.1,
        gt=0,
        description="cost of a difference of one voxel between neighbouring corrections, squared MIND difference",
    )
    refine_blur: float = Field(1.0, ge=0, description="Gaussian over which corrections share evidence, steps")
    refine_robust: float = Field(
        0.5, gt=0, description="squared MIND difference, sum of channels, at which a voxel has half its weight"
    )
    refine_rounds: int = Field(8, ge=1, le=100, description="linearisations of the refinement, count")

    @model_validator(mode="after")
    def _consistent(self) -> "CorrespondSettings":
        names = ("search_radius", "nms_radius", "quantisation", "patch_radius", "transform")
        lengths = {name: len(getattr(self, name)) for name in names}
        if len(set(lengths.values())) != 1 or lengths["nms_radius"] == 0:
            found = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise ValueError(f"the lists need one entry per stage, at least one ({found})")
        if min(self.search_radius + self.nms_radius + self.quantisation + self.patch_radius) < 1:
            raise ValueError("all entries of the lists must be at least 1")
        for patch, step in zip(self.patch_radius, self.quantisation, strict=True):
            if 2 * patch % step:
                raise ValueError(
                    f"twice patch_radius must be a multiple of quantisation ({patch}, {step}), or "
                    "the patch would not be centred on its keypoint"
                )
        return self
