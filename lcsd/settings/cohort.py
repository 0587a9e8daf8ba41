"""Settings of the cohort: which pairs of NLST scans to choose from the index."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

TimePoint = Literal["T0", "T1", "T2"]

SOFT_KERNELS = {
    "GE": ["STANDARD", "SOFT"],
    "SE": ["B30f", "B31f", "B30s", "B31s", "B35f", "B20f", "B40f", "B41s"],
    "PH": ["C", "B", "A"],
    "TO": ["FC10", "FC11", "FC01", "FC02"],
}

SHARP_KERNELS = {
    "GE": ["BONE", "LUNG"],
    "SE": ["B45f", "B50f", "B50s", "B60f", "B60s", "B70f", "B80f"],
    "PH": ["D", "EC"],
    "TO": ["FC30", "FC50", "FC51", "FC52", "FC53", "FC82"],
}


class CohortSettings(Settings):
    """Pairs of NLST scans from the index of the Imaging Data Commons."""

    index: Path | None = Field(None, description="main index (.parquet); null: the one in the package idc-index-data")
    volume_geometry_index: Path | None = Field(
        None, description="volume_geometry_index (.parquet); null: the spacing is not checked"
    )
    ct_index: Path | None = Field(
        None,
        description="ct_index (.parquet) with kernel, thickness and gantry tilt; null: only the series descriptions "
        "are used",
    )
    collection: str = Field("nlst", description="collection of the index")
    fixed_time: TimePoint = Field("T0", description="time point of the baseline")
    moving_time: TimePoint = Field(
        "T1", description="time point of the follow-up; neighbouring time points are about one year apart"
    )
    kinds: list[str] = Field(["OPA"], description="accepted codes of the series description; OPA: original axial")
    soft_kernels: dict[str, list[str]] = Field(
        SOFT_KERNELS, description="soft kernels of each maker (GE, SE, PH, TO), the best first"
    )
    sharp_kernels: dict[str, list[str]] = Field(
        SHARP_KERNELS, description="sharp kernels of each maker, the best first"
    )
    other_kernels: Literal["last", "refuse"] = Field(
        "last", description="kernels that are not soft: used if a patient has nothing better (last), or refused"
    )
    max_thickness_mm: float = Field(2.5, gt=0, description="largest slice thickness, mm")
    min_slices: int = Field(100, ge=1, description="smallest number of images in a series, count")
    max_gantry_tilt_deg: float = Field(0.1, ge=0, description="largest gantry tilt, degrees; needs ct_index")
    published_segmentation: Literal["ignore", "require"] = Field(
        "ignore",
        description="require: only series with a published segmentation, from which lung masks can be taken "
        "(screen.masks)",
    )
    train: int = Field(1200, ge=0, description="pairs sampled for training, count")
    test_pool: int = Field(100, ge=0, description="pairs sampled for the test pool, count")
    test_pool_share: float = Field(
        0.1, gt=0, lt=1, description="share of patients drawn for the test pool; these are never used for training"
    )
    bandwidth_mbit_s: float = Field(100.0, gt=0, description="network speed for the download estimate, Mbit/s")
    egress_usd_per_gb: float = Field(
        0.0, ge=0, description="price of reading the buckets, US dollars per GB (10^9 bytes)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "CohortSettings":
        if self.fixed_time >= self.moving_time:
            raise ValueError(f"fixed_time ({self.fixed_time}) must be before moving_time ({self.moving_time})")
        for maker, names in self.soft_kernels.items():
            soft = {name.upper() for name in names}
            both = soft & {name.upper() for name in self.sharp_kernels.get(maker, [])}
            if both:
                raise ValueError(
                    f"kernel {min(both)} of {maker} is in soft_kernels and in sharp_kernels; remove it from one"
                )
        return self
