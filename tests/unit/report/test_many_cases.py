"""A build under many names, on which the report is measured."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.report import multiplied


def test_cases_are_links_under_new_names_in_turn(tmp_path: Path, make_case: Callable[..., Path]) -> None:
    first, second = make_case("a"), make_case("b", landmarks=False, seed=1)
    results = first.parents[1]
    made = multiplied(results, tmp_path / "many", 5) / "cases"
    assert sorted(path.name for path in made.iterdir()) == [f"case-{number:04d}" for number in range(5)]
    file = Path("clouds") / "fixed_dense.npz"
    for number, case in enumerate((first, second, first, second, first)):
        assert (made / f"case-{number:04d}" / file).samefile(case / file)
    assert sorted(path.name for path in results.joinpath("cases").iterdir()) == ["a", "b"]
