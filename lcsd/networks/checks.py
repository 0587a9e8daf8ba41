"""What a training is refused for, before it begins."""

import re

from lcsd.errors import BadInputError
from lcsd.settings.train import TrainSettings

PHANTOMS = re.compile(r"phantom:(\d+)(?:-(\d+))?")


def phantom_seeds(text: str, *, option: str) -> range:
    """Return the seeds in ``phantom:FIRST-LAST`` or ``phantom:SEED``; ``BadInputError`` (``bad_pairs``) otherwise."""
    found = PHANTOMS.fullmatch(text)
    seeds = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
    if not seeds:
        raise BadInputError(
            "not a range of phantoms",
            code="bad_pairs",
            field=option,
            expected="phantom:FIRST-LAST, or the folder of a release or a build",
            found=text,
            remedy="for example phantom:0-199",
        )
    return seeds


def check_apart(seeds: range, held_out: range) -> None:
    """Refuse phantoms that are both trained on and held out."""
    shared = set(seeds) & set(held_out)
    if shared:
        raise BadInputError(
            "phantoms are both trained on and held out",
            code="bad_pairs",
            field="validation",
            expected="other seeds than --pairs",
            found=f"{len(shared)} shared, {min(shared)} the first",
            remedy="choose other seeds for one of them",
        )


def check_loss(settings: TrainSettings, *, truth: bool, teacher: bool) -> None:
    """Refuse a loss that needs the truth, which cases do not have, and one that a teacher's labels do not fit."""
    if teacher and settings.loss != "supervised":
        raise BadInputError(
            "a teacher's motion is learnt as if it were the truth",
            code="bad_option",
            field="--loss",
            expected="supervised with --teacher",
            found=settings.loss,
            remedy="leave out --loss, or --teacher",
        )
    if not truth and not teacher and settings.loss != "divroc":
        raise BadInputError(
            "nobody knows the motion of these pairs",
            code="no_truth",
            field="--loss",
            expected="divroc",
            found=settings.loss,
            remedy="add --loss divroc, or --teacher shipped, or train on phantoms: --pairs phantom:0-199",
        )
