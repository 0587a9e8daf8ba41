"""``methods.json``: settings and versions of the published cases, without paths and names of series."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from lcsd.build.inventory import Run
from lcsd.build.records import GIVEN

SILENT = frozenset({"threads", "device", "seed", "series_uid", "fetch"})
"""Settings that do not change the result, or that name a series."""

MADE_BY = {"lungs": "method", "vessels": "backend"}
"""Settings with the method of files that a user may also give."""


def _clean(value: Any) -> Any:
    """Return a setting without silent keys and without texts that look like paths."""
    if isinstance(value, dict):
        inner = {key: _clean(item) for key, item in value.items() if key not in SILENT}
        return {key: item for key, item in inner.items() if item is not None}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return None if isinstance(value, str) and "/" in value else value


def methods(runs: Iterable[Run]) -> dict[str, Any]:
    """Return settings by stage and versions by package of the runs that made the cases.

    For files from a user, the method is ``given`` and there are no other settings. If runs differ, a setting is a list
    of all its values under ``differs``.
    """
    values: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    versions: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        given = {MADE_BY[run.stage]: GIVEN} if run.given and run.stage in MADE_BY else None
        for key, value in (given or _clean(dict(run.settings))).items():
            if value not in values[run.stage][key]:
                values[run.stage][key].append(value)
        for package, number in run.versions.items():
            versions[package].add(number)
    settings = {
        stage: {
            key: found[0] if len(found) == 1 else {"differs": sorted(found, key=repr)} for key, found in keys.items()
        }
        for stage, keys in values.items()
    }
    return {"settings": settings, "versions": {package: sorted(found) for package, found in versions.items()}}
