"""The landmarks of a case with the largest errors, with the images around them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lcsd.io.images import Image
from lcsd.io.tables import numbers, read_table
from lcsd.report.panels import OUTLINE, PICTURE_WIDTH_IN, canvas, grey, hu_at

PATCH_MM = 40.0
PATCH_PIXEL_MM = 0.5

TRUE_COLOUR = "#56B4E9"
PREDICTED_COLOUR = "#E69F00"
"""Sky blue and orange of Okabe and Ito: different on grey, also for colour-blind readers."""

ROW_IN = 1.42

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
    figure = canvas(PICTURE_WIDTH_IN, 0.32 + ROW_IN * len(rows))
    axes = figure.subplots(len(rows), 3 * len(SECTIONS), squeeze=False)
    for panels, row in zip(axes, rows, strict=True):
        true, predicted = landmarks.moving[row], landmarks.moved[row]
        for column, section in enumerate(SECTIONS):
            shown = panels[3 * column : 3 * column + 3]
            _show(shown[0], fixed, section, landmarks.fixed[row], ())
            marks = ((true, TRUE_COLOUR, "o"), (predicted, PREDICTED_COLOUR, "x"))
            _show(shown[1], moving, section, true, marks)
            _show(shown[2], moving, section, predicted, marks)
        panels[0].set_ylabel(
            f"landmark {shorten(landmarks.ids[row])}\n{landmarks.tre[row]:.1f} mm\n"
            f"(before {landmarks.before[row]:.1f})",
            fontsize=8.5,
            color="#222222",
            rotation=0,
            ha="right",
            va="center",
            labelpad=6,
        )
    for column, section in enumerate(SECTIONS):
        for place, title in enumerate(("baseline", "follow-up, true", "follow-up, found")):
            axes[0, 3 * column + place].set_title(
                f"{section.title}: {title}" if place == 0 else title,
                fontsize=8.5,
                fontweight="normal",
                loc="center",
                color="#222222",
                pad=3,
            )
    return figure


def shorten(text: str) -> str:
    """Return a text cut to ``LABEL_CHARACTERS``."""
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1] + "…"


def _show(axes: Axes, image: Image, section: Section, centre: Points, marks: Sequence[tuple[Points, str, str]]) -> None:
    half = PATCH_MM / 2
    axes.imshow(
        grey(patch(image, section.places(centre))),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(-half, half, half, -half),
        interpolation="bilinear",
    )
    # A cross-hair with a gap, so that the middle stays visible.
    for low, high in ((-half, -half / 3), (half / 3, half)):
        axes.plot([low, high], [0, 0], color="white", linewidth=0.6, alpha=0.8)
        axes.plot([0, 0], [low, high], color="white", linewidth=0.6, alpha=0.8)
    for point, colour, marker in marks:
        right, down = section.offset(point, centre)
        if max(abs(right), abs(down)) <= half:
            axes.plot(
                right,
                down,
                marker,
                color=colour,
                markersize=7,
                markeredgewidth=1.6,
                markerfacecolor="none",
                path_effects=OUTLINE,
            )
    axes.set(xlim=(-half, half), ylim=(half, -half), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
