"""Gates: verdicts on the plausibility of a result. Data, not failures."""

from typing import Any


def in_range(name: str, value: float, *, low: float | None, high: float | None) -> dict[str, Any]:
    """Return the verdict whether a figure lies within limits; a limit of None is off.

    Returns
    -------
    dict
        ``name``, ``value``, ``low``, ``high`` and ``passed``.
    """
    passed = (low is None or value >= low) and (high is None or value <= high)
    return {"name": name, "value": value, "low": low, "high": high, "passed": passed}
