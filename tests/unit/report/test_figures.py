"""Error figures: what is drawn is what was measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lcsd.build.inventory import Case, Evaluation
from lcsd.io.plotting import render
from lcsd.report.figures import DRAWN_CASES, case_figure, cumulative_figure, error_figure, pooled_errors

EMPTY = Case(name="a", folder=Path("a"), role="test", status="done")


def scored(name: str, count: int, *, methods: tuple[str, ...] = ("corrfield", "divroc")) -> Case:
    rng = np.random.default_rng(count)
    before = rng.uniform(5, 15, count)
    evaluations = []
    for rank, method in enumerate(methods):
        tre = rng.uniform(0, 2 + rank, count)
        figures = {"tre_mean_mm": tre.mean(), "tre_before_mean_mm": before.mean()}
        evaluations.append(Evaluation(method, figures, tre, before))
    return replace(EMPTY, name=name, evaluations=tuple(evaluations))


def test_before_is_pooled_once_per_case() -> None:
    errors = pooled_errors([scored("a", 10), scored("b", 7)])
    assert list(errors) == ["before", "corrfield", "divroc"]
    assert {name: len(values) for name, values in errors.items()} == {"before": 17, "corrfield": 17, "divroc": 17}


def test_case_that_does_not_count_is_not_drawn() -> None:
    errors = pooled_errors([scored("a", 10), replace(scored("b", 7), status="rejected")])
    assert len(errors["before"]) == 10


def test_curves_end_at_hundred_percent_and_axes_have_units() -> None:
    figure = error_figure([scored("a", 25, methods=("corrfield", "divroc", "mine"))])
    assert figure is not None
    left, right = figure.axes
    assert len(left.lines) == 4
    for line in left.lines:
        x, y = line.get_data()
        assert y[-1] == 100.0
        assert (np.diff(y) >= 0).all()
        assert (np.diff(x) >= 0).all()
    assert left.get_xlabel() == right.get_xlabel() == "TRE (mm)"
    assert len({line.get_color() for line in left.lines}) == 4
    assert render(figure, "png").startswith(b"\x89PNG")


def test_one_landmark_is_enough() -> None:
    figure = error_figure([scored("a", 1)])
    assert figure is not None
    render(figure, "png")


def test_nothing_to_draw() -> None:
    assert error_figure([EMPTY]) is None
    assert case_figure([scored("a", 5), EMPTY]) is None


def test_every_case_has_its_row() -> None:
    figure = case_figure([scored("a", 5), scored("b", 6), EMPTY])
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert render(figure, "jpg").startswith(b"\xff\xd8")


def test_of_many_cases_those_with_the_largest_errors_are_drawn() -> None:
    cases = [scored(f"case {number}", 5) for number in range(DRAWN_CASES + 7)]
    rng = np.random.default_rng(0)
    means = rng.permutation(len(cases)).astype(float)
    for case, mean in zip(cases, means, strict=True):
        case.evaluations[1].figures["tre_mean_mm"] = mean
    figure = case_figure(cases)
    assert figure is not None
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [case.name for case, mean in zip(cases, means, strict=True) if mean >= 7]
    assert figure.axes[0].get_title(loc="left") == f"The {DRAWN_CASES} of {len(cases)} cases with the largest errors"


def test_curves_of_many_methods_differ_and_before_is_optional() -> None:
    errors = {f"build/{number}": np.array([1.0, 2.0 + number]) for number in range(12)}
    axes = cumulative_figure(errors).axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 12
    assert len(cumulative_figure({"before": np.array([5.0]), **errors}).axes[0].lines) == 13
