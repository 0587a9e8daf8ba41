"""Effect of each part of corrfield: one setting changed at a time, on pairs of known motion.

Run: python -m benchmarks.corrfield.ablation --cohort demo/cohort --results demo/results
     [--real CASE_FOLDER --truth TRUTH.csv]
"""

import itertools
import time
from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt

from benchmarks.corrfield.cases import Pair, pairs_of, parser
from benchmarks.tables import COLOURS, write_figure, write_rows
from lcsd.corrfield.correspond import find_correspondences
from lcsd.io.fields import field_quality
from lcsd.settings.correspond import CorrespondSettings

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "defaults": {},
    "one erosion": {"erosion": 1},
    "no backward rejection": {"reject_mm": None},
    "no neighbour rejection": {"outlier_mm": None},
    "no rejection": {"reject_mm": None, "outlier_mm": None},
    "minimum, not mean": {"gamma": 1000.0},
    "no refinement": {"refine": False},
    "refinement without shared evidence": {"refine_blur": 0.0},
    "refinement, not robust": {"refine_robust": 1e6},
    "sparser keypoints": {"nms_radius": (6, 3)},
    "published": {"erosion": 1, "reject_mm": None, "outlier_mm": None, "refine": False, "nms_radius": (3, 1)},
}


def row(name: str, pair: Pair) -> dict[str, object]:
    start = time.perf_counter()
    found = find_correspondences(pair.fixed, pair.moving, pair.mask, settings=CorrespondSettings(**VARIANTS[name]))
    seconds = time.perf_counter() - start
    errors, quality = pair.errors(found.field), field_quality(found.field, mask=pair.mask)
    return {
        "variant": name,
        "case": pair.name,
        "pairs": len(found.pairs),
        "pairs_mean_mm": float(pair.pair_errors(found.pairs).mean()),
        "field_mean_mm": float(errors.mean()),
        "field_median_mm": float(np.median(errors)),
        "field_p95_mm": float(np.percentile(errors, 95)),
        "std_log_jacobian": quality.std_log_jacobian,
        "folding_percent": quality.folding_percent,
        "seconds": seconds,
    }


def draw(rows: list[dict[str, object]], cases: list[str]) -> None:
    """Draw the error of the field and of the pairs for each variant."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    names = list(VARIANTS)
    for panel, key in zip(panels, ("field_mean_mm", "pairs_mean_mm"), strict=True):
        for case, colour in zip(cases, itertools.cycle(COLOURS), strict=False):
            found = {str(r["variant"]): float(str(r[key])) for r in rows if r["case"] == case}
            panel.plot([found[n] for n in names], range(len(names)), "o", ms=5, color=colour, label=case)
        panel.set_xlabel(f"{key.split('_')[0]}: mean error, mm")
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    panels[1].legend(fontsize=8)
    write_figure("corrfield/ablation", figure)


def main() -> None:
    pairs = [pair.cropped() for pair in pairs_of(parser(__doc__).parse_args())]
    row("defaults", pairs[0])  # compiles
    rows = [row(name, pair) for name in VARIANTS for pair in pairs]
    write_rows("corrfield/ablation", rows)
    draw(rows, [pair.name for pair in pairs])


if __name__ == "__main__":
    main()
