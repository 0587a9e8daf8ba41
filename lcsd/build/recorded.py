"""What a build remembers: its configuration and its cases, so that its folder is enough to ask about it."""

import os
from pathlib import Path

import yaml

from lcsd.build.jobs import BuildFiles
from lcsd.build.pairs import PATH_COLUMNS, Pair
from lcsd.build.plan import Build
from lcsd.config import read_yaml
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
    row = {name: value for name, value in pair.model_dump(mode="json").items() if value is not None}
    for name in PATH_COLUMNS:
        if name in row and not is_series_uid(str(row[name])):
            row[name] = os.path.relpath(row[name], folder)
    return row


def recorded(results: Path) -> Build | None:
    """Return the build whose results are in a folder, as it was last started; None if it recorded nothing.

    The manifest is the one that the build was started with if it is still there, else the copy in the results.
    Raises ``BadInputError`` if a recorded file or the manifest is broken.
    """
    files = BuildFiles(results)
    if not files.recorded_config.is_file():
        return None
    content = read_yaml(files.recorded_config)
    started = _started_in(results, Path(str(content.get("results", ""))))
    table = next((name for name in ("manifest", "candidates") if content.get(name) is not None), None)
    given = None if table is None else started / str(content[table])
    if table is not None and given is not None and given.is_file():
        content[table] = str(given)
    else:
        content |= {"candidates": None, "manifest": str(files.pairs if table == "candidates" else files.recorded_pairs)}
    return Build.from_config(content | {"results": str(results)})


def _started_in(results: Path, named: Path) -> Path:
    """Return the folder in which snakemake was started, from the results' place and their name in the configuration.

    It is the empty path, this folder, if the place does not end with the name.
    """
    place, count = results.resolve(), len(named.parts)
    if named.is_absolute() or not count or place.parts[-count:] != named.parts:
        return Path()
    folder = Path(*place.parts[:-count])
    return Path() if folder == Path.cwd() else folder


def recorded_manifest(results: Path) -> Path | None:
    """Return the manifest of a build: that of its selection, or the recorded one; None if it has neither."""
    files = BuildFiles(results)
    if files.pairs.exists():
        return files.pairs
    build = recorded(results)
    return None if build is None else Path(build.manifest)
