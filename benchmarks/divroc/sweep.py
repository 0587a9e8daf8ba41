"""The study behind the defaults: one setting changed at a time, on whole, noisy and sparse clouds.

Run: python -m benchmarks.divroc.sweep demo/cohort demo/results [--real CASE --truth CSV]
"""

from matplotlib import pyplot as plt

from benchmarks.divroc.cases import spoilt
from benchmarks.divroc.study import cases_of, changed, compare, parser
from benchmarks.tables import COLOURS, write_figure, write_rows
from lcsd.settings.register import RegisterSettings

LAST = RegisterSettings().second_levels[-1].model_dump()
FIRST = [level.model_dump() for level in RegisterSettings().levels]


def last(**changes: float) -> RegisterSettings:
    """Return the defaults with the finest level changed."""
    return changed(second_levels=[LAST | changes])


VARIANTS = {
    "defaults": changed(),
    "last raster 1.0 mm": last(raster_mm=1.0),
    "last raster 2.0 mm": last(raster_mm=2.0),
    "last flow 3 mm": last(flow_mm=3.0),
    "smoothness / 3": changed(smoothness_mm2=RegisterSettings().smoothness_mm2 / 3),
    "saturation 2": changed(saturation=2.0),
    "no saturation": changed(saturation=0.0),
    "squared difference": changed(norm="l2"),
    "no balance": changed(balance=0.0),
    "start translation": changed(start="translation"),
}


def main() -> None:
    arguments = parser(__doc__).parse_args()
    whole = cases_of(arguments)
    noisy = [case for case in spoilt(whole[0]) if case.name.endswith("jitter")]
    cases = [*whole, *noisy, *cases_of(arguments, kind="keypoints")[:1]]
    rows = compare(cases, VARIANTS)
    write_rows("divroc/sweep", rows)
    names = [case.name for case in cases]
    of = {(row["variant"], row["case"]): float(str(row["mean_mm"])) for row in rows}
    figure, axes = plt.subplots(figsize=(8, 5.5))
    places = range(len(VARIANTS))
    for number, name in enumerate(names):
        values = [of[variant, name] / of["defaults", name] for variant in VARIANTS]
        axes.plot(
            values,
            places,
            "o",
            ms=4,
            color=COLOURS[number % len(COLOURS)],
            alpha=0.5 + 0.5 * (number < len(COLOURS)),
            label=name,
        )
    axes.set_yticks(list(places), list(VARIANTS))
    axes.invert_yaxis()
    axes.axvline(1, color="0.6", lw=1)
    axes.set(xlabel="mean error over that of the defaults")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    write_figure("divroc/sweep", figure)


if __name__ == "__main__":
    main()
