"""What a build remembers: its configuration and its cases, so that its folder is enough to ask about it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lcsd.build.jobs import BuildFiles
from lcsd.build.pairs import PATH_COLUMNS, Pair, read_pairs
from lcsd.build.plan import Build
from lcsd.config import read_yaml
from lcsd.errors import BadInputError
from lcsd.io.files import write_table, write_text
from lcsd.names import is_series_uid


def record(build: Build) -> None:
    """Write the configuration of a build and a copy of its manifest into its results.

    ``build/config.yaml`` has all settings; ``manifest`` and ``results`` are as they were given, relative to the folder
    in which snakemake was started. ``build/pairs.tsv`` has the cases of the manifest with paths relative to itself.
    The cases of a selection are in ``cohort/pairs.tsv``.
    """
    files = build.files
    files.recorded_config.parent.mkdir(parents=True, exist_ok=True)
    write_text(files.recorded_config, yaml.safe_dump(build.config.model_dump(mode="json"), sort_keys=False))
    if build.given:
        rows = [_movable(pair, files.recorded_pairs.parent) for pair in build.given.values()]
        write_table(files.recorded_pairs, list(Pair.model_fields), rows)


def _movable(pair: Pair, folder: Path) -> dict[str, object]:
    """Return a row of the manifest with paths relative to ``folder``."""
    return _row(pair, lambda path: os.path.relpath(path.absolute(), folder.resolve()))


def _row(pair: Pair, place: Callable[[Path], str]) -> dict[str, object]:
    """Return the filled cells of a row, with ``place`` of each path."""
    row = {name: value for name, value in pair.model_dump(mode="json").items() if value is not None}
    for name in PATH_COLUMNS:
        if name in row and not is_series_uid(str(row[name])):
            row[name] = place(Path(str(row[name])))
    return row


def recorded(results: Path) -> Build | None:
    """Return the build whose results are in a folder, as it was last started; None if it is not known.

    The manifest is that of :func:`recorded_manifest`. A build that selects its cases is not known while its table of
    candidates cannot be found and nothing is selected. Raises ``BadInputError`` if a recorded file is broken, or has
    settings that this version does not know.
    """
    files = BuildFiles(results)
    if not files.recorded_config.is_file():
        return None
    content = read_yaml(files.recorded_config)
    if content.get("candidates") is not None:
        table = _found(results, content, "candidates")
        if table is None and not files.pairs.is_file():
            return None
        named = {"candidates": table and str(table), "manifest": None if table else str(files.pairs)}
    else:
        named = {"manifest": str(recorded_manifest(results))}
    return Build.from_config(content | named | {"results": str(results)})


def recorded_manifest(results: Path) -> Path | None:
    """Return the manifest of a build: that of its selection, or the recorded one; None if it has neither.

    The recorded one is the table with which the build was started if it is still there and unchanged, else the copy in
    the results. Raises ``BadInputError`` if a recorded file is broken.
    """
    files = BuildFiles(results)
    if files.pairs.exists():
        return files.pairs
    if not (files.recorded_config.is_file() and files.recorded_pairs.is_file()):
        return None
    given = _found(results, read_yaml(files.recorded_config), "manifest")
    if given is None or _cases(given) != _cases(files.recorded_pairs):
        return files.recorded_pairs
    return given


def _cases(manifest: Path) -> list[dict[str, object]] | None:
    """Return the cases of a manifest with the paths behind all links; None if it cannot be read."""
    try:
        return [_row(pair, os.path.realpath) for pair in read_pairs(manifest)]
    except BadInputError:
        return None


def _found(results: Path, content: Mapping[str, Any], key: str) -> Path | None:
    """Return a table that a recorded configuration names; None if it is not there, or its folder is not known.

    Relative names are relative to the folder in which snakemake was started: the place of the results without their
    name in the configuration.
    """
    name, inside = Path(str(content.get(key))), Path(str(content.get("results")))
    if name.is_absolute():
        return name if name.is_file() else None
    for place in (results.absolute(), results.resolve()):
        count = len(inside.parts)
        if not inside.is_absolute() and count and place.parts[-count:] == inside.parts:
            folder = Path(*place.parts[:-count])
            table = name if folder == Path.cwd() else folder / name
            if table.is_file():
                return table
    # The caller holds a manifest against the copy, so one of this folder may be tried.
    return name if key == "manifest" and name.is_file() else None
