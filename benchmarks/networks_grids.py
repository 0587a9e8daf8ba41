"""Grids of distance and regulariser (the paper's Table 2), from the affine start and from a network's guess.

Run: python -m benchmarks.networks_grids [--network NAME] [--points N] [--most N]

Cases are the large motions of benchmarks.networks. The tables go into docs/networks/grids.csv; finished cases are not
registered again.
"""

import argparse
import csv
import itertools

import numpy as np

from benchmarks.divroc.grids import DISTANCE_GRIDS, FLOW_GRIDS, levels
from benchmarks.divroc.real_motion import SCORED_POINTS, RealCase
from benchmarks.networks import cases_of, thinned
from benchmarks.tables import DOCS, write_rows
from lcsd.divroc.register import register_clouds
from lcsd.networks.register import register_with_network
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import NETWORKS


def error_mm(case: RealCase, method: str, distance: int, flow: int) -> float:
    """Return the mean error of one run of Adam on two levels that end on these grids."""
    content = {"method": method, "effort": "fast", "trust": "none", "levels": levels(distance, flow)}
    settings = RegisterSettings.model_validate(content)
    if settings.learnt():
        found = register_with_network(case.fixed, case.moving, settings=settings)[0]
    else:
        found = register_clouds(case.fixed, case.moving, settings=settings)
    rows = np.random.default_rng(0).permutation(len(case.fixed))[:SCORED_POINTS]
    return float(np.linalg.norm((found.moved_points - case.targets)[rows], axis=1).mean())


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--network", choices=NETWORKS, default="unet")
    made.add_argument("--points", type=int, default=30_000, help="most points of each cloud")
    made.add_argument("--most", type=int, help="only the first cases")
    given = made.parse_args()
    kept = DOCS / "networks" / "grids.csv"
    rows: list[dict[str, object]] = []
    if kept.exists():
        with kept.open(encoding="utf-8", newline="") as handle:
            rows += list(csv.DictReader(handle))
    done = {(row["case"], row["start"], str(row["grids"])) for row in rows}
    for case in itertools.islice(cases_of("large", None), given.most):
        seen = thinned(case, given.points)
        for distance, flow, start in itertools.product(DISTANCE_GRIDS, FLOW_GRIDS, ("divroc", given.network)):
            grids = f"{distance}/{flow}"
            if (case.name, start, grids) not in done:
                mean = error_mm(seen, start, distance, flow)
                rows.append({"case": case.name, "start": start, "grids": grids, "mean_mm": f"{mean:.4g}"})
                write_rows("networks/grids", rows)


if __name__ == "__main__":
    main()
