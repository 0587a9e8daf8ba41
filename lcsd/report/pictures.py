"""Figures as pictures inside a page."""

import base64
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from lcsd.build.inventory import Inventory
from lcsd.io.plotting import render, save

MIME_TYPES = {"png": "image/png", "jpg": "image/jpeg"}

ALTS = {
    "overlay": "Axial, coronal and sagittal slices of case {case}: baseline in magenta, follow-up in green, grey where "
    "they agree, before and after registration.",
    "checker": "The same slices of case {case} as a checkerboard of baseline and follow-up.",
    "projected": "Projected vessel clouds of case {case}: baseline in magenta, follow-up in green, before and after "
    "registration.",
    "clouds": "Vessel cloud of the baseline of case {case} before and after registration, coloured by the distance to "
    "the nearest vessel of the follow-up.",
    "expected": "Registered vessel cloud of the baseline of case {case}, coloured by the expected error of the "
    "registration.",
    "surface": "Lungs of case {case} from four sides, coloured by the registration error near the surface, before and "
    "after registration.",
    "landmarks": "Image patches around the landmarks of case {case} with the largest errors of {method}: baseline, "
    "follow-up at the true position, follow-up at the found position.",
    "vessels": "Vessel masks of case {case}: projections of baseline and follow-up in three directions, and their "
    "outlines on slices.",
}
"""Descriptions of a case's pictures for readers who do not see them."""


@dataclass(frozen=True)
class Picture:
    """A figure on a page."""

    content: bytes = field(repr=False)  # of the image file
    kind: str  # "png" or "jpg"
    alt: str  # description for readers who do not see it
    # width, height: pixels
    width: int
    height: int

    @functools.cached_property
    def uri(self) -> str:
        """The image as a ``data:`` address, so that the page needs no other file."""
        return f"data:{MIME_TYPES[self.kind]};base64,{base64.b64encode(self.content).decode('ascii')}"


# Names and ids may contain a dollar sign, which is not a formula.
@mpl.rc_context({"text.parse_math": False})
def draw(
    inventory: Inventory, place: Path, figure: Callable[[], Figure | None], *, alt: str, kind: str = "jpg"
) -> Picture | None:
    """Return a figure as a picture; None if there is none or it cannot be drawn.

    ``kind`` is ``png`` or ``jpg``. A problem is recorded for the folder ``place``.
    """
    return inventory.attempt(place, lambda _: _picture(figure(), alt, kind))


def _picture(figure: Figure | None, alt: str, kind: str) -> Picture | None:
    if figure is None:
        return None
    width, height = (figure.get_size_inches() * figure.dpi).astype(int)
    return Picture(render(figure, kind), kind, alt, int(width), int(height))


def write_pictures(folder: Path, pictures: Mapping[str, Picture]) -> None:
    """Write pictures as image files by name, and remove others of an earlier report, which may show removed cases."""
    paths = {folder / f"{name}.{picture.kind}": picture for name, picture in pictures.items()}
    for path, picture in paths.items():
        save(path, picture.content)
    for kind in MIME_TYPES:
        for path in folder.glob(f"*.{kind}"):
            if path not in paths:
                path.unlink()
