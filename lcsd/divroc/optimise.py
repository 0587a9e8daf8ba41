"""Registration of two point clouds by optimising a smooth displacement grid (DiVRoC)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.divroc.distance import CloudDistance
from lcsd.divroc.motion import Motion, clamped, covering_grid, nodes
from lcsd.divroc.rasterise import rasterise, sample
from lcsd.divroc.smoothing import mean_taps, smooth
from lcsd.errors import BadInputError, WorkError
from lcsd.evaluation.jacobian import field_quality
from lcsd.files import Cloud, check_points
from lcsd.geometry import Grid
from lcsd.images import DisplacementField, Image
from lcsd.settings.register import RegisterLevel, RegisterSettings

FIELD_MARGIN_MM = 20.0
"""The default field covers the fixed cloud's box plus this."""

FIELD_SPACING_MM = 3.0
"""Spacing of the default field: a fifth of the motion's own smoothness, so linear is enough."""

MAX_APART_MM = 500.0
"""Lungs of one patient are never this far apart; clouds of different frames often are."""

MAX_EXTENT_MM = 1500.0
"""No cloud of a chest is larger; clouds in micrometres are."""

MIN_EXTENT_MM = 1.0
"""Nor smaller than a vessel's width; a chest in metres spans 0.3."""

SCALE_RANGE = (0.7, 1.4)
"""Limits of the start's scale per axis: breathing changes a lung's height by a third at most,
a missing lobe changes the standard deviation more."""

RASTER_MARGIN_SIGMAS = 4.0
"""Room around the clouds on the raster, in Gaussian standard deviations."""

RASTER_MARGIN_MM = 5.0
"""Further room around the clouds on the raster: moved points may leave their start's box."""

NEAR_MM = 10.0
"""Folding and log det J are taken at field voxels this near (per axis) to a fixed point."""

Progress = Callable[[int, float], None]
"""Called after each iteration with its number (from 1) and the distance."""


@dataclass(frozen=True)
class RegistrationResult:
    """A registration of two clouds.

    Parameters
    ----------
    moved_points
        Fixed points after the motion, shape (N, 3), float32, LPS mm.
    displacements
        ``u`` at the fixed points, shape (N, 3), float32, mm.
    field
        ``u`` on the requested grid; equals ``displacements`` at the points up to the grid's
        linear interpolation.
    loss
        Distance per iteration over all levels and passes, from 0 (equal) on, no unit. It jumps
        where a level begins, because a finer raster sees more differences.
    iterations
        Number of Adam steps.
    folding_percent
        Share of field voxels near the fixed cloud with ``det(I + du/dx) <= 0``, percent.
    std_log_jacobian
        Standard deviation of ``log det(I + du/dx)`` there; None if every voxel folds.
    """

    moved_points: NDArray[np.float32]
    displacements: NDArray[np.float32]
    field: DisplacementField
    loss: tuple[float, ...]
    iterations: int
    folding_percent: float
    std_log_jacobian: float | None


def _checked(cloud: NDArray[Any] | Cloud, name: str) -> NDArray[np.float64]:
    """Return the points of a cloud as float64 after refusing what cannot be registered."""
    raw = cloud.points if isinstance(cloud, Cloud) else np.asarray(cloud)
    check_points(raw, name=name)
    points = np.asarray(raw, dtype=np.float64)
    extent = float((points.max(axis=0) - points.min(axis=0)).max())
    if extent == 0:
        raise BadInputError(
            "the cloud is a single place", code="degenerate_cloud", field=name,
            expected="points that differ", found=f"{len(points)} equal points",
        )  # fmt: skip
    if not MIN_EXTENT_MM <= extent <= MAX_EXTENT_MM:
        raise BadInputError(
            "the cloud is too small or too large for a chest in mm", code="wrong_unit", field=name,
            expected=f"{MIN_EXTENT_MM:g} to {MAX_EXTENT_MM:g} mm across", found=f"{extent:.4g}",
            remedy="convert the coordinates to millimetres",
        )  # fmt: skip
    return points


def check_pair(
    fixed: NDArray[Any] | Cloud, moving: NDArray[Any] | Cloud
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of two clouds, float64, if they can be registered.

    Raises
    ------
    BadInputError
        As :func:`register_clouds`, for the clouds.
    """
    points = _checked(fixed, "fixed"), _checked(moving, "moving")
    apart = float(np.linalg.norm(points[0].mean(axis=0) - points[1].mean(axis=0)))
    if apart > MAX_APART_MM:
        raise BadInputError(
            "the clouds are in different frames", code="frame_mismatch", field="fixed, moving",
            expected=f"means within {MAX_APART_MM:g} mm", found=f"{apart:.0f} mm apart",
            remedy="bring both into one LPS mm frame (a flipped axis or RAS/LPS mix-up is likely)",
        )  # fmt: skip
    return points


def _start(fixed: NDArray[np.float64], moving: NDArray[np.float64], kind: str) -> Motion:
    """Return the motion that matches means and standard deviations of the clouds."""
    scale = np.ones(3)
    if kind == "affine":
        spread, wanted = fixed.std(axis=0), moving.std(axis=0)
        usable = (spread > 0) & (wanted > 0)  # a flat cloud says nothing about its thin axis
        scale[usable] = np.clip(wanted[usable] / spread[usable], *SCALE_RANGE)
    centre = fixed.mean(axis=0)
    offset = np.zeros(3) if kind == "none" else moving.mean(axis=0) - centre
    return Motion(centre, np.diag(scale - 1), offset)


def _roughness(flow: Tensor, spacing_mm: float) -> Tensor:
    """Return the mean squared gradient of a displacement grid, no unit."""
    total = flow.new_zeros(())
    for axis in (2, 3, 4):
        if flow.shape[axis] > 1:
            total = total + (flow.diff(dim=axis) / spacing_mm).square().mean()
    return total


class _Level:
    """One level of the optimisation: a displacement grid added to the motion so far."""

    def __init__(
        self,
        fixed: NDArray[np.float64],
        moving: NDArray[np.float64],
        motion: Motion,
        level: RegisterLevel,
        *,
        settings: RegisterSettings,
        device: str,
    ) -> None:
        self._settings = settings
        self._level = level
        self.iterations = level.iterations
        base = fixed + motion.at(fixed, device=device)
        margin = RASTER_MARGIN_SIGMAS * level.sigma_voxels * level.raster_mm + RASTER_MARGIN_MM
        self._raster = covering_grid(
            np.concatenate([base, moving]), spacing_mm=level.raster_mm, margin_mm=margin
        )
        self._base = torch.as_tensor(base, dtype=torch.float32, device=device)
        target = torch.as_tensor(moving, dtype=torch.float32, device=device)
        self._distance = CloudDistance(
            self._raster.world_to_normalised(target), self._raster.shape,
            sigma_voxels=level.sigma_voxels, gain=settings.saturation, norm=settings.norm,
        )  # fmt: skip
        self._weights = self._distance.weights(self._raster.world_to_normalised(self._base))
        self._taps = mean_taps(settings.flow_mean_width, settings.flow_mean_times)
        # Every point must see whole kernels, or motion would be damped at the border.
        reach = (len(self._taps) // 2 + 1) * level.flow_mm
        self.grid = covering_grid(fixed, spacing_mm=level.flow_mm, margin_mm=reach)
        points = torch.as_tensor(fixed, dtype=torch.float32, device=device)
        self._at = clamped(self.grid, points)[None]
        places = torch.as_tensor(nodes(self.grid), dtype=torch.float32, device=device)
        self._before = motion.layered(places).T.reshape(1, 3, *self.grid.shape)
        self.control = torch.zeros_like(self._before).requires_grad_()

    def flow(self) -> Tensor:
        """Return the displacement grid, shape (1, 3, D, H, W), mm."""
        return smooth(self.control, self._taps)

    def losses(self) -> tuple[Tensor, Tensor]:
        """Return the distance, and the distance plus the weighted roughness."""
        flow = self.flow()
        moved = self._base + sample(flow, self._at)[0].T
        distance = self._distance(self._raster.world_to_normalised(moved), self._weights)
        roughness = _roughness(self._before + flow, self._level.flow_mm)
        return distance.detach(), distance + self._settings.smoothness * roughness

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration (from 0): a cosine from first to last."""
        first, last = 1.0, self._settings.final_rate_share
        wave = 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))
        return self._settings.learning_rate_mm * (last + (first - last) * wave)


def _descend(level: _Level, tell: Callable[[float], None], *, name: str) -> None:
    """Run Adam on a level; tell the distance of every iteration."""
    adam = torch.optim.Adam([level.control])
    for iteration in range(level.iterations):
        adam.param_groups[0]["lr"] = level.rate(iteration)
        adam.zero_grad()
        distance, objective = level.losses()
        if not bool(torch.isfinite(objective)):
            raise WorkError(
                "the optimisation diverged", code="diverged",
                field=f"{name}, iteration {iteration + 1}",
                expected="a finite objective", found=float(objective.detach()),
                remedy="lower learning_rate_mm or raise smoothness",
            )  # fmt: skip
        objective.backward()  # type: ignore[no-untyped-call]
        adam.step()
        tell(float(distance))


def _optimise(
    fixed: NDArray[np.float64],
    moving: NDArray[np.float64],
    settings: RegisterSettings,
    device: str,
    progress: Progress | None,
) -> tuple[Motion, tuple[float, ...]]:
    """Return the motion and the distance of every iteration."""
    curve: list[float] = []

    def tell(distance: float) -> None:
        curve.append(distance)
        if progress is not None:
            progress(len(curve), distance)

    motion = _start(fixed, moving, settings.start)
    for number, resolution in enumerate(settings.schedule(), start=1):
        level = _Level(fixed, moving, motion, resolution, settings=settings, device=device)
        _descend(level, tell, name=f"level {number}")
        motion.layers.append((level.grid, level.flow().detach()))
    return motion, tuple(curve)


def _near(fixed: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of a grid within ``NEAR_MM`` per axis of a fixed point."""
    from scipy.ndimage import maximum_filter  # noqa: PLC0415

    points = torch.as_tensor(grid.world_to_normalised(fixed), dtype=torch.float32)
    count = rasterise(points[None], torch.ones(1, 1, len(fixed)), grid.shape)[0, 0].numpy()
    reach = [2 * math.ceil(NEAR_MM / step) + 1 for step in grid.spacing[::-1]]
    near: NDArray[np.bool_] = maximum_filter(count > 0, size=reach)
    return near


def _result(
    fixed: NDArray[np.float64],
    motion: Motion,
    curve: tuple[float, ...],
    grid: Grid,
    device: str,
) -> RegistrationResult:
    displacements = motion.at(fixed, device=device)
    vectors = motion.at(nodes(grid), device=device).reshape(*grid.shape, 3)
    field = DisplacementField(vectors, grid)
    quality = field_quality(field, mask=Image(_near(fixed, grid), grid))
    return RegistrationResult(
        moved_points=(fixed + displacements).astype(np.float32),
        displacements=displacements,
        field=field,
        loss=curve,
        iterations=len(curve),
        folding_percent=quality.folding_percent,
        std_log_jacobian=quality.std_log_jacobian,
    )


def register_clouds(
    fixed: NDArray[Any] | Cloud,
    moving: NDArray[Any] | Cloud,
    *,
    settings: RegisterSettings | None = None,
    grid: Grid | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> RegistrationResult:
    """Return the smooth motion that lays the fixed cloud onto the moving cloud.

    Parameters
    ----------
    fixed, moving
        Clouds, or points of shape (N, 3) and (M, 3), LPS mm, one frame; N and M may differ and
        no point needs a partner.
    settings
        Method and resolutions; the defaults if None.
    grid
        Grid of the returned field; the fixed cloud's box plus 20 mm at 3 mm if None.
    device
        ``"cpu"`` (same bits for any number of threads) or ``"cuda"``.
    progress
        Called after each iteration with its number and the distance.

    Returns
    -------
    RegistrationResult
        Moved points, displacements, field ``y = x + u(x)`` and figures.

    Raises
    ------
    BadInputError
        Empty, non-finite or degenerate cloud; wrong unit; clouds in different frames; a grid
        that holds no fixed point.
    WorkError
        If the optimisation diverges; names level and iteration.

    Notes
    -----
    Heinrich et al., *Chasing clouds*, ICCV 2023 (rasterised distance, splatted and smoothed
    motion, Adam run once or twice); start by means and standard deviations, twice-smoothed
    displacement grid, saturated densities and L1 after the same group's later optimisation.
    """
    settings = settings or RegisterSettings()
    fixed_points, moving_points = check_pair(fixed, moving)
    if grid is None:
        grid = covering_grid(fixed_points, spacing_mm=FIELD_SPACING_MM, margin_mm=FIELD_MARGIN_MM)
    if not grid.contains(fixed_points).any():
        raise BadInputError(
            "the fixed cloud lies outside the grid of the field", code="no_overlap", field="grid",
            expected="at least one fixed point inside", found="none",
            remedy="give the image whose vessels made the fixed cloud",
        )  # fmt: skip
    motion, curve = _optimise(fixed_points, moving_points, settings, device, progress)
    return _result(fixed_points, motion, curve, grid, device)
