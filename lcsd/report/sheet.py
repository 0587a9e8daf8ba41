"""A figure as a sheet of paper on which pictures and texts have places in inches.

All pictures of a sheet share one system of axes. Axes for each, and a layout that measures all of them, would take
longer than drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from lcsd.io.plotting import RC

PICTURE_DPI = 110
PICTURE_WIDTH_IN = 9.0

LABEL_IN = 0.25
"""Room for the label of a row, which runs upwards."""

TITLE_IN = 0.2
"""Room for the title of a column."""

TEXT_COLOUR = "#222222"


@dataclass(frozen=True)
class Box:
    """A rectangle on a sheet, in inches from the sheet's lower left corner."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top."""
        return self.left, self.left + self.width, self.bottom, self.bottom + self.height

    def at(self, across: float, up: float) -> tuple[float, float]:
        """Return the place of two shares, of the width from the left and of the height from below."""
        return self.left + across * self.width, self.bottom + up * self.height


class Sheet:
    """An empty figure whose axes are in inches; pictures lie below lines, and these below texts."""

    def __init__(self, width_in: float, height_in: float) -> None:
        self.figure = Figure((width_in, height_in), dpi=PICTURE_DPI)
        self.axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set(xlim=(0.0, width_in), ylim=(0.0, height_in), autoscale_on=False)
        self.axes.set_axis_off()

    def picture(self, box: Box, pixels: NDArray[np.float64], **look: Any) -> None:
        """Show a picture, first row on top, in all of a box; ``look`` goes to ``imshow``."""
        self.axes.imshow(pixels, extent=box.extent, aspect="auto", **{"interpolation": "bilinear", **look})

    def outline(self, box: Box, inside: NDArray[np.float64], colour: str) -> None:
        """Draw the outline of the pixels that are 1, not 0, of a picture in a box."""
        self.axes.contour(
            inside, levels=[0.5], colors=[colour], linewidths=0.7, alpha=0.9, origin="upper", extent=box.extent
        )

    def text(self, place: tuple[float, float], text: str, **look: Any) -> Text:
        """Write a text at a place, inches."""
        return self.axes.text(*place, text, **{"color": TEXT_COLOUR, **look})

    def title(self, box: Box, text: str, **look: Any) -> None:
        """Write a text above the middle of a box."""
        across, up = box.at(0.5, 1.0)
        self.text((across, up + 0.04), text, ha="center", va="bottom", **look)

    def row_label(self, box: Box, text: str, **look: Any) -> None:
        """Write a text upwards, left of the middle of a box."""
        across, up = box.at(0.0, 0.5)
        self.text((across - 0.06, up), text, rotation=90, ha="right", va="center", **look)

    def sides(self, box: Box, letters: tuple[str, str], *, y: float = 0.02, **look: Any) -> None:
        """Write the letters of the patient's sides at the left and right edge of a box."""
        for x, letter, side in zip((0.02, 0.98), letters, ("left", "right"), strict=True):
            self.text(box.at(x, y), letter, ha=side, **{"color": "#444444", "fontsize": 9, **look})

    def scale(self, box: Box, colours: ScalarMappable, label: str) -> None:
        """Draw a colour scale with its ticks, and its label on the right."""
        width, height = self.figure.get_size_inches()
        shares = (box.left / width, box.bottom / height, box.width / width, box.height / height)
        with mpl.rc_context({**RC, "font.size": 10}):
            self.figure.colorbar(colours, cax=self.figure.add_axes(shares), label=label, extend="max")

    def width_of(self, texts: Sequence[Text]) -> float:
        """Return the width of the widest text, inches; 0 of none."""
        renderer = FigureCanvasAgg(self.figure).get_renderer()
        return max((text.get_window_extent(renderer).width / self.figure.dpi for text in texts), default=0.0)
