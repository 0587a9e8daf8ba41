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

    min_rigid_mm: float = Field(8.6, gt=0, description="smallest mean landmark distance after the best rigid fit, mm")
    max_rigid_mm: float = Field(10.6, gt=0, description="largest mean landmark distance after the best rigid fit, mm")
    min_affine_mm: float = Field(4.1, ge=0, description="smallest mean landmark distance after the best affine fit, mm")
    min_bspline_mm: float = Field(
        1.1, gt=0, description="smallest mean landmark distance after the best B-spline of 60 mm, mm"
    )
    max_bspline_mm: float = Field(
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
            low, high = getattr(self, f"min_{name}_mm"), getattr(self, f"max_{name}_mm")
            if low > high:
                raise ValueError(f"min_{name}_mm ({low}) exceeds max_{name}_mm ({high}); swap them")
        if self.min_affine_mm >= self.min_rigid_mm:
            found = f"min_affine_mm ({self.min_affine_mm}), min_rigid_mm ({self.min_rigid_mm})"
            raise ValueError(f"{found}: the first must be below the second")
        return self
