"""Methods case by case, in the layout of the paper's Table 3.

Run: python -m benchmarks.divroc.methods demo/cohort demo/results [--real CASE --truth CSV]
"""

from matplotlib import pyplot as plt

from benchmarks.divroc.study import cases_of, changed, compare, parser
from benchmarks.tables import COLOURS, write_figure, write_rows

VARIANTS = {
    "affine start": changed(effort="none"),
    "CPD": changed(method="cpd"),
    "Optimal transport": changed(method="ot"),
    "Chamfer": changed(method="chamfer", max_points=20_000),
    "DiVRoC fast": changed(effort="fast"),
    "DiVRoC 2x Adam": changed(),
    "DiVRoC symmetric": changed(symmetric=True),
    "2x Adam + kNN": changed(extrapolator="knn"),
    "2x Adam + TPS": changed(extrapolator="tps"),
    "2x Adam + splats": changed(extrapolator="divroc"),
}


def main() -> None:
    cases = cases_of(parser(__doc__).parse_args())
    rows = compare(cases, VARIANTS)
    write_rows("divroc/methods", rows)
    means = [row for row in rows if row["case"] == "mean"]
    figure, axes = plt.subplots(figsize=(7, 3.6))
    axes.barh([row["variant"] for row in means], [row["mean_mm"] for row in means], color=COLOURS[0])
    axes.invert_yaxis()
    axes.set(xlabel="mean error at lung points, mm", title=f"{len(cases)} pairs of dense clouds")
    axes.bar_label(axes.containers[0], fmt="%.2f", padding=3)
    axes.margins(x=0.12)
    write_figure("divroc/methods", figure)


if __name__ == "__main__":
    main()
