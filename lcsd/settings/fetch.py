"""Settings of the download of series."""

from pathlib import Path

from pydantic import Field, model_validator

from lcsd.settings.base import Settings


class FetchSettings(Settings):
    """Verified download of series from the Imaging Data Commons."""

    index: Path | None = Field(None, description="main index (.parquet); null: the one in the package idc-index-data")
    endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9._:\[\]-]+/?$",
        description="address of the S3 server, http(s)://host[:port]; null: AWS",
    )
    sign_requests: bool = Field(
        False, description="sign requests with the user's credentials; public buckets need none"
    )
    jobs: int = Field(2, ge=1, le=64, description="series fetched at the same time, count")
    workers: int = Field(8, ge=1, le=256, description="objects of one series fetched at the same time, count")
    retries: int = Field(4, ge=0, le=20, description="further attempts for a series, count")
    backoff_s: float = Field(
        1.0, ge=0, description="wait before the first retry, s; doubles with each retry, minus a random part"
    )
    max_backoff_s: float = Field(60.0, ge=0, description="longest wait before a retry, s")
    stall_s: float = Field(60.0, gt=0, description="a transfer is ended after this time without a new byte, s")
    space_margin: float = Field(
        1.05, ge=1, description="free disk space required, as a multiple of the expected download"
    )

    keep: bool = Field(
        True,
        description="keep a series after it was screened or converted; false saves disk, but fetches the series of "
        "selected cases twice",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "FetchSettings":
        if self.backoff_s > self.max_backoff_s:
            raise ValueError(
                f"backoff_s ({self.backoff_s}) exceeds max_backoff_s ({self.max_backoff_s}); raise max_backoff_s"
            )
        return self
