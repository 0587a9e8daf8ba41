"""Error against the grids of distance and regulariser (the paper's Table 2).

Run: python -m benchmarks.divroc.grids demo/cohort demo/results [--real CASE --truth CSV]

The edge of a grid is counted along a chest of 300 mm; both grids are used from a coarse level of 10 mm on.
"""

import numpy as np
from matplotlib import pyplot as plt

from benchmarks.divroc.study import cases_of, changed, compare, parser
from benchmarks.tables import write_figure, write_rows

CHEST_MM = 300.0
DISTANCE_GRIDS = (38, 51, 62, 76, 114, 152)
FLOW_GRIDS = (30, 50, 75)


def levels(distance: int, flow: int) -> list[dict[str, float]]:
    """Return a coarse level and one at the grids asked for."""
    raster_mm, flow_mm = CHEST_MM / distance, CHEST_MM / flow
    coarse = {"raster_mm": max(6.0, raster_mm), "flow_mm": max(10.0, flow_mm)}
    fine = {"raster_mm": raster_mm, "flow_mm": flow_mm}
    return [level | {"sigma_voxels": 0.8, "iterations": 40} for level in (coarse, fine)]


def main() -> None:
    cases = cases_of(parser(__doc__).parse_args())
    variants = {
        f"{distance}/{flow}": changed(effort="fast", levels=levels(distance, flow))
        for distance in DISTANCE_GRIDS
        for flow in FLOW_GRIDS
    }
    rows = compare(cases, variants)
    write_rows("divroc/grids", rows)
    means = [float(str(row["mean_mm"])) for row in rows if row["case"] == "mean"]
    table = np.reshape(means, (len(DISTANCE_GRIDS), len(FLOW_GRIDS)))
    figure, axes = plt.subplots(figsize=(4.6, 4.4))
    axes.imshow(table, cmap="viridis_r", aspect="auto")
    axes.set_xticks(range(len(FLOW_GRIDS)), [f"{n}^3" for n in FLOW_GRIDS])
    axes.set_yticks(range(len(DISTANCE_GRIDS)), [f"{n}^3" for n in DISTANCE_GRIDS])
    axes.set(xlabel="displacement grid", ylabel="distance raster", title="mean error, mm")
    for (row, column), value in np.ndenumerate(table):
        shade = "white" if value > table.mean() else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=shade)
    write_figure("divroc/grids", figure)


if __name__ == "__main__":
    main()
