"""``lcsd init``: files to start a build from."""

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


def start(folder: Path, configuration: str) -> tuple[Path, Path]:
    """Write a configuration and a manifest to start from into a folder; return their paths.

    ``configuration`` is the text of the default one; the file names the manifest, for builds that start in the folder.
    Raises ``BadInputError`` (``file_exists``) if either file exists, and then writes neither.
    """
    paths = folder / CONFIGURATION, folder / MANIFEST
    for path in paths:
        if path.exists() or path.is_symlink():
            raise BadInputError(
                "the file exists and would be overwritten",
                code="file_exists",
                file=path,
                remedy="name another folder, or move the file away",
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_table(paths[1], list(Pair.model_fields), [EXAMPLE])
    write_text(paths[0], configuration.replace("\nmanifest: null\n", f"\nmanifest: {MANIFEST}\n"))
    return paths
