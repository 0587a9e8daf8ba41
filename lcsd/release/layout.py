"""Paths of the files of a release.

Folders and names follow the datasets of the Learn2Reg challenge: ``Tr`` is training, ``Ts`` is test, and the
number at the end of a name is the scan (0000 baseline, 0001 follow-up).
"""

from typing import Literal

Split = Literal["train", "test"]

FOLDER_SUFFIX: dict[Split, str] = {"train": "Tr", "test": "Ts"}
SCAN_NUMBER = {"fixed": "0000", "moving": "0001"}
CLOUDS = {"dense": "dense", "sparse": "keypoints"}
"""Kinds of published clouds, and their names in a build."""

CASE_COLUMNS: dict[str, type[str] | type[int] | type[float]] = {
    "case": str,
    "split": str,
    **{f"{scan}_{kind}": int for kind in CLOUDS for scan in SCAN_NUMBER},
    "correspondences": int,
    "landmarks": int,
    "displacement_mean_mm": float,
    "displacement_max_mm": float,
    "dice_centred": float,
    "dice_aligned": float,
    "rotation_deg": float,
    "borderline": str,
}
"""Columns of ``cases.tsv`` and what they hold."""

TABLES = ("cases", "clouds", "correspondences", "landmarks")
"""The Parquet tables, each a folder below ``PARQUET``, with a folder or file for each split."""

PARQUET = "parquet"

CASES_NAME = "cases.tsv"
LEFT_OUT_NAME = "left_out.tsv"
METHODS_NAME = "methods.json"
CARD_NAME = "README.md"
LICENCE_NAME = "LICENSE"
LEARN2REG_NAME = "dataset.json"
CITATION_NAME = "CITATION.cff"
DATACITE_NAME = "datacite.json"
CROISSANT_NAME = "croissant.json"
CHECKSUMS_NAME = "SHA256SUMS"


def scan_file(kind: str, split: Split, name: str, scan: str, *, end: str) -> str:
    """Return the path of a scan's file in a release, such as ``labelsTr/lcsd_0001_0000.nii.gz``."""
    return f"{kind}{FOLDER_SUFFIX[split]}/{name}_{SCAN_NUMBER[scan]}{end}"


def pair_file(kind: str, split: Split, name: str, *, end: str) -> str:
    """Return the path of a pair's file in a release, such as ``rigidTr/lcsd_0001.tfm``."""
    return f"{kind}{FOLDER_SUFFIX[split]}/{name}{end}"


def parquet_file(table: str, split: Split, name: str | None = None) -> str:
    """Return the path of a Parquet table of a split, or of a case's part of it, in a release."""
    return f"{PARQUET}/{table}/{split}.parquet" if name is None else f"{PARQUET}/{table}/{split}/{name}.parquet"
