"""Look of all figures: colours for colour-blind readers, fonts, names of methods."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lcsd.io.files import atomic_path

FIGURE_DPI = 160
JPEG_QUALITY = 84

BASE_FONT_PT = 11.5
"""Readable if a figure is printed at half size."""

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": BASE_FONT_PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "axes.titlesize": BASE_FONT_PT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": BASE_FONT_PT - 1,
}


def render(figure: Figure, kind: str) -> bytes:
    """Return a figure as ``png`` or ``jpg`` bytes, drawn once: ``savefig`` would draw it twice."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])  # the paper is opaque
    buffer = io.BytesIO()
    form, compression = ("jpeg", {"quality": JPEG_QUALITY}) if kind == "jpg" else (kind, {})
    drawn.save(buffer, format=form, optimize=True, dpi=(figure.dpi, figure.dpi), **compression)
    return buffer.getvalue()


def save(path: Path, content: bytes) -> None:
    """Write an image file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


BEFORE_COLOUR = "#6b6b6b"

METHOD_COLOURS = {"corrfield": "#0072B2", "divroc": "#D55E00"}
"""Okabe and Ito (2008), https://jfly.uni-koeln.de/color/: blue and vermillion."""

OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")

METHOD_NAMES = {"corrfield": "corrfield", "divroc": "DiVRoC"}

LINE_STYLES = ("-", "--", "-.", ":")
"""Line styles distinguish methods in black-and-white prints, too."""


def method_name(method: str) -> str:
    """Return the display name of a method."""
    return METHOD_NAMES.get(method, method)


def method_colours(methods: list[str]) -> dict[str, str]:
    """Return one colour per method; known methods keep theirs."""
    others = [method for method in methods if method not in METHOD_COLOURS]
    extra = {m: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, m in enumerate(others)}
    return {**METHOD_COLOURS, **extra}
