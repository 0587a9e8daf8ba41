"""Motion at any point from motion at given points: thin-plate spline or DiVRoC regulariser."""

import numpy as np
from numpy.typing import NDArray

from lcsd.files import PointPairs
from lcsd.settings.evaluate import Extrapolation


def extrapolate_motion(
    correspondences: PointPairs,
    points: NDArray[np.float64],
    *,
    method: Extrapolation,
    tps_smoothing: float = 0.0,
) -> NDArray[np.float64]:
    """Return the displacement at points, extended from correspondences.

    Parameters
    ----------
    correspondences
        Known motion, LPS mm.
    points
        Shape (N, 3), LPS mm.
    method
        ``tps`` or ``divroc``.
    tps_smoothing
        Smoothing of the thin-plate spline; 0 interpolates.

    Returns
    -------
    NDArray
        Shape (N, 3), mm.
    """
    vectors = correspondences.moving - correspondences.fixed
    if method == "divroc":
        from lcsd.divroc.regularise import extrapolate  # noqa: PLC0415

        return extrapolate(correspondences.fixed, vectors, points)
    from lcsd.tps import ThinPlateSpline  # noqa: PLC0415

    spline = ThinPlateSpline.fit(correspondences.fixed, vectors, smoothing=tps_smoothing)
    return spline.evaluate(points)
