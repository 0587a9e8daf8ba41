"""Gates: verdicts on the plausibility of a result. Data, not failures."""

from typing import Any

from lcsd.settings.gates import Limits


def in_range(name: str, value: float, *, low: float | None, high: float | None) -> dict[str, Any]:
    """Return the verdict whether a figure lies within limits; a limit of None is off.

    Returns
    -------
    dict
        ``name``, ``value``, ``low``, ``high`` and ``passed``.
    """
    passed = (low is None or value >= low) and (high is None or value <= high)
    return {"name": name, "value": value, "low": low, "high": high, "passed": passed}


def verdict(name: str, value: float, limits: Limits, *, of: str) -> dict[str, Any]:
    """Return the verdict whether a figure is plausible, and whether it is usual.

    Parameters
    ----------
    of
        What the figure was measured on, such as a scan.

    Returns
    -------
    dict
        As :func:`in_range`, and ``of``, ``usual_low``, ``usual_high`` and ``flagged``: passed, but
        unusual.
    """
    found = in_range(name, value, low=limits.least, high=limits.most)
    usual = in_range(name, value, low=limits.usual_least, high=limits.usual_most)
    return {
        **found, "of": of, "usual_low": usual["low"], "usual_high": usual["high"],
        "flagged": found["passed"] and not usual["passed"],
    }  # fmt: skip
