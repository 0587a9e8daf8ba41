"""Figures as pictures inside a page."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from lcsd.build.inventory import Inventory
from lcsd.plotting import render, save

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

    uri: str  # the image as a ``data:`` address, so that the page needs no other file
    alt: str  # description for readers who do not see it
    # width, height: pixels
    width: int
    height: int


@dataclass
class Pictures:
    """Draws figures as pictures, and writes them to a folder if there is one."""

    inventory: Inventory  # records what cannot be drawn
    folder: Path | None = None  # of the image files
    _written: set[Path] = field(default_factory=set)

    def draw(
        self, name: str, figure: Callable[[], Figure | None], *, alt: str, place: Path, kind: str = "jpg"
    ) -> Picture | None:
        """Return a figure as a picture; None if there is none or it cannot be drawn.

        ``name`` is that of the file, without suffix; ``kind`` is ``png`` or ``jpg``. A problem is recorded for the
        folder ``place``.
        """
        return self.inventory.attempt(place, lambda _: self._embed(name, figure(), alt, kind))

    def _embed(self, name: str, figure: Figure | None, alt: str, kind: str) -> Picture | None:
        if figure is None:
            return None
        content = render(figure, kind)
        if self.folder is not None:
            path = self.folder / f"{name}.{kind}"
            save(path, content)
            self._written.add(path)
        width, height = (figure.get_size_inches() * figure.dpi).astype(int)
        encoded = base64.b64encode(content).decode("ascii")
        return Picture(f"data:{MIME_TYPES[kind]};base64,{encoded}", alt, int(width), int(height))

    def remove_others(self) -> None:
        """Remove image files of an earlier report, which may show removed cases."""
        for kind in MIME_TYPES if self.folder else ():
            for path in (self.folder or Path()).glob(f"*.{kind}"):
                if path not in self._written:
                    path.unlink()
