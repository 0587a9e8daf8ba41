"""Gates: verdicts on the plausibility of a result. Data, not failures."""

from typing import Any

from lcsd.settings.gates import Limits


def verdict(name: str, value: float, limits: Limits, *, of: str) -> dict[str, Any]:
    """Return the verdict whether a figure lies within limits.

    Parameters
    ----------
    name
        Name of the gate, which is the reason when it fails.
    value
        The figure.
    of
        What it was measured on, such as a scan.

    Returns
    -------
    dict
        ``name``, ``of``, ``value``, the four limits, ``passed``, and ``flagged``: passed, but
        unusual.
    """

    def within(least: float | None, most: float | None) -> bool:
        return (least is None or value >= least) and (most is None or value <= most)

    passed = within(limits.least, limits.most)
    flagged = passed and not within(limits.usual_least, limits.usual_most)
    return {
        "name": name, "of": of, "value": value, **limits.model_dump(), "passed": passed,
        "flagged": flagged,
    }  # fmt: skip
