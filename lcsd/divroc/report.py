"""What ``lcsd register`` writes about a registration."""

from dataclasses import replace
from typing import Any

import numpy as np

from lcsd.divroc.register import RegistrationResult
from lcsd.points import Cloud


def moved_cloud(fixed: Cloud, result: RegistrationResult) -> Cloud:
    """Return the fixed cloud at its moved places, per-point arrays kept."""
    return replace(fixed, points=result.moved_points, meta={**fixed.meta, "stage": "register"})


def summary(fixed: Cloud, moving: Cloud, result: RegistrationResult) -> dict[str, Any]:
    """Return the figures of a registration, JSON-serialisable, units in the names."""
    length = np.linalg.norm(result.displacements.astype(np.float64), axis=1)
    return {
        "fixed_points": len(fixed),
        "moving_points": len(moving),
        "iterations": result.iterations,
        "distance": list(result.loss),
        "distance_final": result.loss[-1],
        "displacement_mean_mm": float(length.mean()),
        "displacement_max_mm": float(length.max()),
        "folding_percent": result.folding_percent,
        "std_log_jacobian": result.std_log_jacobian,
    }
