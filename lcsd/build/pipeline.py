"""Where the workflow is: the Snakefile, its rules and its profiles, in a checkout or in the installed package."""

import os
from collections.abc import Sequence
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.files import require_folder

PACKAGE = Path(__file__).resolve().parents[1]

SNAKEFILE = "Snakefile"

PROFILES = ("workstation", "slurm")
"""Profiles that work from any folder. That of Kubernetes calls its scripts by paths in a checkout."""

PROFILE_VARIABLE = "SNAKEMAKE_PROFILE"
"""Variable in which Snakemake itself looks for a profile."""


def root(package: Path = PACKAGE) -> Path:
    """Return the folder with the Snakefile: ``pipeline/`` of an installed package, or the checkout around it.

    ``package`` is the folder of lcsd's code. Raises ``BadInputError`` (``no_workflow``) if neither has a Snakefile.
    """
    for place in (package / "pipeline", package.parent):
        if (place / SNAKEFILE).is_file():
            return place
    raise BadInputError(
        "the installed package has no workflow",
        code="no_workflow",
        file=package / "pipeline" / SNAKEFILE,
        remedy="install the wheel again, or a checkout with pip install --editable",
    )


def profile_folder(name: str) -> Path:
    """Return the folder of one of lcsd's own profiles."""
    return root() / "workflow" / "profiles" / name


def snakemake_words(python: str, profile: str | None, more: Sequence[str]) -> list[str]:
    """Return the first words of a call of Snakemake with lcsd's workflow.

    ``profile`` is a word of :data:`PROFILES` or a folder; None is the profile of the environment, or else the
    workstation's. ``more`` are the user's options. Raises ``BadInputError`` if the profile is no folder.
    """
    # Users' options come first, since some of them take all words up to the next option.
    words = [python, "-m", "snakemake", *more, "--snakefile", str(root() / SNAKEFILE)]
    if profile is None and os.environ.get(PROFILE_VARIABLE):
        return words
    if profile is None or profile in PROFILES:
        return [*words, "--profile", str(profile_folder(profile or PROFILES[0]))]
    expected = f"{', '.join(PROFILES)}, or a folder with config.yaml"
    require_folder(Path(profile), expected, field="--profile")
    return [*words, "--profile", profile]
