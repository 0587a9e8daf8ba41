"""Settings of scan conversion (DICOM series or NIfTI to one checked volume)."""

from pydantic import Field

from lcsd.settings.base import Settings


class ConvertSettings(Settings):
    """Scan to volume: which series, and the gates it must pass."""

    series_uid: str | None = Field(
        None, description="SeriesInstanceUID to read; none: the folder must hold one CT series"
    )
    min_slices: int = Field(20, ge=2, description="fewer slices than this are refused, count")
    spacing_tolerance_mm: float = Field(
        0.1,
        gt=0,
        description="a slice step may differ from the median step by this, and a slice's position "
        "from its place in the volume, mm",
    )
    tilt_tolerance_deg: float = Field(
        0.1, gt=0, description="largest gantry tilt (stack against slice normal), degrees"
    )
    accept_derived: bool = Field(
        False, description="read images computed from others too (ImageType DERIVED: reformats, slabs)"
    )
    min_air_fraction: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="least share of voxels between -1200 and -500 HU, of 1; "
        "fewer mean that the values are not HU or the scan shows no lung",
    )
