"""Figures of landmark errors over a build."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lcsd.build.inventory import Case
from lcsd.evaluation.accuracy import is_circular
from lcsd.evaluation.statistics import cumulative
from lcsd.io.plotting import BEFORE_COLOUR, FIGURE_DPI, LINE_STYLES, METHOD_COLOURS, RC, method_colours, method_name
from lcsd.report.cohort import Screened

AXIS_PERCENTILE = 99.0
"""Percentile of the errors at which curves end, so that one outlier does not squeeze all others to the left edge."""

BEFORE = "before"

BEFORE_MARK: dict[str, Any] = {"color": BEFORE_COLOUR, "markersize": 13, "markeredgewidth": 3}

DICE_BIN = 0.01

DRAWN_CASES = 50
"""Most rows of the figure of cases: a taller one is slow to load, and nobody reads it."""


def pooled_errors(cases: Sequence[Case]) -> dict[str, NDArray[np.float64]]:
    """Return the errors of all landmarks, mm: ``before``, with each case once, then each method."""
    before: list[NDArray[np.float64]] = []
    after: dict[str, list[NDArray[np.float64]]] = {}
    for case in cases:
        usable = [e for e in case.evaluations if case.counts and not is_circular(e)]
        starts = [e.before for e in usable if e.before is not None]
        before += starts[:1]
        for evaluation in usable:
            if evaluation.tre is not None:
                after.setdefault(evaluation.method, []).append(evaluation.tre)
    if not after:
        return {}
    return {BEFORE: np.concatenate(before), **{method: np.concatenate(parts) for method, parts in after.items()}}


def _label(name: str) -> str:
    return "before (rigid)" if name == BEFORE else method_name(name)


def _looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return colour and line style of every curve."""
    methods = [name for name in names if name != BEFORE]
    colours = method_colours(methods)
    # Shifted by one after each round of styles, so that 16 methods look different.
    count = len(LINE_STYLES)
    styles = {m: LINE_STYLES[(i + i // count) % count] for i, m in enumerate(methods)}
    return {BEFORE: (BEFORE_COLOUR, ":")} | {m: (colours[m], styles[m]) for m in methods}


def _draw_cumulative(axes: Axes, errors: Mapping[str, NDArray[np.float64]]) -> None:
    looks = _looks(list(errors))
    limit = max(float(np.percentile(values, AXIS_PERCENTILE)) for values in errors.values())
    for name, values in errors.items():
        ordered, percent = cumulative(values)
        colour, style = looks[name]
        axes.step(
            np.concatenate([[0.0], ordered, [max(limit, ordered[-1])]]),
            np.concatenate([[0.0], percent, [100.0]]),
            where="post",
            color=colour,
            linestyle=style,
            linewidth=2.2,
            label=_label(name),
        )
    axes.set(xlim=(0, max(limit, 1e-3)), ylim=(0, 101), xlabel="TRE (mm)")
    axes.set_ylabel("landmarks with at most this TRE (%)")
    axes.set_title("Cumulative distribution")
    axes.grid(True)
    axes.legend(loc="lower right")


def _draw_boxes(axes: Axes, errors: Mapping[str, NDArray[np.float64]]) -> None:
    looks = _looks(list(errors))
    generator = np.random.default_rng(0)  # only spreads the dots sideways
    names = list(errors)[::-1]
    for row, name in enumerate(names):
        values, colour = errors[name], looks[name][0]
        line = {"color": colour, "linewidth": 1.6}
        jitter = row + generator.uniform(-0.28, 0.28, size=len(values))
        axes.scatter(values, jitter, s=7, color=colour, alpha=0.35, linewidths=0, zorder=2)
        axes.boxplot(
            [values],
            positions=[row],
            widths=0.5,
            orientation="horizontal",
            showfliers=False,
            whis=(5, 95),
            patch_artist=True,
            zorder=3,
            boxprops={"facecolor": (1, 1, 1, 0.75), "edgecolor": colour, "linewidth": 1.6},
            medianprops={"color": colour, "linewidth": 2.4},
            whiskerprops=line,
            capprops=line,
        )
        axes.plot(values.mean(), row, marker="D", color=colour, markersize=6, zorder=4, markeredgecolor="white")
    axes.set_yticks(range(len(names)), [_label(name) for name in names])
    axes.set(xlabel="TRE (mm)", ylim=(-0.6, len(names) - 0.4))
    axes.set_xlim(left=0)
    axes.set_title("Box 25-75 %, whiskers 5-95 %, diamond mean")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)


def error_figure(cases: Sequence[Case]) -> Figure | None:
    """Return cumulative curves and box plots of landmark errors; None without landmarks."""
    errors = pooled_errors(cases)
    if not errors:
        return None
    with mpl.rc_context(RC):
        figure = Figure(figsize=(10.5, 4.0), dpi=FIGURE_DPI, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _draw_cumulative(left, errors)
        _draw_boxes(right, errors)
    return figure


def cumulative_figure(errors: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Return cumulative curves of errors, mm, by method or ``before``."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 4.4), dpi=FIGURE_DPI, layout="constrained")
        _draw_cumulative(figure.subplots(), errors)
    return figure


def case_figure(cases: Sequence[Case]) -> Figure | None:
    """Return mean errors before and after per case; None with fewer than two cases.

    Of many cases, ``DRAWN_CASES`` with the largest errors after a method are drawn; the title says so.
    """
    counted = [
        (case, [e for e in case.evaluations if not is_circular(e) and e.tre is not None])
        for case in cases
        if case.counts
    ]
    counted = [(case, evaluations) for case, evaluations in counted if evaluations]
    if len(counted) < 2:
        return None
    largest = [max(e.figures["tre_mean_mm"] for e in evaluations) for _, evaluations in counted]
    scored = [counted[row] for row in sorted(np.argsort(largest)[-DRAWN_CASES:])]
    methods = list(dict.fromkeys(e.method for _, evaluations in scored for e in evaluations))
    colours = method_colours(methods)
    markers = dict(zip(methods, "osDv^Ph", strict=False))
    with mpl.rc_context(RC):
        height = 1.2 + 0.34 * len(scored)
        figure = Figure(figsize=(10.5, height), dpi=FIGURE_DPI, layout="constrained")
        axes = figure.subplots()
        for row, (_, evaluations) in enumerate(scored):
            before = evaluations[0].figures.get("tre_before_mean_mm")
            means = [e.figures["tre_mean_mm"] for e in evaluations]
            if isinstance(before, int | float):
                axes.plot([min(means), before], [row, row], color="#cccccc", lw=2, zorder=1)
                axes.plot(before, row, "|", **BEFORE_MARK)
            for evaluation, mean in zip(evaluations, means, strict=True):
                method = evaluation.method
                axes.plot(mean, row, markers.get(method, "o"), color=colours[method], markersize=8)
        axes.plot([], [], "|", **BEFORE_MARK, label="before (rigid)")
        for method in methods:
            axes.plot([], [], markers.get(method, "o"), color=colours[method], markersize=8, label=method_name(method))
        axes.set_yticks(range(len(scored)), [case.name for case, _ in scored])
        axes.set(xlabel="mean TRE (mm)", ylim=(len(scored) - 0.5, -0.5))
        axes.set_xlim(left=0)
        axes.grid(True, axis="x")
        if len(scored) < len(counted):
            axes.set_title(f"The {len(scored)} of {len(counted)} cases with the largest errors")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(methods) + 1)
    return figure


def dice_figure(screened: Sequence[Screened]) -> Figure | None:
    """Return a histogram of the Dice of accepted training candidates; None if there are none.

    A line marks the largest Dice of a selected pair.
    """
    train = [row for row in screened if row.role == "train" and row.accepted and row.dice is not None]
    if not train:
        return None
    every = np.array([row.dice for row in train], dtype=float)
    taken = np.array([row.selected for row in train], dtype=bool)
    low, high = np.floor(every.min() / DICE_BIN), np.floor(every.max() / DICE_BIN) + 1
    edges = np.arange(low, high + 1) * DICE_BIN
    with mpl.rc_context(RC):
        figure = Figure(figsize=(10.5, 2.9), dpi=FIGURE_DPI, layout="constrained")
        axes = figure.subplots()
        axes.hist(
            [every[taken], every[~taken]],
            bins=edges.tolist(),
            stacked=True,
            color=[METHOD_COLOURS["corrfield"], "#b5b5b5"],
            label=[f"selected ({taken.sum()})", f"spare ({(~taken).sum()})"],
        )
        if taken.any() and not taken.all():
            cut = float(every[taken].max())
            axes.axvline(cut, color=BEFORE_COLOUR, linestyle="--", linewidth=1.6, label=f"cut at {cut:.3f}")
        axes.set(xlabel="Dice coefficient of the aligned lung masks", ylabel="candidates")
        axes.set_title("Candidates for training that the screening accepted")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True, axis="y")
        axes.set_axisbelow(True)
        axes.legend(loc="upper left")
    return figure
