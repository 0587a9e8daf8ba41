"""``lcsd run``: the Snakemake command of a build."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lcsd.build.pipeline import snakemake_words
from lcsd.build.plan import Build
from lcsd.config import Config, read_yaml
from lcsd.errors import BadInputError
from lcsd.monitor.engine import SNAKEMAKE_FOLDER, look


def command(
    build: Build,
    *,
    config_file: Path | None,
    profile: str | None = None,
    cores: int | None = None,
    dry_run: bool = False,
    unlock: bool = False,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the words of the command that builds, or resumes, a build in the current folder.

    ``profile`` is a word of ``PROFILES`` or a folder; None is the profile of the environment, or the workstation's.
    ``more`` are further options of Snakemake.

    Raises ``BadInputError`` if the profile is missing, or the build was started in another folder (``other_folder``).
    """
    _check_folder(Path(build.results))
    words = snakemake_words(sys.executable, profile, more)
    words += [] if cores is None else ["--cores", str(cores)]
    words += configuration_words(build, config_file)
    words += ["--dry-run"] if dry_run else []
    return [*words, "--unlock"] if unlock else words


def configuration_words(build: Build, config_file: Path | None) -> list[str]:
    """Return the options that give Snakemake a build: its file, and names that are not those of the file."""
    words = [] if config_file is None else ["--configfile", str(config_file)]
    pairs = [f"{name}={json.dumps(value)}" for name, value in _other(build, config_file).items()]
    return [*words, "--config", *pairs] if pairs else words


def _other(build: Build, config_file: Path | None) -> dict[str, str | None]:
    """Return manifest, candidates and results of a build that are not those of its configuration file."""
    file = {} if config_file is None else read_yaml(config_file)
    own = build.config.model_dump(mode="json", include={"manifest", "candidates", "results"})
    file.setdefault("results", Config.model_fields["results"].default)
    return {name: value for name, value in own.items() if str(file.get(name)) != str(value)}


def _check_folder(results: Path) -> None:
    """Refuse to go on with a build where Snakemake would find neither its records nor its lock."""
    if not results.is_dir() or not any(results.iterdir()) or Path(SNAKEMAKE_FOLDER).is_dir():
        return
    folder = look(results).folder
    if folder is not None:
        raise BadInputError(
            "the build was started in another folder, which has Snakemake's records of it",
            code="other_folder",
            file=results,
            expected=f"the call in {folder}",
            found=str(Path.cwd()),
            remedy="change to that folder, or name other results",
        )
