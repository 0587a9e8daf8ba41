"""Correspondences and a dense displacement field from two images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.kernels import Kernels, Volume
from lcsd.corrfield.mind import FULL
from lcsd.corrfield.motion import GridMotion, patch_means
from lcsd.corrfield.outliers import agrees_with_neighbours
from lcsd.corrfield.refine import refine
from lcsd.corrfield.tree import Tree, spanning_tree
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image, check_same_grid
from lcsd.io.points import PointPairs
from lcsd.numerics.device import Clock, check_device
from lcsd.numerics.morphology import VOXELS, box
from lcsd.settings.correspond import CorrespondSettings


def kernels_on(device: str) -> Kernels:
    """Return the kernels of ``cpu`` (numba) or ``cuda`` (torch), or raise ``BadInputError`` without such a device."""
    check_device(device)
    if device == "cpu":
        from lcsd.corrfield.on_numba import NumbaKernels

        return NumbaKernels()
    from lcsd.corrfield.on_torch.kernels import TorchKernels

    return TorchKernels(device)


Array = NDArray[Any]

MARGIN_VOXELS = 4
"""Added beyond the reach of search and patch, because smoothing needs neighbours at the border of the box."""


@dataclass(frozen=True)
class CorrfieldResult:
    """Correspondences between a fixed and a moving image, all in LPS mm.

    The ``weight`` of a pair is its forward-backward consistency in [0, 1]; ``field`` is on the fixed grid.
    ``statistics`` has counts and consistency per stage for JSON, ``seconds`` the wall seconds per step.
    """

    pairs: PointPairs
    field: DisplacementField
    statistics: dict[str, Any]
    seconds: dict[str, float]


def _box(mask: Array, settings: CorrespondSettings) -> tuple[slice, ...]:
    """Return the mask's box, enlarged by the reach of a search from a keypoint; outside it, voxels repeat.

    The backward search may leave the box, but only from keypoints that moved as far as the search allows.
    """
    stages = zip(settings.search_radius, settings.quantisation, settings.patch_radius, strict=True)
    reach = max(radius * step + patch for radius, step, patch in stages)
    return box(mask != 0, reach + MARGIN_VOXELS, VOXELS)


def find_correspondences(
    fixed: Image,
    moving: Image,
    fixed_mask: Image,
    *,
    settings: CorrespondSettings | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda _: None,
) -> CorrfieldResult:
    """Return correspondences and a dense displacement field between two images.

    Parameters
    ----------
    fixed, moving
        CT in HU on the same grid (any orientation), arrays (z, y, x).
    fixed_mask
        Region of the keypoints (lung), on the same grid.
    settings
        Parameters of corrfield; the defaults if None. Lengths are in voxels.
    device
        ``"cpu"`` (the same bits for any number of threads) or ``"cuda"``.
    progress
        Called with the name of each stage.

    Returns
    -------
    CorrfieldResult
        Pairs and field in LPS mm: a fixed point x is found in the moving image at ``x + u(x)``.

    Raises
    ------
    BadInputError
        Different grids, values that are not finite, a constant image, an empty mask, a search radius larger than the
        image, no distinctive keypoint, or a missing device.

    Notes
    -----
    Heinrich, Handels, Simpson, MICCAI 2015. Each stage works on the moving image warped by the earlier stages, and its
    motion v is composed with theirs: ``u(x) = v(x) + u'(x + v(x))``. At the end the dense motion is refined
    continuously, and the correspondences take its values.
    """
    settings = settings or CorrespondSettings()
    kernels = kernels_on(device)
    check_images(fixed, moving, fixed_mask, settings)
    return _Solver(fixed, moving, fixed_mask, settings, kernels).solve(progress)


class _Solver:
    """One registration: data that its stages share, in voxels (z, y, x) of the working box.

    ``image``, ``mask``, points and trees are numpy arrays; ``other``, features, scores and motion are on the device of
    the kernels.
    """

    def __init__(
        self, fixed: Image, moving: Image, fixed_mask: Image, settings: CorrespondSettings, kernels: Kernels
    ) -> None:
        self.grid, self.settings = fixed.grid, settings
        self.kernels, self.clock = kernels, Clock(kernels.wait)
        self.box = _box(fixed_mask.array, settings)
        self.image = fixed.array[self.box].astype(np.float32)
        volume = kernels.upload(self.image)
        self.other = kernels.upload(moving.array[self.box].astype(np.float32))
        self.mask = fixed_mask.array[self.box] != 0
        self.corner = np.array([part.start for part in self.box])
        self.anchor = tuple(part.start for part in box(self.mask, 0, VOXELS))
        with self.clock.step("mind"):
            self.features = self._features(volume)
            self.other_features = self._features(self.other)
        with self.clock.step("keypoints"):
            self.scores = kernels.keypoint_scores(volume, self.mask, sigma=settings.sigma, erosion=settings.erosion)
        self.motion = GridMotion(kernels.zeros((3, *self.image.shape)), kernels)

    def solve(self, progress: Callable[[str], None]) -> CorrfieldResult:
        """Return correspondences and field; ``progress`` hears of each stage."""
        settings, stages = self.settings, len(self.settings.search_radius)
        statistics: dict[str, Any] = {}
        for stage in range(stages):
            progress(f"stage {stage + 1} of {stages}")
            points, total, inconsistency, figures = self._stage(stage)
            statistics[f"stage_{stage + 1}"] = figures
        if settings.refine and settings.transform[-1] == "n":
            progress("refinement")
            self._refine()
            total = self.motion.at(points)
        where = (points + self.corner)[:, ::-1]
        pairs = PointPairs(
            fixed=self.grid.voxel_to_world(where),
            moving=self.grid.voxel_to_world(where + total[:, ::-1]),
            weight=np.exp(-((inconsistency / settings.consistency_mm) ** 2)),
        )
        with self.clock.step("field"):
            dense = self.motion.on_grid(self.grid, self.box)
        return CorrfieldResult(pairs, dense, {"count": len(pairs), **statistics}, self.clock.seconds)

    def _features(self, image: Volume) -> Volume:
        settings = self.settings
        return self.kernels.features(image, step=settings.mind_step, sigma=settings.mind_sigma)

    def _match(self, target: Volume, points: Array, tree: Tree, stage: int) -> tuple[Array, Array]:
        """Match keypoints to features, and backwards from where they land; average both marginals.

        Returns the displacements forwards, and forwards and back again, (z, y, x), each (K, 3), voxels.
        """
        settings, kernels, clock = self.settings, self.kernels, self.clock
        step, radius, patch = (s[stage] for s in (settings.quantisation, settings.search_radius, settings.patch_radius))
        alpha = settings.alpha / FULL**2

        def marginals(source: Volume, target: Volume, at: Array) -> Volume:
            with clock.step("cost"):
                cost = kernels.cost_volumes(
                    source, target, at, radius=radius, step=step, patch_radius=patch, alpha=alpha
                )
            with clock.step("inference"):
                return kernels.tree_marginals(cost, tree)

        def soft(values: Volume) -> Array:
            with clock.step("inference"):
                return kernels.soft_minimum(values, gamma=settings.gamma, step=step)

        both = marginals(self.features, target, points)
        forward = soft(both)
        back = marginals(target, self.features, points + forward)
        backward = soft(back)
        # A backward displacement of -d supports a forward displacement of d.
        both = kernels.average_mirrored(both, back)
        return soft(both), forward + backward

    def _stage(self, stage: int) -> tuple[Array, Array, Array, dict[str, Any]]:
        """Match on the warped image and compose the new motion with the earlier one.

        Returns the trusted keypoints, their total displacement, their inconsistency in mm, and figures.
        """
        settings, clock = self.settings, self.clock
        with clock.step("keypoints"):
            points = self.kernels.keypoints(
                self.scores, nms_radius=settings.nms_radius[stage], threshold=settings.keypoint_threshold
            ).astype(np.float64)
        target = self.other_features
        if stage > 0:
            with clock.step("spline"):
                warped = self.motion.warp(self.other)
            with clock.step("mind"):
                target = self._features(warped)
        with clock.step("inference"):
            means = patch_means(self.image, points, settings.patch_radius[stage])
            tree = spanning_tree(points, means, neighbours=settings.neighbours, beta=settings.beta)
        displacement, there_and_back = self._match(target, points, tree, stage)
        apart = self.grid.voxel_vectors_to_world(there_and_back[:, ::-1])
        inconsistency = np.linalg.norm(apart, axis=1)
        with clock.step("rejection"):
            kept = _trusted(points, displacement, inconsistency, self.grid, settings)
        figures = _figures(inconsistency, kept)
        points, step = points[kept], displacement[kept]
        with clock.step("spline"):
            total = step + self.motion.at(points + step)
            self.motion = self.motion.composed(
                points,
                step,
                grid=self.grid,
                corner=self.corner,
                rigid=settings.transform[stage] == "r",
                smoothing=settings.tps_lambda,
                step=settings.tps_grid_step,
                anchor=self.anchor,
            )
        return points, total, inconsistency[kept], figures

    def _refine(self) -> None:
        settings = self.settings
        with self.clock.step("refine"):
            vectors = refine(
                self.features,
                self.other_features,
                self.mask,
                self.motion.vectors,
                step=settings.refine_step,
                smoothness=settings.refine_smoothness * FULL**2,
                blur=settings.refine_blur,
                robust=settings.refine_robust * FULL**2,
                rounds=settings.refine_rounds,
                kernels=self.kernels,
            )
            self.motion = GridMotion(vectors, self.kernels)


def _trusted(
    points: Array, displacement: Array, inconsistency: Array, grid: Grid, settings: CorrespondSettings
) -> Array:
    """Return which matches agree with their backward match and with their neighbours, shape (K,)."""
    kept = inconsistency <= (settings.reject_mm or np.inf)
    if settings.outlier_mm is not None:
        world = grid.voxel_vectors_to_world(points[kept][:, ::-1])
        kept[kept] = agrees_with_neighbours(
            world,
            grid.voxel_vectors_to_world(displacement[kept][:, ::-1]),
            limit=settings.outlier_mm,
            neighbours=settings.outlier_neighbours,
            rounds=settings.outlier_rounds,
        )
    # If every match was rejected, use all of them; the statistics show it.
    return kept if kept.any() else np.ones_like(kept)


def _figures(inconsistency: Array, kept: Array) -> dict[str, Any]:
    return {
        "keypoints": len(kept),
        "kept": int(kept.sum()),
        "inconsistency_mean_mm": float(inconsistency.mean()),
        "inconsistency_median_mm": float(np.median(inconsistency)),
        "inconsistency_p95_mm": float(np.percentile(inconsistency, 95)),
    }


def check_images(fixed: Image, moving: Image, fixed_mask: Image, settings: CorrespondSettings) -> None:
    """Raise ``BadInputError`` unless the images can be matched."""
    check_same_grid(moving.grid, fixed.grid)
    check_same_grid(fixed_mask.grid, fixed.grid)
    if not fixed_mask.array.any():
        raise BadInputError(
            "the mask is empty",
            code="empty_mask",
            field="fixed mask",
            expected="at least one voxel",
            found="0 voxels",
            remedy="check the lung segmentation",
        )
    for name, image in (("fixed image", fixed), ("moving image", moving)):
        if not np.isfinite(image.array).all():
            raise BadInputError("voxels are NaN or infinite", code="non_finite", field=name, expected="finite values")
        lowest, highest = image.array.min(), image.array.max()
        if lowest == highest:
            raise BadInputError(
                "the image is constant",
                code="constant_image",
                field=name,
                expected="a CT scan",
                found=f"{lowest} everywhere",
            )
    smallest = min(fixed.grid.size)
    for radius, step, patch in zip(settings.search_radius, settings.quantisation, settings.patch_radius, strict=True):
        needed = max(radius * step, 2 * patch + 1)
        if needed > smallest:
            raise BadInputError(
                "the image is smaller than the search",
                code="image_too_small",
                field="size",
                expected=f">= {needed} voxels along each axis",
                found=fixed.grid.size,
                remedy="lower correspond.search_radius or use a larger image",
            )
