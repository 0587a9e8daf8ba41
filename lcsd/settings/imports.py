"""Settings of the import of published datasets."""

from pydantic import Field

from lcsd.settings.base import Settings


class ImportSettings(Settings):
    """Import of published datasets: limits of archives."""

    max_gib: float = Field(100.0, gt=0, description="largest unpacked size of an archive, GiB")
    max_files: int = Field(100_000, ge=1, description="largest number of files in an archive, count")
