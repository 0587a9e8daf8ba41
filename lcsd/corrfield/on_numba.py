"""corrfield's kernels on the CPU: numpy arrays and compiled loops."""
# ruff: noqa: D102 - the protocol documents the methods

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lcsd.corrfield import cost, foerstner, inference, mind, motion, refine, relaxation, smoothing
from lcsd.numerics.tps import ThinPlateSpline

Array = NDArray[Any]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


class NumbaKernels:
    """The CPU's :class:`lcsd.corrfield.kernels.Kernels`; the same bits for any number of threads."""

    features = staticmethod(mind.mind_ssc)
    keypoint_scores = staticmethod(foerstner.keypoint_scores)
    keypoints = staticmethod(foerstner.find_keypoints)
    tree_marginals = staticmethod(inference.tree_marginals)
    upsampled = staticmethod(motion.upsampled)
    smooth = staticmethod(smoothing.smooth)
    relax = staticmethod(relaxation.relax)
    spline_at = staticmethod(ThinPlateSpline.evaluate)

    def upload(self, array: Array) -> Array:
        return array

    def download(self, volume: Array) -> Array:
        return volume

    def zeros(self, shape: tuple[int, ...]) -> F32:
        return np.zeros(shape, np.float32)

    def wait(self) -> None:
        """Do nothing: no work runs in the background."""

    def cost_volumes(
        self, source: Array, target: Array, points: F64, *, radius: int, step: int, patch_radius: int, alpha: float
    ) -> F32:
        found = np.empty((len(points), *(2 * radius + 1,) * 3), np.float32)
        cost.cost_volumes(source, target, points, radius, step, patch_radius, alpha, numba.get_num_threads(), found)
        return found

    def soft_minimum(self, marginals: F32, *, gamma: float, step: int) -> F64:
        found = np.empty((len(marginals), 3))
        inference.soft_minimum(marginals, gamma, step, found)
        return found

    def average_mirrored(self, there: F32, back: F32) -> F32:
        there += back[:, ::-1, ::-1, ::-1]
        there *= 0.5
        return there

    def sample(self, vectors: F32, points: F64) -> F64:
        found = [map_coordinates(v, points.T, order=1, mode="nearest") for v in vectors]
        return np.stack(found, axis=1).astype(np.float64)

    def warp(self, volumes: F32, vectors: F32) -> F32:
        out = np.empty_like(volumes)
        motion.warp(np.ascontiguousarray(volumes), vectors, out)
        return out

    def normal_equations(
        self, fixed: Array, moving: Array, nodes: NDArray[np.int64], places: F64, *, robust: float
    ) -> tuple[F32, F32]:
        count = len(nodes)
        normal, right = np.empty((6, count), np.float32), np.empty((3, count), np.float32)
        refine.normal_equations(fixed, moving, nodes, places, robust, normal, right)
        return normal, right
