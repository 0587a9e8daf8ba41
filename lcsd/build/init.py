"""``lcsd init``: files to start a build from."""

import os
from collections.abc import Sequence
from pathlib import Path

from lcsd.build.pairs import Pair
from lcsd.errors import BadInputError
from lcsd.io.files import write_table, write_text

CONFIGURATION = "my.yaml"
MANIFEST = "pairs.tsv"

EXAMPLE = {
    "case": "case-0001",
    "patient_id": "patient-1",
    "role": "train",
    "fixed_source": "scans/case-0001/baseline.nii.gz",
    "moving_source": "scans/case-0001/followup.nii.gz",
    "fixed_time": "T0",
    "moving_time": "T1",
}
"""The one row of the example manifest; its scans are for the user to put there, or to name."""


def start(folder: Path, configuration: str, scans: Sequence[tuple[Path, Path]] = ()) -> tuple[Path, Path]:
    """Write a configuration and a manifest to start from into a folder; return their paths.

    ``configuration`` is the text of the default one; the file names the manifest, for builds that start in the folder.
    ``scans`` are pairs of baseline and follow-up, each of another patient; without them, the manifest has an example.
    Raises ``BadInputError`` and writes nothing: ``file_exists`` if either file exists, ``missing_file`` if a scan does
    not, ``bad_value`` if both scans of a pair are one.
    """
    rows = [_row(number, *pair, folder) for number, pair in enumerate(scans, start=1)] or [EXAMPLE]
    paths = folder / CONFIGURATION, folder / MANIFEST
    for path in paths:
        if path.exists() or path.is_symlink():
            raise BadInputError(
                "the file exists and would be overwritten",
                code="file_exists",
                file=path,
                remedy="name another folder, or move the file away",
            )
    write_table(paths[1], list(Pair.model_fields), rows)
    write_text(paths[0], configuration.replace("\nmanifest: null\n", f"\nmanifest: {MANIFEST}\n"))
    return paths


def _row(number: int, baseline: Path, followup: Path, folder: Path) -> dict[str, str]:
    """Return the row of a pair; its paths are relative to the folder, as the shell's are to the current one."""
    for scan in (baseline, followup):
        if not scan.exists():
            raise BadInputError(
                "file or folder not found",
                code="missing_file",
                file=scan,
                field="--pair",
                expected="the baseline and the follow-up: a volume file or a DICOM folder each",
            )
    if baseline.resolve() == followup.resolve():
        raise BadInputError("both scans of the pair are the same", code="bad_value", file=baseline, field="--pair")
    sources = [os.path.relpath(scan.absolute(), folder.absolute()) for scan in (baseline, followup)]
    return EXAMPLE | {
        "case": f"case-{number:04}",
        "patient_id": f"patient-{number}",
        "fixed_source": sources[0],
        "moving_source": sources[1],
    }
