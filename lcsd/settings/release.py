"""Settings of the release."""

import datetime
from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings


class ReleaseSettings(Settings):
    """The publishable dataset; none of these changes a point or a voxel."""

    name: str = Field(
        "lcsd",
        pattern=r"^(?:[a-z][a-z0-9_-]{0,30})$",
        description="short name of the dataset: lower-case letters, digits, _ and -",
    )
    title: str = Field("Longitudinal lung vessel point clouds", min_length=1, description="title of the dataset card")
    version: str = Field("1.0.0", pattern=r"^(?:[0-9]+\.[0-9]+\.[0-9]+)$", description="version of the dataset: a.b.c")
    source: Literal["nlst", "phantom", "own"] = Field(
        "own",
        description="origin of the scans: nlst (its citations are added), phantom (synthetic) or own; never guessed",
    )
    licence: str = Field(
        "CC-BY-4.0",
        pattern=r"^(?:[A-Za-z0-9.+-]+)$",
        description="licence of the dataset, SPDX identifier; yours to choose if source is own",
    )
    creators: tuple[str, ...] = Field((), description="names of the persons or institutions that publish the dataset")
    url: str | None = Field(
        None, pattern=r"^(?:https?://\S+)$", description="address at which the dataset will be published"
    )
    date: str | None = Field(
        None,
        pattern=r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2})$",
        description="date of publication, YYYY-MM-DD; never taken from the clock",
    )
    images: bool = Field(
        False, description="also publish the CT scans on the common grid, HU; only if you are allowed to"
    )
    viewer: bool = Field(True, description="add each cloud as .vtp for viewers such as ParaView")
    parquet: bool = Field(True, description="add cases, clouds, correspondences and landmarks as Parquet tables")
    archive: bool = Field(True, description="also write the whole folder as one .zip")
    harmless: tuple[str, ...] = Field(
        (),
        description="texts of the manifest that identify nobody, such as a case named dense; the search for "
        "identifiers ignores them",
    )

    @field_validator("date", mode="before")
    @classmethod
    def _date_of_yaml(cls, value: object) -> object:
        # Without quotes YAML reads YYYY-MM-DD as a date, not as a text.
        plain = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
        return value.isoformat() if plain else value  # type: ignore[attr-defined]

    @field_validator("date")
    @classmethod
    def _date_of_the_calendar(cls, value: str | None) -> str | None:
        if value is not None:
            datetime.date.fromisoformat(value)
        return value
