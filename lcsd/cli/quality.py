"""``lcsd quality``: what can be said of a registration of scans without landmarks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.cli.common import Shown, aligned, set_threads, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, THREADS
from lcsd.errors import BadInputError
from lcsd.io.files import write_json, written_files

if TYPE_CHECKING:
    from lcsd.io.images import Image

STRUCTURES = ("lungs", "lobes", "vessels")
"""Options that take a mask or label map of each scan."""


@click.command(
    epilog="Example: lcsd quality --transform field.nii.gz --lungs fixed_mask.nii.gz moving_mask.nii.gz "
    "--images fixed.nii.gz moving.nii.gz"
)
@click.option(
    "--transform",
    "transforms",
    type=FILE,
    multiple=True,
    help="Field or ITK transform of fixed to moving points. Repeatable, in the order in which they move a point of the "
    "fixed scan.  [default: none, so that the scans are compared as they are]",
)
@click.option("--inverse", "back", type=FILE, multiple=True, help="The same of moving to fixed points. Repeatable.")
@click.option("--lungs", type=FILE, nargs=2, required=True, help="Lung masks of the fixed and the moving scan.")
@click.option("--lobes", type=FILE, nargs=2, help="Label maps of the lobes of both scans.")
@click.option("--vessels", type=FILE, nargs=2, help="Vessel masks of both scans.")
@click.option("--images", type=FILE, nargs=2, help="Both CT scans.")
@click.option("--out", type=FILE, help="Write all figures to this file (.json).")
@THREADS
@tool("quality")
def command(
    transforms: tuple[Path, ...],
    back: tuple[Path, ...],
    images: tuple[Path, Path] | None,
    out: Path | None,
    threads: int,
    **structures: tuple[Path, Path] | None,
) -> Shown:
    """Score a registration of two scans without landmarks.

    Overlap of structures (Dice, HD95, ASSD) of the fixed scan and the warped moving scan; with
    --images, normalised mutual information and MIND residual in the fixed lungs; with --inverse, how
    far both directions are from undoing each other. Each figure is given before and after.
    """
    from lcsd.evaluation.unlabelled import inverse_consistency, measured
    from lcsd.io.images import read_image
    from lcsd.transforms.chain import folding_percent, read_chain

    set_threads(threads)
    given = {name: structures[name] for name in STRUCTURES}
    pairs = {name: _masks(name, files) for name, files in given.items() if files is not None}
    scans = None if images is None else (read_image(images[0]), read_image(images[1]))
    chain = read_chain(transforms)
    found: dict[str, Any] = {"before": measured(pairs, [], images=scans)}
    if chain:
        found["after"] = measured(pairs, chain, images=scans)
        found["folding_percent"] = folding_percent(chain)
        _doubt(found["before"], found["after"])
    if back:
        found["inverse_consistency_mm"] = inverse_consistency(_needed(chain), read_chain(back), pairs["lungs"][0])
    if out is not None:
        with written_files():
            write_json(out, found)
    return Shown(_table(found), found)


def _doubt(before: dict[str, float | None], after: dict[str, float | None]) -> None:
    """Refuse transforms that carry the lungs away, and warn of structures that agree less than before."""
    remedy = "check the order of --transform, its direction (fixed to moving points), and that all files share a space"
    if not after["lungs_dice"]:
        raise BadInputError(
            "the transforms carry the moving lungs away from the fixed ones",
            code="no_overlap",
            field="--transform",
            expected="lungs that overlap",
            found="Dice 0",
            remedy=remedy,
        )
    for name in STRUCTURES:
        pair = before.get(f"{name}_dice"), after.get(f"{name}_dice")
        if pair[0] is not None and pair[1] is not None and pair[1] < pair[0]:
            say(
                f"lcsd quality: warning: the {name} overlap less after the registration (Dice {pair[0]:.3f} before, "
                f"{pair[1]:.3f} after); {remedy}"
            )


def _needed(chain: list[Any]) -> list[Any]:
    if not chain:
        raise BadInputError("--inverse needs the other direction", code="bad_option", field="--transform")
    return chain


def _masks(name: str, files: tuple[Path, Path]) -> "tuple[Image, Image]":
    """Return the mask or label map of each scan."""
    from lcsd.io.images import read_image, read_mask
    from lcsd.transforms.warp import check_labels

    if name != "lobes":
        fixed, moving = (read_mask(file) for file in files)
        return fixed, moving
    found = []
    for file in files:
        image = read_image(file)
        try:
            check_labels(image, "nearest")
        except BadInputError as error:
            error.file = error.file or str(file)
            raise
        found.append(image)
    if not set(found[0].array[found[0].array > 0].tolist()) & set(found[1].array[found[1].array > 0].tolist()):
        say(f"lcsd quality: warning: {files[0]} and {files[1]} share no label, so lobes have no figures")
    return found[0], found[1]


def _table(found: dict[str, Any]) -> str:
    """Return one line per figure, before and after."""
    after = found.get("after", {})
    rows = [f"{'':24}{'before':>10}" + (f"{'after':>10}" if after else "")]
    for name, value in found["before"].items():
        cells = [value, after[name]] if after else [value]
        rows.append(f"{name:24}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>10}" for cell in cells))
    rest = {name: value for name, value in found.items() if name not in ("before", "after")}
    return "\n".join([*rows, *([aligned(rest)] if rest else [])])
