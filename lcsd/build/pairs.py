"""The pairs manifest: the scans of each case."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from lcsd.errors import BadInputError
from lcsd.io.tables import Row, check_cases, read_rows
from lcsd.names import CaseName, SeriesUid, Space, check_path, is_series_uid
from lcsd.settings.base import Settings

PATH_COLUMNS = (
    "fixed_source",
    "moving_source",
    "landmarks",
    "fixed_mask",
    "moving_mask",
    "fixed_vessels",
    "moving_vessels",
)

Role = Literal["train", "test_pool", "test"]


class Pair(Settings):
    """One case: a baseline (fixed) and a follow-up (moving) scan."""

    case: CaseName = Field(description="name of the case, unique")
    patient_id: str = Field("", description="identifier of the patient; never published")
    role: Role = Field(description="train, test_pool or test")
    fixed_source: str = Field(
        description="baseline: DICOM folder, volume file, or series UID in the Imaging Data Commons"
    )
    moving_source: str = Field(
        description="follow-up: DICOM folder, volume file, or series UID in the Imaging Data Commons"
    )
    fixed_time: str = Field("", description="time point of the baseline, e.g. T0 or a date")
    moving_time: str = Field("", description="time point of the follow-up")
    landmarks: Path | None = Field(None, description="landmark CSV in LPS mm")
    landmarks_frame: Space | None = Field(
        None, description="frame of the moving landmarks: native follow-up space or common grid"
    )
    fixed_series: SeriesUid | None = Field(
        None, description="series UID to take where the baseline's folder holds several"
    )
    moving_series: SeriesUid | None = Field(
        None, description="series UID to take where the follow-up's folder holds several"
    )
    fixed_mask: str | None = Field(
        None, description="lung mask of the baseline, native space: file or series UID (DICOM SEG)"
    )
    moving_mask: str | None = Field(
        None, description="lung mask of the follow-up, native space: file or series UID (DICOM SEG)"
    )
    fixed_vessels: Path | None = Field(None, description="vessels of the baseline, native space")
    moving_vessels: Path | None = Field(None, description="vessels of the follow-up, native space")

    @field_validator(*PATH_COLUMNS)
    @classmethod
    def _plain_paths(cls, path: str | Path | None) -> str | Path | None:
        return check_path(path)

    @model_validator(mode="after")
    def _consistent(self) -> "Pair":
        if self.landmarks is not None and self.landmarks_frame is None:
            raise ValueError("landmarks are given but landmarks_frame is empty; say native or common")
        fixed = (self.fixed_source, self.fixed_series)
        if fixed == (self.moving_source, self.moving_series):
            raise ValueError("fixed_source and moving_source are the same; give two scans")
        return self


REQUIRED = ("case", "patient_id", "role", "fixed_source", "moving_source", "fixed_time", "moving_time")


def _read_row(row: Row, path: Path) -> Pair:
    content: dict[str, object] = {name: cell.strip() for name, cell in row.items() if cell.strip()}
    for name in PATH_COLUMNS:
        if name in content and not is_series_uid(str(content[name])):
            # Sources are relative to the manifest, so that a cohort's folder can be moved.
            content[name] = str(path.parent / str(content[name]))
    try:
        return Pair.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        column = str(first["loc"][0]) if first["loc"] else "row"
        raise BadInputError(
            first["msg"].removeprefix("Value error, "),
            code="bad_manifest",
            file=path,
            field=f"line {row.line}, column {column}",
            expected=Pair.model_fields[column].description if first["loc"] else None,
            found=repr(row.get(column)) if first["loc"] else None,
            remedy="correct the cell",
        ) from error


def read_pairs(path: Path) -> list[Pair]:
    """Return the cases of a manifest (tab-separated, header line, one row per case).

    Relative paths are resolved against the manifest's folder. Whether a source exists is checked by the stage that
    reads it, so that one missing scan stops only its own case.

    Raises ``BadInputError`` as :func:`lcsd.io.tables.read_rows`, and for an invalid cell (``bad_manifest``), a repeated
    case (``bad_case``), or no case (``empty_table``).
    """
    rows = read_rows(path, REQUIRED, known=Pair.model_fields)
    if not rows:
        raise BadInputError("the manifest has no case", code="empty_table", file=path)
    pairs = [_read_row(row, path) for row in rows]
    check_cases(((row.line, pair.case) for row, pair in zip(rows, pairs, strict=True)), path)
    return pairs
