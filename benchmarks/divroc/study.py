"""What the studies on cases share: the command line and the loop over cases and settings."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.divroc.cases import Case, phantom_cases, real_case, score
from lcsd.settings.register import RegisterSettings

Row = dict[str, object]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser for a phantom build and, optionally, a build of a case with known truth."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("cohort", type=Path, help="phantom cohort, such as demo/cohort")
    made.add_argument("results", type=Path, help="its build, such as demo/results")
    made.add_argument("--cases", type=int, help="phantom pairs that take part; all if not given")
    made.add_argument("--real", type=Path, help="folder of a built case with known motion")
    made.add_argument("--truth", type=Path, help="its table of native fixed and moving points")
    return made


def cases_of(arguments: argparse.Namespace, *, kind: str = "dense") -> list[Case]:
    """Return the cases that the command line names."""
    cases = phantom_cases(arguments.cohort, arguments.results, kind=kind)[: arguments.cases]
    if arguments.real is not None and kind == "dense":
        cases.append(real_case(arguments.real, arguments.truth))
    return cases


def changed(**changes: object) -> RegisterSettings:
    """Return the default settings with some changes, without expected errors: no study looks at them."""
    return RegisterSettings(**{**RegisterSettings().model_dump(), "trust": "none", **changes})


def compare(cases: Sequence[Case], variants: Mapping[str, RegisterSettings]) -> list[Row]:
    """Return one row per variant and case, and one for the mean over the cases."""
    score(cases[0], changed(effort="fast"))  # compiles
    rows: list[Row] = []
    for name, settings in variants.items():
        scores = [score(case, settings) for case in cases]
        for case, found in zip(cases, scores, strict=True):
            truth = case.std_log_jacobian
            row: Row = {"variant": name, "case": case.name, "before_mm": case.before_mm}
            row |= vars(found)
            rows.append(row | {"truth_std_log_jacobian": "" if truth is None else truth})
        means = {key: float(np.mean([vars(s)[key] for s in scores])) for key in vars(scores[0])}
        before = float(np.mean([case.before_mm for case in cases]))
        rows.append({"variant": name, "case": "mean", "before_mm": before, **means, "truth_std_log_jacobian": ""})
        print(name, f"{means['mean_mm']:.3f} mm", f"{means['seconds']:.1f} s", flush=True)
    return rows
