"""Slices: orientation, which slice and which part of it, projections, inks."""

import numpy as np
import pytest

from lcsd.report.panels import PLANES, Plane, full_ink, ink_mix, largest_cut, slice_panels

SHAPE = (7, 8, 9)


@pytest.mark.parametrize("plane", PLANES, ids=[plane.title for plane in PLANES])
def test_head_is_up_and_the_patients_right_is_left(plane: Plane) -> None:
    mask = np.ones(SHAPE, dtype=bool)
    cut = largest_cut(plane, mask, np.array([2.0, 2.0, 2.0]))
    z, y, x = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    shown = {name: cut.shown(cut.of(axis)) for name, axis in (("x", x), ("y", y), ("z", z))}
    if plane.title == "axial":
        assert (np.diff(shown["y"], axis=0) > 0).all()  # front of the patient on top
    else:
        assert (np.diff(shown["z"], axis=0) < 0).all()
    across = "y" if plane.title == "sagittal" else "x"
    assert (np.diff(shown[across], axis=1) > 0).all()
    np.testing.assert_array_equal(cut.voxels()[..., 0], cut.of(x))
    np.testing.assert_array_equal(cut.voxels()[..., 2], cut.of(z))


def test_cut_goes_through_the_largest_lung_area_with_a_margin() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:8, 10, 10] = True
    mask[6, 9:12, 9:12] = True
    cut = largest_cut(PLANES[0], mask, np.array([6.0, 6.0, 6.0]))
    assert cut.index == 6
    assert cut.ranges == (slice(7, 14), slice(7, 14))


def test_inks_leave_paper_white_and_darken_where_they_meet() -> None:
    none, full = np.zeros(1), np.ones(1)
    np.testing.assert_array_equal(ink_mix(none, none)[0], [1, 1, 1])
    both = ink_mix(full, full)[0]
    assert both.max() < min(ink_mix(full, none).max(), ink_mix(none, full).max())


def test_projection_sums_across_its_plane_and_shows_the_cuts_part() -> None:
    volume = np.zeros((6, 30, 30), dtype=bool)
    volume[1:5, 10, 12] = volume[2, 20, 12] = True
    cut = largest_cut(PLANES[0], volume, np.array([6.0, 6.0, 6.0]))
    rows, columns = cut.ranges
    expected = volume.sum(axis=0)[rows, columns]
    np.testing.assert_array_equal(cut.summed(volume), expected)
    assert expected.max() == 4


def test_full_ink_is_that_of_used_pixels_and_one_of_none() -> None:
    assert full_ink(np.zeros((3, 3))) == 1.0
    density = np.zeros((10, 10))
    density[0, :3] = 5.0
    assert full_ink(density) == 5.0


def test_a_mask_that_a_cut_misses_has_no_outline() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[2:5, 2:6, 2:6] = True
    spacing = np.array([2.0, 2.0, 2.0])
    panels = slice_panels([largest_cut(PLANES[0], mask, spacing)], spacing, ["a"])
    axes = panels.sheet.axes
    before = len(axes.collections)
    other = np.zeros_like(mask)
    other[7] = True
    panels.outline(0, 0, other, "red")
    assert len(axes.collections) == before
    panels.outline(0, 0, mask, "red")
    assert len(axes.collections) > before


def test_pictures_keep_their_shape_and_outlines_and_scale_bar_fit_them() -> None:
    mask = np.zeros((40, 60, 50), dtype=bool)
    mask[5:35, 10:50, 10:40] = True
    spacing = np.array([3.0, 2.0, 2.0])
    cuts = [largest_cut(plane, mask, spacing) for plane in PLANES]
    panels = slice_panels(cuts, spacing, ["a", "b"])
    boxes = [box for row in panels.boxes for box in row]
    mm = [box.width / (cut.ranges[1].stop - cut.ranges[1].start) for box, cut in zip(boxes, cuts * 2, strict=True)]
    scale = mm[0] / 2.0
    for box, cut in zip(boxes, cuts * 2, strict=True):
        height, width = (r.stop - r.start for r in cut.ranges)
        high, wide = cut.pixel_mm(spacing)
        assert (box.width, box.height) == pytest.approx((width * wide * scale, height * high * scale))
    (bar,) = panels.sheet.axes.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(50.0 * scale)
    # All lie on the sheet, and none on another.
    width, height = panels.figure.get_size_inches()
    for number, box in enumerate(boxes):
        left, right, bottom, top = box.extent
        assert left >= 0 and bottom >= 0 and right <= width and top <= height  # noqa: PT018
        for other in boxes[number + 1 :]:
            a, b, c, d = other.extent
            assert right <= a or b <= left or top <= c or d <= bottom
    panels.show(1, 2, np.zeros((*(r.stop - r.start for r in cuts[2].ranges), 3)))
    assert panels.sheet.axes.images[0].get_extent() == pytest.approx(boxes[5].extent)
    panels.outline(1, 2, mask, "red")
    drawn = np.concatenate([path.vertices for path in panels.sheet.axes.collections[-1].get_paths()])
    left, right, bottom, top = boxes[5].extent
    # The mask with a margin of 12 mm on each side, half a pixel less.
    assert (drawn.min(axis=0) - [left, bottom]) / scale == pytest.approx([12.0, 12.0], abs=1e-6)
    assert ([right, top] - drawn.max(axis=0)) / scale == pytest.approx([12.0, 12.0], abs=1e-6)
