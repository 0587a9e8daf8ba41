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

CASES_NAME = "cases.tsv"
LEFT_OUT_NAME = "left_out.tsv"
METHODS_NAME = "methods.json"
CARD_NAME = "README.md"
LICENCE_NAME = "LICENSE"
LEARN2REG_NAME = "dataset.json"
CROISSANT_NAME = "croissant.json"
CHECKSUMS_NAME = "SHA256SUMS"


def scan_file(kind: str, split: Split, name: str, scan: str, *, end: str) -> str:
    """Return the path of a scan's file in a release, such as ``labelsTr/lcsd_0001_0000.nii.gz``."""
    return f"{kind}{FOLDER_SUFFIX[split]}/{name}_{SCAN_NUMBER[scan]}{end}"


def pair_file(kind: str, split: Split, name: str, *, end: str) -> str:
    """Return the path of a pair's file in a release, such as ``rigidTr/lcsd_0001.tfm``."""
    return f"{kind}{FOLDER_SUFFIX[split]}/{name}{end}"
