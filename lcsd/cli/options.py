"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from lcsd.settings.base import Settings
from lcsd.settings.workflow import WorkflowSettings

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
"""Paths are checked by the library, which says more than click can."""

JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")

THREADS = click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="CPU threads to use.",
)

SEED = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random generator."
)

REJECTED = click.option(
    "--rejected", type=FILE, help="Record a failure in this file (the workflow uses CASE/rejected.json)."
)

SERIES_DIR = click.option(
    "--series-dir", type=FILE, help="Folder of downloaded series. A source that is a series UID is fetched to it first."
)

DIRECTORY = click.option(
    "--directory",
    type=FILE,
    help="Folder in which snakemake was started.  [default: the current folder or one above the results]",
)


BUILD_CONFIG = click.option("--config", "config_file", type=FILE, help="Configuration of the build, as for snakemake.")

BUILD_MANIFEST = click.option("--manifest", type=FILE, help="Pairs manifest; replaces the one of the configuration.")

PROFILE = click.option(
    "--profile",
    "profile_file",
    type=FILE,
    help="Snakemake profile with threads, memory and limits.  [default: workflow/profiles/workstation]",
)


def settings_options(section: str, *also: str) -> Callable[[F], F]:
    """Return a decorator that adds ``--config``, ``--settings`` and ``--set`` for a section and those ``also``."""
    sections = f"sections {', '.join((section, *also))}" if also else f"section {section}"
    others = f" For another section: {also[0]}.KEY=VALUE." if also else ""
    options = (
        click.option("--config", "config_file", type=FILE, help=f"Configuration file (.yaml) with the {sections}."),
        click.option(
            "--settings",
            "documents",
            multiple=True,
            metavar="JSON",
            help="Change settings by a JSON object: '{\"KEY\": VALUE}'. Repeatable; wins over --config.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help=f"Change one setting; the value is YAML. Repeatable; wins over --config and --settings.{others}",
        ),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def words_of(kind: object) -> click.Choice[str]:
    """Return the words of a ``Literal`` type as the values that an option takes."""
    return click.Choice(get_args(kind))


def choice(name: str, kind: object, help_text: str, *, default: str | None = None) -> Callable[[F], F]:
    """Return an option that takes one word of a ``Literal`` type."""
    return click.option(name, type=words_of(kind), default=default, show_default=default is not None, help=help_text)


def setting(name: str, settings: type[Settings], help_text: str) -> Callable[[F], F]:
    """Return an option for the setting of the same name, whose type is a ``Literal``."""
    kind = settings.model_fields[name.removeprefix("--")].annotation
    return choice(name, kind, f"{help_text}  [default: the setting {name.removeprefix('--')}]")


def field_mm(of: str) -> Callable[[F], F]:
    """Return the option ``--field-mm``; ``of`` names the image whose extent the field covers."""
    return click.option(
        "--field-mm",
        type=click.FloatRange(min=0, min_open=True),
        help=f"Spacing of the field over the extent of {of}, mm.  [default: its voxels]",
    )


DEVICE = choice("--device", WorkflowSettings.model_fields["device"].annotation, "Where to compute.", default="cpu")
