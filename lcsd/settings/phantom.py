"""Settings of the synthetic longitudinal pairs."""

from typing import Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

Size = Literal["full", "small", "tiny"]
Format = Literal["nifti", "dicom"]


class PhantomSettings(Settings):
    """How hard the synthetic pairs are: the distances that simple fits leave of the motion.

    The defaults follow LCSD500's test set: 10.21 mm between landmarks after rigid alignment.
    """

    rigid_least_mm: float = Field(
        8.6, gt=0, description="mean landmark distance after the best rigid fit, lower bound, mm"
    )
    rigid_most_mm: float = Field(
        10.6, gt=0, description="mean landmark distance after the best rigid fit, upper bound, mm"
    )
    affine_least_mm: float = Field(4.1, ge=0, description="least mean landmark distance after the best affine fit, mm")
    bspline_least_mm: float = Field(1.1, gt=0, description="the same after the best B-spline of 60 mm, lower bound, mm")
    bspline_most_mm: float = Field(1.35, gt=0, description="the same after the best B-spline of 60 mm, upper bound, mm")
    changed_share: float = Field(
        0.05, ge=0, le=0.5, description="distal vessels that one scan alone shows, share of all"
    )
    oblique_deg: float = Field(2.0, ge=0, le=20, description="largest tilt of the follow-up's axes, degrees about each")
    noise_soft_hu: float = Field(30.0, ge=0, description="noise of the soft kernel, standard deviation in HU")
    noise_sharp_hu: float = Field(70.0, ge=0, description="noise of the sharp kernel, standard deviation in HU")

    @model_validator(mode="after")
    def _ordered(self) -> "PhantomSettings":
        for name in ("rigid", "bspline"):
            least, most = getattr(self, f"{name}_least_mm"), getattr(self, f"{name}_most_mm")
            if least > most:
                raise ValueError(f"{name}_least_mm ({least}) exceeds {name}_most_mm ({most}); swap them")
        if self.affine_least_mm >= self.rigid_least_mm:
            raise ValueError(
                f"affine_least_mm ({self.affine_least_mm}) must be below rigid_least_mm "
                f"({self.rigid_least_mm}); lower it"
            )
        return self
