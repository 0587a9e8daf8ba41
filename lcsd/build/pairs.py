"""The pairs manifest: which scans make a case, validated like code."""

import csv
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from lcsd.errors import BadInputError
from lcsd.io.files import from_cell, require_file
from lcsd.names import CaseName, SeriesUid, check_path, is_series_uid
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
        description="baseline: DICOM folder, NIfTI file, or series UID in the Imaging Data Commons"
    )
    moving_source: str = Field(
        description="follow-up: DICOM folder, NIfTI file, or series UID in the Imaging Data Commons"
    )
    fixed_time: str = Field("", description="time point of the baseline, e.g. T0 or a date")
    moving_time: str = Field("", description="time point of the follow-up")
    landmarks: Path | None = Field(None, description="landmark CSV in LPS mm")
    landmarks_frame: Literal["native", "common"] | None = Field(
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


def _check_columns(columns: list[str], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in Pair.model_fields]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    for names, what, code in (
        (missing, "columns are missing", "missing_column"),
        (unknown, "columns are unknown", "unknown_column"),
        (repeated, "columns appear twice", "duplicate_column"),
    ):
        if names:
            raise BadInputError(
                f"manifest {what}",
                code=code,
                file=path,
                field=", ".join(map(str, names)),
                expected=", ".join(Pair.model_fields),
                remedy="correct the header line; columns are separated by tabs",
            )


def _read_row(row: dict[str, str | None], line: int, path: Path) -> Pair:
    cells = {name: from_cell((text or "").strip()) for name, text in row.items() if name is not None}
    if None in row or None in row.values():
        raise BadInputError(
            "the row has another number of cells than the header",
            code="bad_row",
            file=path,
            field=f"line {line}",
            remedy="separate the cells by single tabs",
        )
    content: dict[str, object] = {name: text for name, text in cells.items() if text}
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
            field=f"line {line}, column {column}",
            expected=Pair.model_fields[column].description if first["loc"] else None,
            found=repr(cells.get(column)) if first["loc"] else None,
            remedy="correct the cell",
        ) from error


def read_pairs(path: Path) -> list[Pair]:
    """Return the cases of a manifest (tab-separated, header line, one row per case).

    Relative paths are resolved against the manifest's folder. Whether a source exists is checked
    by the stage that reads it, so that one missing scan stops only its own case.

    Raises
    ------
    BadInputError
        Missing, unknown or repeated column, bad cell, duplicate or illegal case name, or no
        case; names line and column.
    """
    pairs: list[Pair] = []
    with require_file(path).open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle, delimiter="\t", strict=True)
        try:
            _check_columns(list(reader.fieldnames or []), path)
            # The reader skips blank lines but counts them.
            lines = []
            for row in reader:
                pairs.append(_read_row(row, reader.line_num, path))
                lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInputError(f"not a readable table ({error})", code="bad_manifest", file=path) from error
    if not pairs:
        raise BadInputError("the manifest has no case", code="empty_table", file=path)
    seen: dict[str, int] = {}
    for line, pair in zip(lines, pairs, strict=True):
        # Case-insensitive file systems would merge the folders of 'a' and 'A'.
        key = pair.case.lower()
        if key in seen:
            raise BadInputError(
                "duplicate case",
                code="duplicate_case",
                file=path,
                field=f"line {line}, column case",
                found=f"{pair.case!r} also on line {seen[key]}",
                remedy="give every case its own name",
            )
        seen[key] = line
    return pairs
