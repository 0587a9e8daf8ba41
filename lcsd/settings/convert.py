"""Settings of scan conversion (DICOM series or volume to one checked volume)."""

from pydantic import Field

from lcsd.settings.base import Settings


class ConvertSettings(Settings):
    """Scan to volume: which series to read, and the checks it must pass."""

    series_uid: str | None = Field(
        None, description="SeriesInstanceUID to read; null: the folder must hold exactly one CT series"
    )
    min_slices: int = Field(20, ge=2, description="smallest number of slices, count")
    spacing_tolerance_mm: float = Field(
        0.1,
        gt=0,
        description="largest deviation of a slice step from the median step, and of a slice from its place in the "
        "volume, mm",
    )
    tilt_tolerance_deg: float = Field(
        0.1, gt=0, description="largest gantry tilt (between stack and slice normal), degrees"
    )
    accept_derived: bool = Field(
        False, description="also read images computed from other images (ImageType DERIVED: reformats, slabs)"
    )
    min_air_fraction: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="smallest share of voxels between -1200 and -500 HU, of 1; with less air the values are not HU, or "
        "no lung is shown",
    )
    max_dense_fraction: float = Field(
        0.2,
        gt=0,
        le=1,
        description="largest share of the voxels above -300 HU that are above 500 HU (bone, metal, contrast agent), "
        "of 1; in scans of the chest it is 0.01 to 0.02, in HU + 1024 about 0.3",
    )
    max_offset_hu: float = Field(
        50.0,
        gt=0,
        description="largest common shift of air and of fat and muscle from their values in HU, HU; scanners differ by "
        "up to 20",
    )
    max_below_fraction: float = Field(
        0.02,
        ge=0,
        le=1,
        description="largest share of voxels below -1200 HU that are not padding, of 1; nothing is less dense than air",
    )
