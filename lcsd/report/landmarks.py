"""The landmarks of a case with the largest errors, with the images around them."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lcsd.io.images import Image
from lcsd.io.tables import numbers, read_table
from lcsd.report.panels import GAP_IN, OUTLINE, grey, hu_at
from lcsd.report.sheet import PICTURE_WIDTH_IN, TITLE_IN, Box, Sheet

PATCH_MM = 40.0
PATCH_PIXEL_MM = 0.5

TRUE_COLOUR = "#56B4E9"
PREDICTED_COLOUR = "#E69F00"
"""Sky blue and orange of Okabe and Ito: different on grey, also for colour-blind readers."""

ROW_IN = 1.42

TITLES = ("{}: baseline", "follow-up, true", "follow-up, found")

AIR_HU = -1000.0

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Landmarks:
    """N landmarks of a case and their errors with one method, in common space."""

    ids: tuple[str, ...]
    # Positions in the baseline and the follow-up, and the baseline's as registered, shape (N, 3) each, LPS mm
    fixed: Points
    moving: Points
    moved: Points
    # Distances of ``moved`` and of ``fixed`` to ``moving``, shape (N,), mm
    tre: NDArray[np.float64]
    before: NDArray[np.float64]

    def worst(self, count: int) -> NDArray[np.intp]:
        """Return the rows of the largest errors, largest first; equal errors in the table's order."""
        return np.argsort(-self.tre, kind="stable")[:count]


def read_landmarks(path: Path) -> Landmarks:
    """Return a table of landmark errors as ``lcsd evaluate --table`` writes it.

    Raises ``BadInputError`` as :func:`lcsd.io.tables.read_table`.
    """
    places = {place: [f"{place}_{axis}" for axis in "xyz"] for place in ("fixed", "moving", "moved")}
    errors = ["tre_mm", "tre_before_mm"]
    columns = [*itertools.chain(*places.values()), *errors]
    table = read_table(path, ["id", *columns], dict.fromkeys(columns, "float64"))
    return Landmarks(
        tuple(table["id"]), *(numbers(table, names) for names in places.values()), *numbers(table, errors).T
    )


LABEL_CHARACTERS = 16
"""Longest label of a row of patches."""


@dataclass(frozen=True)
class Section:
    """A small section through a volume: world axes across and down, and the signs of both."""

    title: str
    across: int
    down: int
    down_sign: int

    def places(self, centre: Points) -> Points:
        """Return the pixels of a patch around a point, shape (rows, columns, 3), LPS mm."""
        half = np.arange(-PATCH_MM / 2, PATCH_MM / 2 + PATCH_PIXEL_MM / 2, PATCH_PIXEL_MM)
        places = np.broadcast_to(centre, (len(half), len(half), 3)).copy()
        places[..., self.across] += half[None, :]
        places[..., self.down] += self.down_sign * half[:, None]
        return places

    def offset(self, point: Points, centre: Points) -> tuple[float, float]:
        """Return the offset of a point from the centre of a patch: right and down, mm."""
        apart = point - centre
        return float(apart[self.across]), float(self.down_sign * apart[self.down])


SECTIONS = (Section("axial", 0, 1, 1), Section("coronal", 0, 2, -1))
"""As radiologists see them: the patient's right on the left, front or head up."""


def patch(image: Image, places: Points) -> NDArray[np.float64]:
    """Return HU at LPS places (rows, columns, 3), mm; air outside the volume."""
    return hu_at(image, places, mode="constant", cval=AIR_HU)


def landmark_figure(fixed: Image, moving: Image, landmarks: Landmarks, count: int) -> Figure | None:
    """Return patches around the worst landmarks, a row each; None if there is no landmark to show.

    Each row has two sections of the baseline, of the follow-up around the true position, and of the follow-up around
    the position that the method found.
    """
    rows = landmarks.worst(count)
    if not len(rows):
        return None
    sheet = Sheet(PICTURE_WIDTH_IN, TITLE_IN + ROW_IN * len(rows))
    labels = [sheet.text((0.0, 0.0), _label(landmarks, row), fontsize=8.5, ha="right", va="center") for row in rows]
    left = sheet.width_of(labels) + 0.1
    pitch = (PICTURE_WIDTH_IN - left) / (3 * len(SECTIONS))
    side = min(pitch, ROW_IN) - GAP_IN
    marks = _Marks([], [], [])
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        bottom = ROW_IN * (len(rows) - 1 - number) + (ROW_IN - side) / 2
        boxes = [Box(left + pitch * column, bottom, side, side) for column in range(3 * len(SECTIONS))]
        label.set_position((left - 0.08, bottom + side / 2))
        true, predicted = landmarks.moving[row], landmarks.moved[row]
        for column, section in enumerate(SECTIONS):
            for place, centre in enumerate((landmarks.fixed[row], true, predicted)):
                box = boxes[3 * column + place]
                _show(sheet, box, patch(moving if place else fixed, section.places(centre)))
                marks.add(box, *((section.offset(point, centre) for point in (true, predicted)) if place else ()))
                if not number:
                    sheet.title(box, TITLES[place].format(section.title), fontsize=8.5)
    marks.draw(sheet)
    return sheet.figure


def _label(landmarks: Landmarks, row: np.intp) -> str:
    return f"landmark {shorten(landmarks.ids[row])}\n{landmarks.tre[row]:.1f} mm\n(before {landmarks.before[row]:.1f})"


def shorten(text: str) -> str:
    """Return a text cut to ``LABEL_CHARACTERS``."""
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1] + "…"


def _show(sheet: Sheet, box: Box, hu: NDArray[np.float64]) -> None:
    sheet.picture(box, grey(hu), cmap="gray", vmin=0, vmax=1)


class _Marks(NamedTuple):
    """What is drawn over the patches at once: lines, and true and found places, all in inches on the sheet."""

    crosses: list[list[tuple[float, float]]]
    true: list[tuple[float, float]]
    predicted: list[tuple[float, float]]

    def add(self, box: Box, *offsets: tuple[float, float]) -> None:
        """Add a patch with the offsets of the true and the found place from its centre, if it shows them, mm."""
        # A cross-hair with a gap, so that the middle stays visible.
        for low, high in ((0.0, 1 / 3), (2 / 3, 1.0)):
            self.crosses.append([box.at(low, 0.5), box.at(high, 0.5)])
            self.crosses.append([box.at(0.5, low), box.at(0.5, high)])
        for places, (right, down) in zip((self.true, self.predicted), offsets, strict=False):
            if max(abs(right), abs(down)) <= PATCH_MM / 2:
                places.append(box.at(0.5 + right / PATCH_MM, 0.5 - down / PATCH_MM))

    def draw(self, sheet: Sheet) -> None:
        """Draw the lines, and the places over them."""
        sheet.axes.add_collection(LineCollection(self.crosses, colors="white", linewidths=0.6, alpha=0.8))
        look: dict[str, Any] = {
            "markersize": 7,
            "markeredgewidth": 1.6,
            "markerfacecolor": "none",
            "path_effects": OUTLINE,
        }
        for places, colour, marker in ((self.true, TRUE_COLOUR, "o"), (self.predicted, PREDICTED_COLOUR, "x")):
            across, up = np.reshape(places, (-1, 2)).T
            sheet.axes.plot(across, up, marker, color=colour, **look)
