"""Judge whether both registrations of a pair are plausible, and whether they helped at its landmarks."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lcsd.build.verdicts import verdict
from lcsd.io.fields import DisplacementField, field_quality
from lcsd.io.images import Image
from lcsd.io.tables import as_number
from lcsd.settings.gates import GatesSettings

MOST_PLACES = 20_000
"""Voxels of the lungs at which two fields are compared; their mean is then known to 1 %."""


def field_figures(fields: Mapping[str, DisplacementField], lungs: Image) -> dict[str, Any]:
    """Return how often fields fold in the fixed lungs, and how far two of them differ.

    ``fields`` are over the fixed scan, by method; ``lungs`` is its mask (z, y, x) on any grid. The figures are
    ``folding_percent`` by method and ``disagreement_mm``: the mean distance of the first two fields at voxels of the
    lungs, the same ones in each call. Raises ``BadInputError`` (``no_overlap``) as :func:`field_quality`.
    """
    folding = {}
    for method, field in fields.items():
        quality = field_quality(field, mask=lungs)
        folding[method] = 100.0 * quality.folding_voxels / quality.voxels
    where = np.argwhere(lungs.array != 0)
    rows = np.random.default_rng(0).permutation(len(where))[:MOST_PLACES]
    places = lungs.grid.voxel_to_world(where[rows][:, ::-1].astype(np.float64))
    first, second = (field.at(places) for field in list(fields.values())[:2])
    return {"folding_percent": folding, "disagreement_mm": float(np.linalg.norm(first - second, axis=1).mean())}


def match_figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number of correspondences, and the share of keypoints that the last stage's check kept.

    ``report`` is the content of ``correspondences.json``; a figure that it lacks is None.
    """
    stages = [value for name, value in sorted(report.items()) if name.startswith("stage_") and isinstance(value, dict)]
    kept, tried = (as_number(stages[-1].get(name)) if stages else None for name in ("kept", "keypoints"))
    return {
        "correspondences": as_number(report.get("count")),
        "survival": None if kept is None or not tried else kept / tried,
    }


def judge_registration(
    fields: Mapping[str, Any], matches: Mapping[str, Any], settings: GatesSettings
) -> list[dict[str, Any]]:
    """Return the verdicts on the registrations of a pair, from :func:`field_figures` and :func:`match_figures`."""
    found = [
        verdict(name, matches[name], getattr(settings, name), of="corrfield")
        for name in ("correspondences", "survival")
        if matches[name] is not None
    ]
    found += [verdict("folds", value, settings.folds, of=method) for method, value in fields["folding_percent"].items()]
    found.append(verdict("disagreement_mm", fields["disagreement_mm"], settings.disagreement_mm, of="pair"))
    return found


def judge_result(evaluations: Mapping[str, Mapping[str, Any]], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return whether each registration lowered the error at the landmarks; ``evaluations`` are by method."""
    found = []
    for method, figures in evaluations.items():
        after, before = as_number(figures.get("tre_mean_mm")), as_number(figures.get("tre_before_mean_mm"))
        if after is not None and before is not None:
            found.append(verdict("tre_change_mm", after - before, settings.tre_change_mm, of=method))
    return found
