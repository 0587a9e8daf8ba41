"""Settings of the synthetic longitudinal pairs."""

from typing import Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

Size = Literal["full", "small", "tiny"]
Format = Literal["nifti", "dicom"]


class PhantomSettings(Settings):
    """How hard the synthetic pairs are: landmark distances that remain after simple fits.

    The defaults follow LCSD500's test set: 10.21 mm between landmarks after rigid alignment.
    """

    rigid_least_mm: float = Field(8.6, gt=0, description="smallest mean landmark distance after the best rigid fit, mm")
    rigid_most_mm: float = Field(10.6, gt=0, description="largest mean landmark distance after the best rigid fit, mm")
    affine_least_mm: float = Field(
        4.1, ge=0, description="smallest mean landmark distance after the best affine fit, mm"
    )
    bspline_least_mm: float = Field(
        1.1, gt=0, description="smallest mean landmark distance after the best B-spline of 60 mm, mm"
    )
    bspline_most_mm: float = Field(
        1.35, gt=0, description="largest mean landmark distance after the best B-spline of 60 mm, mm"
    )
    changed_share: float = Field(
        0.05, ge=0, le=0.5, description="share of distal vessels that only one scan shows, of 1"
    )
    oblique_deg: float = Field(
        2.0, ge=0, le=20, description="largest tilt of the follow-up's axes, degrees about each axis"
    )
    noise_soft_hu: float = Field(30.0, ge=0, description="standard deviation of the soft kernel's noise, HU")
    noise_sharp_hu: float = Field(70.0, ge=0, description="standard deviation of the sharp kernel's noise, HU")

    @model_validator(mode="after")
    def _ordered(self) -> "PhantomSettings":
        for name in ("rigid", "bspline"):
            least, most = getattr(self, f"{name}_least_mm"), getattr(self, f"{name}_most_mm")
            if least > most:
                raise ValueError(f"{name}_least_mm ({least}) exceeds {name}_most_mm ({most}); swap them")
        if self.affine_least_mm >= self.rigid_least_mm:
            found = f"affine_least_mm ({self.affine_least_mm}), rigid_least_mm ({self.rigid_least_mm})"
            raise ValueError(f"{found}: the first must be below the second")
        return self
