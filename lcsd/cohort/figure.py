"""Plot the funnel: one bar per step, with the patients left."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from lcsd.cohort.rules import Step
from lcsd.io.plotting import BASE_FONT_PT, METHOD_COLOURS

INCHES_PER_STEP = 0.42
LEFT_COLOUR = METHOD_COLOURS["corrfield"]
SAMPLED_COLOUR = METHOD_COLOURS["divroc"]


def funnel_figure(steps: Sequence[Step]) -> Figure:
    """Return a bar chart of the patients left after every step."""
    figure = Figure(figsize=(9.0, 1.2 + INCHES_PER_STEP * len(steps)), layout="constrained")
    axes = figure.subplots()
    counts = [step.patients for step in steps]
    sampled = [step.name in ("train", "test_pool") for step in steps]
    colours = [SAMPLED_COLOUR if drawn else LEFT_COLOUR for drawn in sampled]
    places = range(len(steps))
    axes.barh(places, counts, color=colours)
    widest = max(*counts, 1)
    for place, count in zip(places, counts, strict=True):
        axes.text(count + 0.01 * widest, place, f"{count:,}", va="center", fontsize=BASE_FONT_PT - 1)
    axes.set_yticks(places, [step.text for step in steps], fontsize=BASE_FONT_PT - 1)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * widest)
    axes.set_xlabel("patients left (blue) or sampled (orange)", fontsize=BASE_FONT_PT)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
