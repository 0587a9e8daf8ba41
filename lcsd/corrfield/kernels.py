"""The operations that corrfield needs on the device with its large arrays."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.tree import Tree
from lcsd.numerics.tps import ThinPlateSpline

Array = NDArray[Any]
F64 = NDArray[np.float64]

Volume = Any
"""A large array on the device: a numpy array or a tensor. Arithmetic, slices, ``.T``, ``.any()`` and
``.clip(low, high)`` mean the same for both, so code that needs no more is written once."""


class Kernels(Protocol):
    """One implementation of corrfield's work on large arrays.

    Volumes are (z, y, x) or (C, z, y, x). Points are numpy arrays (K, 3) of voxel positions (z, y, x), float64. Outside
    images and features, their border voxels repeat.
    """

    def upload(self, array: Array) -> Volume:
        """Return an array on the device, of the same type."""

    def download(self, volume: Volume) -> Array:
        """Return a volume as a numpy array."""

    def zeros(self, shape: tuple[int, ...]) -> Volume:
        """Return zeros, float32."""

    def wait(self) -> None:
        """Return once the device has finished all work, so that clocks are right."""

    def features(self, image: Volume, *, step: int, sigma: float) -> Volume:
        """Return MIND-SSC, shape (12, z, y, x), uint8; see :func:`lcsd.corrfield.mind.mind_ssc`."""

    def keypoint_scores(self, image: Volume, mask: NDArray[np.bool_], *, sigma: float, erosion: int) -> Volume:
        """Return the distinctiveness; see :func:`lcsd.corrfield.foerstner.keypoint_scores`."""

    def keypoints(self, scores: Volume, *, nms_radius: int, threshold: float) -> NDArray[np.int64]:
        """Return the maxima of the distinctiveness, (K, 3); see :func:`lcsd.corrfield.foerstner.find_keypoints`."""

    def cost_volumes(
        self, source: Volume, target: Volume, points: F64, *, radius: int, step: int, patch_radius: int, alpha: float
    ) -> Volume:
        """Return costs (K, D, D, D), float32; see :func:`lcsd.corrfield.cost.cost_volumes`."""

    def tree_marginals(self, cost: Volume, tree: Tree) -> Volume:
        """Turn costs into min-marginals; see :func:`lcsd.corrfield.inference.tree_marginals`."""

    def soft_minimum(self, marginals: Volume, *, gamma: float, step: int) -> F64:
        """Return displacements (K, 3); see :func:`lcsd.corrfield.inference.soft_minimum`."""

    def average_mirrored(self, there: Volume, back: Volume) -> Volume:
        """Turn ``there`` into its mean with ``back``, mirrored (d counts as -d); (K, D, D, D)."""

    def sample(self, vectors: Volume, points: F64) -> F64:
        """Return vectors (3, z, y, x) at points, linear, shape (K, 3)."""

    def warp(self, volumes: Volume, vectors: Volume) -> Volume:
        """Return ``volumes[c](x + vectors(x))``, linear; (C, z, y, x) and (3, z, y, x), float32."""

    def upsampled(self, values: Volume, shape: tuple[int, ...], *, step: int, low: tuple[int, ...]) -> Volume:
        """Return values of nodes for all voxels; see :func:`lcsd.corrfield.motion.upsampled`."""

    def spline_at(self, spline: ThinPlateSpline, places: F64, /) -> F64:
        """Return a spline at places (M, 3), shape (M, C)."""

    def normal_equations(
        self, fixed: Volume, moving: Volume, nodes: Volume, places: Volume, *, robust: float
    ) -> tuple[Volume, Volume]:
        """Return (6, N) and (3, N), see :func:`lcsd.corrfield.refine.normal_equations`; all volumes on the device."""

    def smooth(self, volumes: Volume, taps: NDArray[np.float32]) -> Volume:
        """Return volumes (C, z, y, x), float32, filtered along every axis."""

    def relax(self, values: Volume, normal: Volume, right: Volume, smoothness: float, *, sweeps: int) -> Volume:
        """Return the result of Gauss-Seidel sweeps; see :func:`lcsd.corrfield.relaxation.relax`."""
