"""Write a cohort of phantom cases with its manifest of pairs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.files import write_json, write_table
from lcsd.numerics.processes import in_processes
from lcsd.phantom.case import ROLES, PhantomCase, Role, make_case
from lcsd.phantom.dicom import write_study
from lcsd.phantom.scanner import Scan
from lcsd.phantom.writers import write_points, write_volume
from lcsd.settings.phantom import Format, PhantomSettings, Size

COLUMNS = (
    "case",
    "patient_id",
    "role",
    "fixed_source",
    "moving_source",
    "fixed_time",
    "moving_time",
    "landmarks",
    "landmarks_frame",
)
MANIFEST = "pairs.tsv"
MOST_CASES = 10_000
LARGEST_SEED = 2**31 - 1


def case_name(seed: int, case: int) -> str:
    """Return the folder and manifest name of a case."""
    return f"phantom-{seed:04d}-{case:02d}"


def patient_id(seed: int, case: int) -> str:
    """Return the patient ID of a case."""
    return f"PH{seed:04d}{case:02d}"


def _scan_facts(scan: Scan) -> dict[str, object]:
    return {
        "size_xyz": list(scan.size_xyz),
        "spacing_mm": [float(v) for v in scan.spacing],
        "origin_lps_mm": [float(v) for v in scan.origin],
        "direction": [[float(v) for v in row] for row in scan.direction],
        "slice_thickness_mm": scan.thickness,
    }


def truth_facts(case: PhantomCase) -> dict[str, object]:
    """Return the truth of a case as JSON-serialisable facts, lengths in mm."""
    motion = case.motion
    fixed, _ = case.points
    determinant = case.determinant(fixed)
    return {
        "seed": case.seed,
        "case": case.case,
        "size": case.size,
        "fixed": _scan_facts(case.fixed_scan),
        "moving": _scan_facts(case.moving_scan),
        "motion": {
            "breathing": {k: float(v) for k, v in motion.breathing._asdict().items()},
            "fine_modes": motion.modes.tolist(),
            "rotation": motion.rotation.tolist(),
            "translation_mm": motion.translation.tolist(),
            "fixed_origin_mm": motion.fixed_origin.tolist(),
        },
        "landmark_residual_mean_mm": {name: round(value, 6) for name, value in case.residuals._asdict().items()},
        "lung_determinant_min": float(determinant.min()),
        "lung_determinant_max": float(determinant.max()),
        "lung_log_determinant_std": float(np.log(determinant).std()),
    }


def write_case(folder: Path, case: PhantomCase, *, file_format: Format) -> dict[Role, Path]:
    """Write scans and truth of a case into a folder; return the path of each scan."""
    sources: dict[Role, Path] = {}
    for role in ROLES:
        clean = case.clean_image(role)
        scan = case.scan(role)
        if file_format == "nifti":
            sources[role] = folder / f"{role}.nii.gz"
            write_volume(sources[role], case.acquired(role, clean, case.kernels[0]), scan)
        else:
            sources[role] = write_study(
                folder / role,
                {kernel: case.acquired(role, clean, kernel) for kernel in case.kernels},
                scan,
                patient=patient_id(case.seed, case.case),
                time=ROLES.index(role),
            )
        del clean
        lungs, vessels = case.masks(role)
        write_volume(folder / "truth" / f"{role}_lungs.nii.gz", lungs, scan)
        write_volume(folder / "truth" / f"{role}_vessels.nii.gz", vessels, scan)
    write_points(folder / "truth" / "landmarks.csv", *case.landmarks)
    write_points(folder / "truth" / "points.csv", *case.points)
    write_json(folder / "truth" / "truth.json", truth_facts(case))
    return sources


def write_cases(
    folder: Path,
    *,
    cases: int,
    seed: int,
    size: Size = "full",
    file_format: Format = "nifti",
    test_cases: int = 1,
    settings: PhantomSettings | None = None,
    workers: int = 1,
) -> Iterator[dict[str, str]]:
    """Write phantom pairs, ``workers`` at a time in processes of their own; yield the manifest row of each.

    Each case gets a subfolder of ``folder``, and sources are relative to it. Case `i` depends on ``seed``, but
    not on ``cases``. The last ``test_cases`` get the role ``test`` and landmarks in the manifest. Raises
    ``BadInputError`` if a number is out of range, ``WorkError`` if a file cannot be written.
    """
    _check_range("cases", cases, low=1, high=MOST_CASES)
    _check_range("seed", seed, low=0, high=LARGEST_SEED)
    _check_range("test_cases", test_cases, low=0, high=cases)
    make = partial(_written, folder, seed, size=size, file_format=file_format, settings=settings)
    for number, sources in enumerate(in_processes(make, range(cases), workers=workers)):
        name = case_name(seed, number)
        test = number >= cases - test_cases
        yield {
            "case": name,
            "patient_id": patient_id(seed, number),
            "role": "test" if test else "train",
            **{f"{r}_source": sources[r].relative_to(folder).as_posix() for r in ROLES},
            **{f"{r}_time": f"T{time}" for time, r in enumerate(ROLES)},
            "landmarks": f"{name}/truth/landmarks.csv" if test else "",
            "landmarks_frame": "native" if test else "",
        }


def _written(
    folder: Path, seed: int, number: int, *, size: Size, file_format: Format, settings: PhantomSettings | None
) -> dict[Role, Path]:
    """Make and write one case; return the path of each scan."""
    case = make_case(seed, case=number, size=size, settings=settings)
    return write_case(folder / case_name(seed, number), case, file_format=file_format)


def write_manifest(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write the rows of `write_cases` as `pairs.tsv` and return its path."""
    write_table(folder / MANIFEST, COLUMNS, rows)
    return folder / MANIFEST


def _check_range(name: str, value: int, *, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadInputError(
            "the number is out of range", code="phantom_option", field=name, expected=f"{low} to {high}", found=value
        )
