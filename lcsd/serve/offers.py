"""What the page offers: methods, parts of an upload and their formats, limits. One place for all of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from lcsd.clouds.formats import SUFFIXES
from lcsd.errors import BadInputError
from lcsd.io.files import read_json
from lcsd.names import CloudFrame, Unit

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Method:
    """A way to register, as ``lcsd register`` is called for it."""

    method: str
    effort: str
    title: str
    note: str
    options: tuple[str, ...]  # of ``lcsd register``


METHODS = (
    Method("divroc", "fast", "Fast", "DiVRoC without its finest level; seconds", ("--fast",)),
    Method("divroc", "accurate", "Accurate", "DiVRoC with all steps, and expected errors from both directions", ()),
    Method(
        "divroc",
        "none",
        "Moments",
        "means and standard deviations along each axis are matched, without any local motion; at once",
        ("--refine", "none", "--set", "start=affine"),
    ),
    Method(
        "chamfer",
        "fast",
        "Nearest neighbours",
        "the baseline: distances to nearest points, coarse steps",
        ("--method", "chamfer", "--fast"),
    ),
)

OF_NETWORKS = (
    Method(
        "unet",
        "fast",
        "Network, then fast",
        "the guess of a trained network, then the fast steps",
        ("--method", "unet", "--refine", "fast"),
    ),
)
"""Offered where the model of the network ships."""

SAMPLES = {"patient-1": "Synthetic patient 1, with landmarks", "patient-2": "Synthetic patient 2, with landmarks"}
"""Pairs of clouds at hand, by name (``lcsd/serve/samples.py`` makes them)."""

SAMPLE_FILES = {"fixed": "fixed.csv", "moving": "moving.csv", "landmarks": "landmarks.csv"}

CLOUDS = SUFFIXES
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".zip")
MASKS = (".nii", ".nii.gz", ".nrrd")
LANDMARKS = (".csv", ".tsv", ".txt", ".fcsv", ".mrk.json")

UNPACKED_GIB = 4.0
"""Largest size of an unpacked archive."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "fixed": (*CLOUDS, *VOLUMES),
    "moving": (*CLOUDS, *VOLUMES),
    "fixed_mask": MASKS,
    "moving_mask": MASKS,
    "landmarks": LANDMARKS,
    "moving_landmarks": LANDMARKS,
}
"""Files of an upload, and the endings that each may have."""

NEEDED = ("fixed", "moving")

PAGE = "result.html"
"""File of a result that is shown; all others are downloads."""

MEANINGS = ("frame", "unit", "moving_frame", "moving_unit")
"""Options that say what the numbers of clouds mean; volumes say it themselves."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "frame": get_args(CloudFrame),
    "unit": get_args(Unit),
    "moving_frame": get_args(CloudFrame),
    "moving_unit": get_args(Unit),
    "symmetric": ("true", "false"),
}
"""Words of an upload beside the method, and the values of each."""


@dataclass(frozen=True)
class Limits:
    """What a server grants."""

    upload_bytes: int = 512 * MIB  # of one request
    stored_bytes: int = 4 * GIB  # of the uploads and results of all jobs
    jobs: int = 20  # waiting at once
    seconds: float = 1800.0  # a job may run
    memory_bytes: int = 8 * GIB  # of the worker
    threads: int = 1  # of the worker
    kept_seconds: float = 3600.0  # from the end of a job to the erasure of its files


def _shipped() -> Collection[str]:
    """Return the networks whose model ships; torch, which ``lcsd.networks.models`` needs, is not loaded."""
    return read_json(Path(str(resources.files("lcsd.networks") / "shipped.json")))


def methods() -> tuple[Method, ...]:
    """Return all methods that are offered here."""
    known = _shipped()
    return (*METHODS, *(offer for offer in OF_NETWORKS if offer.method in known))


def method_of(method: str | None, effort: str | None) -> Method:
    """Return the method of a request, the first one by default.

    Raises ``BadInputError`` (``unknown_method``) if the pair is not offered.
    """
    wanted = (method or METHODS[0].method, effort)
    for offer in methods():
        if offer.method == wanted[0] and wanted[1] in {None, offer.effort}:
            return offer
    raise BadInputError(
        "this method is not offered",
        code="unknown_method",
        field="method, effort",
        expected=" or ".join(f"{offer.method}, {offer.effort}" for offer in methods()),
        found=", ".join(filter(None, wanted)),
    )


def suffix_of(part: str, name: str) -> str:
    """Return the ending of an upload's name, lower case and with its dot; nothing else of the name is used.

    Raises ``BadInputError`` (``unknown_format``) if the part cannot have this ending.
    """
    allowed = sorted(PARTS[part], key=len, reverse=True)
    found = next((suffix for suffix in allowed if name.lower().endswith(suffix)), None)
    if found is None:
        raise BadInputError(
            "unknown file format",
            code="unknown_format",
            field=part,
            expected=", ".join(PARTS[part]),
            found=name.rpartition(".")[2][:20] if "." in name else "no suffix",
        )
    return found


def is_volume(suffixes: Mapping[str, str], given: Mapping[str, Any]) -> bool:
    """Return whether the scans of an upload are volumes; ``suffixes`` are the endings of its parts.

    Raises ``BadInputError`` (``mixed_kinds``) if one of them is a volume and the other a cloud, or for masks of clouds;
    ``unused_option`` if the request (``given``) says what the numbers of a volume mean.
    """
    kinds = {part: suffixes[part] in VOLUMES for part in NEEDED if part in suffixes}
    masks = [part for part in suffixes if part.endswith("_mask")]
    if len(set(kinds.values())) > 1 or (masks and not all(kinds.values())):
        raise BadInputError(
            "the files do not go together",
            code="mixed_kinds",
            field=", ".join([*kinds, *masks]),
            expected="two clouds, or two volumes with optional masks of the lungs",
            found=", ".join(f"{part} {suffixes[part]}" for part in [*kinds, *masks]),
        )
    unused = [name for name in MEANINGS if name in given]
    if all(kinds.values()) and unused:
        raise BadInputError(
            "volumes say their frame and unit themselves",
            code="unused_option",
            field=", ".join(unused),
            remedy="leave it out",
        )
    return all(kinds.values())


def choices_of(given: Mapping[str, str]) -> dict[str, str]:
    """Return the words of a request; those that are empty are left out.

    Raises ``BadInputError`` (``unknown_part``, ``unknown_value``) for a field or a word that is not known.
    """
    found = {}
    for name, value in given.items():
        if name not in CHOICES:
            raise BadInputError(
                "unknown field of the request",
                code="unknown_part",
                field=name[:40],
                expected=", ".join([*PARTS, *CHOICES, "method", "effort", "sample", "like"]),
            )
        if value and value not in CHOICES[name]:
            raise BadInputError(
                "unknown value", code="unknown_value", field=name, expected=", ".join(CHOICES[name]), found=value[:40]
            )
        if value:
            found[name] = value
    return found


def offered(limits: Limits) -> dict[str, Any]:
    """Return what a page must know, JSON-serialisable."""
    return {
        "methods": [
            {"method": offer.method, "effort": offer.effort, "title": offer.title, "note": offer.note}
            for offer in methods()
        ],
        "parts": {name: list(suffixes) for name, suffixes in PARTS.items()},
        "choices": {name: list(values) for name, values in CHOICES.items()},
        "samples": [{"name": name, "title": title} for name, title in SAMPLES.items()],
        "upload_bytes": limits.upload_bytes,
        "kept_seconds": limits.kept_seconds,
    }
