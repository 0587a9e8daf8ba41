"""Verdicts of gates on the plausibility of a result. A failed gate is not an error."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd.io.files import read_json
from lcsd.io.tables import as_number
from lcsd.settings.gates import GATE_PARTS, GatesSettings, Limits
from lcsd.settings.register import RegisterSettings

GATE_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
"""Name of a gate, which is part of a reason code."""

REGISTRATION_GATES = frozenset({"untrusted_share"})
"""Gates in the figures of the registration, by their settings in its section; all others are in ``gates.json``."""


def gate_part(name: str) -> str:
    """Return what a gate judges, such as ``lungs``; ``case`` for an unknown gate."""
    if name in REGISTRATION_GATES:
        return "registration"
    return next((part for part, section in GATE_PARTS.items() if name in section.model_fields), "case")


def gate_description(name: str) -> str:
    """Return what a gate measures, from its setting; empty for an unknown gate."""
    section = RegisterSettings if name in REGISTRATION_GATES else GatesSettings
    field = section.model_fields.get(name)
    return (field.description or "") if field else ""


@dataclass(frozen=True)
class Verdict:
    """Whether a figure of a case is plausible and usual; see :func:`verdict`."""

    name: str  # name of the gate
    of: str  # object of the figure, such as a scan
    value: float
    # low, high: limits of plausible figures; None is no limit
    low: float | None
    high: float | None
    # usual_low, usual_high: limits of usual figures
    usual_low: float | None
    usual_high: float | None
    passed: bool
    flagged: bool  # plausible but unusual


def read_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts on a case; raise ``ValueError`` if they are not valid."""
    return _verdicts(read_json(path).get("gates"))


def read_keeps_flagged(path: Path) -> bool:
    """Return whether a build keeps flagged cases, as its gates recorded (``gates.keep_flagged``)."""
    return read_json(path).get("keep_flagged") is True


def read_quality(path: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of registrations without landmarks, by method; empty if the gates recorded none.

    Raises ``ValueError`` if they are not valid.
    """
    figures = read_json(path).get("figures", {}).get("registration", {}).get("quality", {})
    if not isinstance(figures, dict) or not all(isinstance(part, dict) for part in figures.values()):
        raise ValueError("figures.registration.quality is no table of methods")
    return figures


def read_registration_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts in the figures of a registration; none if they have no ``gates``, as those of old builds.

    Raises ``ValueError`` if they are not valid.
    """
    return _verdicts(read_json(path).get("gates", []))


def _verdicts(gates: object) -> list[Verdict]:
    if not isinstance(gates, list):
        raise ValueError("gates is missing or not a list")
    return [_verdict(gate, f"gate {number}") for number, gate in enumerate(gates, 1)]


def _verdict(gate: object, where: str) -> Verdict:
    if not isinstance(gate, dict):
        raise ValueError(f"{where} is not an object")
    name, value = gate.get("name"), as_number(gate.get("value"))
    if not isinstance(name, str) or not GATE_PATTERN.fullmatch(name):
        raise ValueError(f"{where}: name is missing or not a gate's: {name!r}")
    if value is None:
        raise ValueError(f"{where}: value is missing or not a number: {gate.get('value')!r}")
    limits = {key: gate.get(key) for key in ("low", "high", "usual_low", "usual_high")}
    known = {key: as_number(limit) for key, limit in limits.items()}
    for key, limit in limits.items():
        if limit is not None and known[key] is None:
            raise ValueError(f"{where}: {key} is neither a number nor null: {limit!r}")
    passed, flagged = gate.get("passed"), gate.get("flagged")
    if not isinstance(passed, bool) or not isinstance(flagged, bool):
        raise ValueError(f"{where}: passed or flagged is neither true nor false")
    of = " ".join(str(gate.get("of", "")).split())
    return Verdict(name, of, value, **known, passed=passed, flagged=flagged)


def in_range(name: str, value: float, *, low: float | None, high: float | None) -> dict[str, Any]:
    """Return the verdict whether a figure is within limits; None is no limit.

    Its keys are ``name``, ``value``, ``low``, ``high`` and ``passed``.
    """
    passed = (low is None or value >= low) and (high is None or value <= high)
    return {"name": name, "value": value, "low": low, "high": high, "passed": passed}


def verdict(name: str, value: float, limits: Limits, *, of: str) -> dict[str, Any]:
    """Return the verdict whether a figure of an object, such as a scan, is plausible, and whether it is usual.

    Its keys are those of :func:`in_range`, and ``of``, ``usual_low``, ``usual_high`` and ``flagged`` (passed, but
    unusual).
    """
    found = in_range(name, value, low=limits.min, high=limits.max)
    usual = in_range(name, value, low=limits.warn_below, high=limits.warn_above)
    return {
        **found,
        "of": of,
        "usual_low": usual["low"],
        "usual_high": usual["high"],
        "flagged": found["passed"] and not usual["passed"],
    }
