"""Names that become paths: cases, scans, series, and what they may contain; the words that options take."""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator

SCANS = ("fixed", "moving")
"""The scans of a case, baseline and follow-up, in names of files, columns and options."""

CloudFrame = Literal["lps", "ras"]
"""Frame of a cloud's coordinates."""

TableFrame = Literal["lps", "ras", "voxel"]
"""Frame of the numbers in a table of landmarks."""

Space = Literal["native", "common"]
"""Space of the moving landmarks: the follow-up scan, or the common space of the case."""

ProtocolName = Literal["lung250m", "learn2reg", "dirlab"]
"""Evaluation protocols of published benchmarks."""

FieldReading = Literal[
    "displacement",
    "negated",
    "ras",
    "zyx",
    "voxel",
    "voxel-zyx",
    "m",
    "normalised",
    "normalised-zyx",
    "normalised-corners",
    "normalised-corners-zyx",
    "unit",
    "unit-zyx",
    "positions",
    "positions-ras",
    "positions-zyx",
    "positions-voxel",
    "positions-voxel-zyx",
    "positions-normalised",
    "positions-normalised-zyx",
    "positions-normalised-corners",
    "positions-normalised-corners-zyx",
    "positions-unit",
    "positions-unit-zyx",
]
"""What the vectors of a displacement field are; without a unit: LPS mm."""

TransformFormat = Literal["itk", "ants", "slicer", "learn2reg", "array", "landmarks"]
"""Conventions of files that hold a transform (docs/transforms.md)."""

Layout = Literal["first", "last"]
"""Where an array of vectors has its axis of components."""

Unit = Literal["mm", "m"]
Axes = Literal["xyz", "zyx"]
FormatName = Literal["lcsd", "slicer", "fcsv", "dirlab", "learn2reg", "lung250m", "generic"]
PairBy = Literal["label", "row"]
Phase = Literal["inhale", "exhale"]
CloudKind = Literal["8k", "skeleton", "full"]
"""The three clouds of a scan of Lung250M-4B."""

ScoredAt = Literal["landmarks", "keypoints"]
"""Points of a Learn2Reg task at which registrations are scored."""

FirstSlice = Literal["head", "feet"]
Basis = Literal["wall", "cpu"]

CASE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Case names become folder names and parts of commands, so nothing else is let in."""


def check_case_name(name: str) -> str:
    """Return ``name`` if it is a legal case name; raise ``ValueError`` otherwise."""
    if not CASE_PATTERN.fullmatch(name):
        raise ValueError("a case name starts with a letter or digit and has at most 64 letters, digits, _ and -")
    return name


CaseName = Annotated[str, AfterValidator(check_case_name)]


def _check_uid(uid: str) -> str:
    if not is_series_uid(uid):
        raise ValueError("not a series UID: dotted numbers, at most 64 characters")
    return uid


SeriesUid = Annotated[str, AfterValidator(_check_uid)]

P = TypeVar("P", bound=str | Path | None)

UID_PATTERN = re.compile(r"[0-9]+(?:\.[0-9]+)*")
UID_LENGTH = 64
"""DICOM PS3.5, section 9. The pattern keeps '..' and '/' out of every path made of a UID."""

SERIES_UID_DOTS = 3
"""At least, where a source may also be a path: a file named 1.2 is a file."""


def is_uid(text: str) -> bool:
    """Return whether a text is a DICOM UID."""
    return len(text) <= UID_LENGTH and UID_PATTERN.fullmatch(text) is not None


def is_series_uid(source: str) -> bool:
    """Return whether a source is a SeriesInstanceUID rather than a path."""
    return is_uid(source) and source.count(".") >= SERIES_UID_DOTS


def check_path(path: P) -> P:
    """Return a path that rules may name; raise ``ValueError`` otherwise.

    Snakemake takes braces in the name of a file for wildcards, and one such name stops the build.
    A command takes a path that begins with a hyphen for an option, also a quoted one.
    """
    text = "" if path is None else str(path)
    if text.startswith("-"):
        raise ValueError("a path that begins with a hyphen; rename it, or write it from the root")
    if not text.isprintable() or not {*"{}"}.isdisjoint(text):
        raise ValueError("a path with braces or control characters; rename the file or folder")
    return path


ImageMethod = Literal["corrfield", "convexadam", "elastix", "ants", "deeds", "unigradicon"]
Interpolation = Literal["linear", "nearest", "label-gaussian", "bspline"]
"""How a warped image mixes voxels."""
