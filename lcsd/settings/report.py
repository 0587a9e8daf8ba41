"""Settings of the report's pages."""

from pydantic import Field

from lcsd.settings.base import Settings

DEFAULT_VIEWS = 12
"""Cases with pictures on the page, both kinds together; each takes about 330 kB, so the page stays below 5 MB."""


class ReportSettings(Settings):
    """Pages of the cases in the report."""

    pages: int = Field(
        60,
        ge=0,
        description="largest number of cases with their own page; cases with landmarks come first, then those that a "
        "gate discarded or flagged, then the others",
    )
    cloud_points: int = Field(
        100_000,
        ge=1,
        le=150_000,
        description="points of a cloud in the 3-D view of a page, count; larger clouds are thinned at random; 150,000 "
        "points of both scans make a page of about 8 MB",
    )
    worst_landmarks: int = Field(
        5, ge=0, le=20, description="landmarks with the largest errors on a page, for each method, count"
    )
