"""Accuracy of a phantom build against the exact truth, one row per case.

Run: python benchmarks/accuracy.py demo/cohort demo/results [--out accuracy.csv]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lcsd.geometry import RigidTransform, fit_rigid
from lcsd.io.fields import field_quality, read_field
from lcsd.io.files import read_json
from lcsd.io.images import read_image, read_mask, read_rigid, resample
from lcsd.io.points import read_cloud, read_point_pairs
from lcsd.phantom.case import PhantomCase, make_case

Points = NDArray[np.float64]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def distance(a: Points, b: Points) -> Points:
    return np.linalg.norm(a - b, axis=1)


def rigid_figures(case: PhantomCase, rigid: RigidTransform) -> dict[str, float]:
    """Landmark distance after prealign against the least-squares rigid fit of the truth."""
    fixed, moving = case.landmarks
    ideal = fit_rigid(fixed, moving)
    best = distance(ideal.inverse().apply(moving), fixed).mean()
    found = distance(rigid.inverse().apply(moving), fixed).mean()
    return {"rigid_best_mm": best, "rigid_mm": found, "rigid_ratio": found / best}


def mask_figures(folder: Path, truth: Path) -> dict[str, float]:
    """Dice of lungs (native grid) and vessels (common grid) of both scans."""
    rigid = read_rigid(folder / "images" / "rigid.tfm")
    figures = {}
    for scan, transform in (("fixed", RigidTransform.identity()), ("moving", rigid)):
        lungs = read_mask(folder / "lungs" / f"{scan}.nii.gz")
        true_lungs = read_mask(truth / f"{scan}_lungs.nii.gz")
        figures[f"lung_dice_{scan}"] = dice(lungs.array, true_lungs.array)
        vessels = read_mask(folder / "vessels" / f"{scan}.nii.gz")
        true_vessels = resample(
            read_mask(truth / f"{scan}_vessels.nii.gz"), vessels.grid, transform=transform, nearest=True
        )
        figures[f"vessel_dice_{scan}"] = dice(vessels.array, true_vessels.array)
        for cloud in ("dense", "keypoints"):
            points = read_cloud(folder / "clouds" / f"{scan}_{cloud}.npz")
            figures[f"{cloud}_{scan}"] = len(points)
    return figures


def motion_figures(case: PhantomCase, folder: Path) -> dict[str, float]:
    """Errors of correspondences and of both fields against the exact map, mm; folding, percent."""
    rigid = read_rigid(folder / "images" / "rigid.tfm").inverse()
    mask = read_mask(folder / "images" / "fixed_mask.nii.gz")
    pairs = read_point_pairs(folder / "correspondences" / "correspondences.csv")
    error = distance(rigid.apply(case.transform(pairs.fixed)), pairs.moving)
    figures = {
        "correspondences": len(pairs),
        "correspondence_mean_mm": error.mean(),
        "correspondence_p95_mm": np.percentile(error, 95),
    }
    for name, where in (("corrfield", "correspondences"), ("divroc", "registration")):
        field = read_field(folder / where / "field.nii.gz")
        for kind, (fixed, moving) in (("landmarks", case.landmarks), ("lung", case.points)):
            error = distance(fixed + field.at(fixed), rigid.apply(moving))
            figures[f"{name}_{kind}_mean_mm"] = error.mean()
            figures[f"{name}_{kind}_p95_mm"] = np.percentile(error, 95)
        quality = field_quality(field, mask=mask)
        figures[f"{name}_folding_percent"] = quality.folding_percent
        figures[f"{name}_std_log_jacobian"] = quality.std_log_jacobian or 0.0
    truth = np.log(case.determinant(case.points[0]))
    return {**figures, "truth_std_log_jacobian": truth.std()}


def case_figures(cohort: Path, results: Path, name: str) -> dict[str, object]:
    truth = cohort / name / "truth"
    facts = read_json(truth / "truth.json")
    case = make_case(facts["seed"], case=facts["case"], size=facts["size"])
    folder = results / "cases" / name
    # A case is rebuilt from its seed; the files prove that it is the one that was built.
    stored = read_point_pairs(truth / "landmarks.csv")
    assert np.abs(stored.moving - case.landmarks[1]).max() < 1e-3, "truth differs from its seed"
    assert read_image(folder / "images" / "fixed.nii.gz").grid.contains(stored.fixed).all()
    rigid = read_rigid(folder / "images" / "rigid.tfm")
    return {"case": name, **rigid_figures(case, rigid), **mask_figures(folder, truth), **motion_figures(case, folder)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, help="also write the table as CSV")
    arguments = parser.parse_args()
    names = sorted(p.parent.parent.name for p in arguments.cohort.glob("*/truth/truth.json"))
    rows = [case_figures(arguments.cohort, arguments.results, name) for name in names]
    for key in rows[0]:
        values = [row[key] for row in rows]
        print(f"{key:28}", *(f"{v:>16.4g}" if isinstance(v, float) else f"{v!s:>16}" for v in values))
    if arguments.out:
        pd.DataFrame(rows).to_csv(arguments.out, index=False, lineterminator="\r\n")


if __name__ == "__main__":
    main()
