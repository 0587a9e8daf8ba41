"""Settings of the download of series."""

from pathlib import Path

from pydantic import Field, model_validator

from lcsd.settings.base import Settings


class FetchSettings(Settings):
    """Verified download of series from the Imaging Data Commons."""

    index: Path | None = Field(None, description="main index (.parquet); null takes the package idc-index-data's")
    endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9._:\[\]-]+/?$",
        description="address of the S3 server, http(s)://host[:port]; null is AWS",
    )
    sign_requests: bool = Field(
        False, description="sign requests with the user's credentials; public buckets need none"
    )
    jobs: int = Field(2, ge=1, le=64, description="series fetched at a time, count")
    workers: int = Field(8, ge=1, le=256, description="objects of one series at a time, count")
    retries: int = Field(4, ge=0, le=20, description="further attempts at a series, count")
    backoff_s: float = Field(1.0, ge=0, description="wait before the first retry, s; doubles with each, less a jitter")
    backoff_most_s: float = Field(60.0, ge=0, description="longest wait before a retry, s")
    stall_s: float = Field(60.0, gt=0, description="a transfer without a new byte for this long is ended, s")
    space_margin: float = Field(1.05, ge=1, description="free disk space asked for, as a multiple of what is to come")

    keep: bool = Field(
        True,
        description="keep a series after it was screened or converted; false saves disk, and the "
        "series of selected cases are fetched twice",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "FetchSettings":
        if self.backoff_s > self.backoff_most_s:
            raise ValueError(
                f"backoff_s ({self.backoff_s}) exceeds backoff_most_s ({self.backoff_most_s}); raise backoff_most_s"
            )
        return self
