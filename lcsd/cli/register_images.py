"""``lcsd register-images``: two scans registered by one of several methods."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import click
import yaml

from lcsd.build.provenance import Recorder
from lcsd.cli.common import Shown, aligned, set_threads, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, THREADS, choice, field_mm
from lcsd.errors import BadInputError
from lcsd.io.files import write_json, written_files
from lcsd.names import ImageMethod


def _options(given: tuple[str, ...]) -> dict[str, Any]:
    """Return options ``KEY=VALUE`` by key; the value is YAML."""
    found: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadInputError("the value is no YAML", code="bad_option", field="--option", found=text) from error
        if not sign or not key:
            raise BadInputError("not an option", code="bad_option", field="--option", expected="KEY=VALUE", found=text)
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@click.command(
    epilog="Example: lcsd register-images fixed.nii.gz moving.nii.gz --method elastix --fixed-mask lungs.nii.gz "
    "--out-dir elastix"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@choice("--method", ImageMethod, "Program that registers. All but corrfield need the extra 'methods' or the program.")
@click.option(
    "--fixed-mask", type=FILE, help="Lung mask of FIXED; corrfield needs it, deeds and unigradicon have none."
)
@click.option("--moving-mask", type=FILE, help="Lung mask of MOVING.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the program. Repeatable.")
@click.option("--out-dir", type=FILE, required=True, help="Folder of the results.")
@field_mm("FIXED")
@THREADS
@tool("register-images")
def command(
    fixed: Path,
    moving: Path,
    method: ImageMethod | None,
    fixed_mask: Path | None,
    moving_mask: Path | None,
    options: tuple[str, ...],
    out_dir: Path,
    field_mm: float | None,
    threads: int,
) -> Shown:
    """Register the scan MOVING to the scan FIXED by a published method.

    Writes field.nii.gz (u in y = x + u(x), LPS mm, a displacement field for ITK, lcsd evaluate, warp
    and quality) and registration.json (method, version, folds, std of log det J). Every program runs
    with its own defaults unless --option changes them. Align the scans first (lcsd prealign).
    """
    from lcsd.io.fields import field_grid, field_quality, write_field
    from lcsd.io.images import read_image, read_mask
    from lcsd.methods.pair import Pair
    from lcsd.methods.register_images import METHODS, register_images

    if method is None:
        raise BadInputError(
            "no method", code="bad_usage", field="--method", expected=f"one of {', '.join(get_args(ImageMethod))}"
        )
    set_threads(threads)
    images = [read_image(path) for path in (fixed, moving)]
    masks = [
        None if path is None else read_mask(path, like=image.grid)
        for path, image in zip((fixed_mask, moving_mask), images, strict=True)
    ]
    pair = Pair(images[0], images[1], masks[0], masks[1], threads, _options(options))
    if method in ("deeds", "unigradicon") and (fixed_mask or moving_mask):
        say(f"lcsd register-images: warning: {method} takes no mask; it only restricts the figures")
    with written_files() as written:
        recorded = {"method": method, "options": dict(pair.options), "field_mm": field_mm, "threads": threads}
        recorder = Recorder("register-images", recorded, written=written)
        package = METHODS[method].package
        recorder.fact("program", {"name": package, "version": _version(package)})
        field = register_images(method, pair)
        quality = field_quality(field, mask=masks[0])
        figures = {
            "method": method,
            "program": package,
            "version": _version(package),
            "folding_percent": quality.folding_percent,
            "std_log_jacobian": quality.std_log_jacobian,
        }
        write_field(out_dir / "field.nii.gz", field.on(field_grid(images[0].grid, field_mm)))
        write_json(out_dir / "registration.json", figures)
        inputs = {"fixed": fixed, "moving": moving, "fixed_mask": fixed_mask, "moving_mask": moving_mask}
        recorder.write(
            out_dir / "registration.json", inputs={name: path for name, path in inputs.items() if path is not None}
        )
    record = {"output": str(out_dir / "field.nii.gz"), **figures}
    return Shown(aligned(record), record)
