"""Worst landmarks: order, patches by the definition, marks, broken tables."""

from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.files import write_table
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.report.landmarks import PATCH_MM, PATCH_PIXEL_MM, SECTIONS, landmark_figure, patch, read_landmarks

GRID = Grid((30, 28, 26), (3.0, 3.0, 3.0), (-40.0, -30.0, 10.0))
SHIFT = np.array([2.0, -1.0, 3.0])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table as the evaluation writes it: the field lacks the error of each landmark."""
    rng = np.random.default_rng(1)
    fixed = GRID.voxel_to_world(rng.uniform(6, 20, (6, 3)))
    errors = np.array([0.5, 4.0, 1.0, 4.0, 0.1, 2.0])
    moving = fixed + SHIFT + errors[:, None] * [0.0, 0.0, 1.0]
    field = DisplacementField(np.full((*GRID.shape, 3), SHIFT, dtype=np.float32), GRID)
    result = evaluate_tre(PointPairs(fixed, moving), field=field)
    path = tmp_path / "divroc_landmarks.csv"
    write_table(path, LANDMARK_COLUMNS, result.rows())
    return path


def test_worst_are_the_largest_errors_first(table: Path) -> None:
    landmarks = read_landmarks(table)
    assert landmarks.worst(3).tolist() == [1, 3, 5]
    assert landmarks.worst(99).tolist() == [1, 3, 5, 2, 0, 4]
    assert landmarks.worst(0).tolist() == []
    assert landmarks.ids[1] == "2"
    np.testing.assert_allclose(landmarks.moved - landmarks.fixed, np.tile(SHIFT, (6, 1)), atol=1e-3)
    np.testing.assert_allclose(landmarks.tre, np.linalg.norm(landmarks.moved - landmarks.moving, axis=1), atol=1e-3)


def test_patch_is_the_image_around_the_point() -> None:
    z, y, x = np.meshgrid(*[np.arange(n, dtype=float) for n in GRID.shape], indexing="ij")
    world = GRID.voxel_to_world(np.stack([x, y, z], axis=-1))
    ramp = Image((world @ [1.0, 10.0, 100.0]).astype(np.float32), GRID)
    centre = np.array([0.0, 10.0, 50.0])
    middle = int(PATCH_MM / PATCH_PIXEL_MM / 2)
    right = middle + int(5 / PATCH_PIXEL_MM)
    for section, down in zip(SECTIONS, (10.0, -100.0), strict=True):
        found = patch(ramp, section.places(centre))
        at = centre @ [1.0, 10.0, 100.0]
        assert found[middle, middle] == pytest.approx(at, abs=0.1)
        # Right of the picture is the patient's left; down is the back, or the feet.
        assert found[middle, right] == pytest.approx(at + 5.0, abs=0.1)
        assert found[right, middle] == pytest.approx(at + 5.0 * down, abs=0.1)
        assert section.offset(centre + np.array([5.0, 0.0, 0.0]), centre) == (5.0, 0.0)
    assert SECTIONS[0].offset(centre + np.array([0.0, 4.0, 9.0]), centre) == (0.0, 4.0)
    assert SECTIONS[1].offset(centre + np.array([0.0, 9.0, 4.0]), centre) == (0.0, -4.0)


def test_outside_the_image_is_air() -> None:
    image = Image(np.zeros(GRID.shape, dtype=np.int16), GRID)
    assert (patch(image, SECTIONS[0].places(np.array([1e4, 0.0, 0.0]))) == -1000).all()


def test_figure_has_a_row_per_landmark_and_marks_at_true_and_found_place(table: Path) -> None:
    image = Image(np.zeros(GRID.shape, dtype=np.int16), GRID)
    landmarks = read_landmarks(table)
    figure = landmark_figure(image, image, landmarks, 2)
    assert figure is not None
    (axes,) = figure.axes
    extents = [picture.get_extent() for picture in axes.images]
    assert len(extents) == 12
    assert axes.texts[0].get_text() == "landmark 2\n4.0 mm\n(before 7.3)"
    assert axes.texts[0].get_position()[1] == pytest.approx(sum(extents[0][2:]) / 2)
    assert axes.texts[0].get_window_extent().x0 >= 0

    def marked(marker: str) -> dict[int, tuple[float, float]]:
        """Return where the first row is marked, right and down from the middle of a patch, mm."""
        (line,) = [line for line in axes.lines if line.get_marker() == marker]
        found = {}
        for x, y in line.get_xydata():
            for column, (left, right, bottom, top) in enumerate(extents[:6]):
                if left <= x <= right and bottom <= y <= top:
                    mm = (right - left) / PATCH_MM
                    found[column] = ((x - (left + right) / 2) / mm, ((bottom + top) / 2 - y) / mm)
        return found

    true, found = marked("o"), marked("x")
    # In the order of drawing: baseline, true, found of the axial section, then of the coronal one.
    assert true.keys() == found.keys() == {1, 2, 4, 5}
    # The found place lies 4 mm nearer to the feet, which the coronal section shows.
    for places, column, expected in ((true, 4, (0, 0)), (found, 4, (0, 4)), (true, 5, (0, -4)), (found, 5, (0, 0))):
        np.testing.assert_allclose(places[column], expected, atol=1e-3)
    crosses = axes.collections[0].get_segments()
    assert len(crosses) == 4 * 12
    assert np.ptp(crosses[0], axis=0) == pytest.approx([(extents[0][1] - extents[0][0]) / 3, 0.0])
    assert landmark_figure(image, image, landmarks, 0) is None


@pytest.mark.parametrize("text", ["", "id\n1\n", "header,only\n"])
def test_broken_tables_are_refused(table: Path, text: str) -> None:
    table.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError):
        read_landmarks(table)


def test_infinite_numbers_are_refused(table: Path) -> None:
    first, row, *rest = table.read_text(encoding="utf-8").splitlines()
    cells = row.split(",")
    table.write_text("\n".join([first, ",".join([*cells[:5], "inf", *cells[6:]]), *rest]) + "\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="bad_number"):
        read_landmarks(table)
