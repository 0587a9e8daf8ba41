"""Registration of two point clouds: checks, method, and the result with its figures."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.checks import check_pair, places_of
from lcsd.divroc.extrapolation import extrapolate_vectors
from lcsd.divroc.motion import LayeredMotion, covering_grid, nodes
from lcsd.divroc.optimise import Progress, Starts, optimise
from lcsd.divroc.pair import CloudPair, needs_torch, schedule_of
from lcsd.divroc.places import splatted
from lcsd.divroc.start import starting_motion
from lcsd.divroc.trust import Trust, backward_motion, expected_error
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, field_quality
from lcsd.io.images import Image
from lcsd.io.points import Cloud
from lcsd.numerics.device import progress_bar
from lcsd.numerics.threads import beside, one_torch_thread
from lcsd.settings.register import RegisterSettings

FIELD_MARGIN_MM = 20.0
"""The default field covers the fixed cloud's box plus this."""

FIELD_SPACING_MM = 3.0
"""Spacing of the default field: a fifth of the motion's own smoothness, so linear is enough."""

NEAR_MM = 10.0
"""Folding and log det J are taken at field voxels this near (per axis) to a fixed point."""


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
        ``u`` on the requested grid; equals ``displacements`` at the points up to the grid's linear interpolation.
    inverse_field
        ``u'`` with ``x = y + u'(y)`` on the same grid or, without one, around the moving cloud;
        None unless the registration was symmetric.
    loss
        Distance per iteration over all levels, from 0 (equal) on, no unit. It jumps
        where a level begins, because a finer raster sees more differences.
    iterations
        Number of steps.
    seconds
        Wall time of the optimisation, without the field.
    folding_percent
        Share of field voxels near the fixed cloud with ``det(I + du/dx) <= 0``, percent.
    std_log_jacobian
        Standard deviation of ``log det(I + du/dx)`` there; None if every voxel folds.
    trust
        Expected errors; None for the baselines, without levels, and where the settings ask for none.
    """

    moved_points: NDArray[np.float32]
    displacements: NDArray[np.float32]
    field: DisplacementField
    inverse_field: DisplacementField | None
    loss: tuple[float, ...]
    iterations: int
    seconds: float
    folding_percent: float
    std_log_jacobian: float | None
    trust: Trust | None = None

    @property
    def expected_error_mm(self) -> NDArray[np.float32] | None:
        """Expected error at each fixed point, shape (N,), float32, mm; None as ``trust``."""
        return None if self.trust is None else self.trust.expected_mm


def _labels(cloud: NDArray[Any] | Cloud) -> NDArray[np.uint8] | None:
    return cloud.label if isinstance(cloud, Cloud) else None


def _thinned(points: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the rows that take part: one at each place, or a random subset, in the order of z.

    Neighbours in memory are then neighbours in space, which the rasteriser is fast on.
    """
    rows = places_of(points)[0]
    if len(rows) > most:
        rows = rows[np.random.default_rng(0).choice(len(rows), most, replace=False)]
    return rows[np.lexsort((rows, points[rows, 2]))]


def _cloud_pair(
    fixed: NDArray[Any] | Cloud,
    moving: NDArray[Any] | Cloud,
    points: tuple[NDArray[np.float64], NDArray[np.float64]],
    settings: RegisterSettings,
    device: str,
) -> CloudPair:
    rows = [_thinned(part, settings.max_points) for part in points]
    kinds = _labels(fixed), _labels(moving)
    labels = None
    if settings.use_labels and kinds[0] is not None and kinds[1] is not None:
        labels = kinds[0][rows[0]], kinds[1][rows[1]]
        if not np.isin(labels[0], labels[1]).any():
            raise BadInputError(
                "the clouds share no structure",
                code="labels_differ",
                field="label",
                expected=f"labels of the fixed cloud, {sorted(set(labels[0].tolist()))}",
                found=sorted(set(labels[1].tolist())),
                remedy="correct the labels, or set use_labels=false",
            )
    return CloudPair(points[0][rows[0]], points[1][rows[1]], labels, device)


class _PointMotion:
    """Motion known at points, extended to anywhere by an extrapolator."""

    def __init__(self, points: NDArray[np.float64], vectors: NDArray[Any], method: str, device: str) -> None:
        self._points = points
        self._vectors = np.asarray(vectors, dtype=np.float64)
        self._method = method
        self._device = device

    def at(self, points: NDArray[Any], *, device: str = "cpu") -> NDArray[np.float32]:
        """Return the displacement at LPS points (N, 3), float32, shape (N, 3), mm."""
        found = extrapolate_vectors(
            self._points, self._vectors, np.asarray(points, dtype=np.float64), method=self._method, device=device
        )
        return found.astype(np.float32)


def _move(
    pair: CloudPair, settings: RegisterSettings, progress: Progress | None, starts: Starts | None
) -> tuple[LayeredMotion | _PointMotion, tuple[float, ...]]:
    """Return the motion by the method asked for, and its distance per iteration."""
    motion: Any
    if settings.method == "cpd":
        from lcsd.divroc.cpd import drift

        start = starting_motion(pair, settings)
        motion, curve = drift(pair.fixed, pair.moving, start, settings.cpd, progress, labels=pair.labels)
    else:
        motion, curve = optimise(pair, settings, progress, starts)
    if settings.extrapolator != "own":
        vectors = motion.at(pair.fixed, device=pair.device)
        motion = _PointMotion(pair.fixed, vectors, settings.extrapolator, pair.device)
    return motion, curve


def _near(fixed: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of a grid within ``NEAR_MM`` per axis of a fixed point."""
    from scipy.ndimage import maximum_filter

    count = splatted(
        grid.world_to_normalised(fixed).astype(np.float32), np.ones((1, len(fixed)), np.float32), grid.shape
    )[0]
    reach = [2 * math.ceil(NEAR_MM / step) + 1 for step in grid.spacing[::-1]]
    near: NDArray[np.bool_] = maximum_filter(count > 0, size=reach)
    return near


def _around(points: NDArray[np.float64]) -> Grid:
    return covering_grid(points, spacing_mm=FIELD_SPACING_MM, margin_mm=FIELD_MARGIN_MM)


def _field(at: Any, grid: Grid, device: str) -> DisplacementField:
    return DisplacementField(at(nodes(grid), device=device).reshape(*grid.shape, 3), grid)


@contextmanager
def _reporting(
    progress: Progress | bool | None, pair: CloudPair, settings: RegisterSettings
) -> Iterator[Progress | None]:
    """Yield what is called after each iteration; draw a bar if ``progress`` is True."""
    if not isinstance(progress, bool):
        yield progress
        return
    levels = sum(level.iterations for level in schedule_of(pair, settings))
    most = settings.cpd.iterations if settings.method == "cpd" else levels
    with progress_bar(label="register", total=most, unit="step", disable=not progress) as bar:

        def show(iteration: int, distance: float) -> None:
            bar.set_postfix_str(f"distance {distance:.4f}", refresh=False)
            bar.update(iteration - bar.n)

        yield show


@contextmanager
def _way_back(pair: CloudPair, settings: RegisterSettings) -> Iterator[Callable[[], LayeredMotion | None]]:
    """Yield what returns the backward motion, None if not asked for; on the CPU it is computed during the block."""
    if settings.check() != "backward":
        yield lambda: None
    elif pair.device == "cpu":
        with beside(lambda: backward_motion(pair, settings)) as motion:
            yield motion
    else:
        # One thread at a time may record a CUDA graph.
        yield lambda: backward_motion(pair, settings)


def register_clouds(
    fixed: NDArray[Any] | Cloud,
    moving: NDArray[Any] | Cloud,
    *,
    settings: RegisterSettings | None = None,
    grid: Grid | None = None,
    device: str = "cpu",
    progress: Progress | bool | None = None,
    starts: Starts | None = None,
) -> RegistrationResult:
    """Register the fixed cloud to the moving cloud with a smooth deformation.

    Parameters
    ----------
    fixed, moving
        Clouds, or points of shape (N, 3) and (M, 3), LPS mm, one frame; N and M may differ and no point needs a
        partner. Where both clouds have labels, each structure is compared with its own kind.
    settings
        Method and resolutions; the defaults if None.
    grid
        Grid of the returned field; the fixed cloud's box plus 20 mm at 3 mm if None.
    device
        ``"cpu"`` (same bits for any number of threads) or ``"cuda"`` (the same bits only after
        ``torch.use_deterministic_algorithms(True)``, and slower then).
    progress
        Called after each iteration with its number and the distance; True draws a progress bar.
    starts
        Further motions to start from; networks need it.

    Returns
    -------
    RegistrationResult
        Moved points, displacements, field ``y = x + u(x)`` and figures.

    Raises
    ------
    BadInputError
        Empty, non-finite or degenerate cloud; wrong unit; clouds in different frames or of
        different structures; a grid that holds no fixed point; a method that is not installed, or that is a network
        (``bad_option``: call :func:`lcsd.networks.register.register_with_network`).
    WorkError
        If the optimisation diverges; names level and iteration.

    Notes
    -----
    Heinrich et al., *Chasing clouds*, ICCV 2023 (rasterised distance, splatted and smoothed
    motion, Adam run once or twice); start by means and standard deviations, twice-smoothed
    displacement grid, saturated densities and L1 after the same group's later optimisation.
    """
    settings = settings or RegisterSettings()
    if settings.learnt() and starts is None:
        raise BadInputError(
            "the method needs a network",
            code="bad_option",
            field="method",
            expected="a method without a network",
            found=settings.method,
            remedy="call lcsd.networks.register.register_with_network",
        )
    points = check_pair(fixed, moving)
    own = grid or _around(points[0])
    if not own.contains(points[0]).any():
        raise BadInputError(
            "the fixed cloud lies outside the grid of the field",
            code="no_overlap",
            field="grid",
            expected="at least one fixed point inside",
            found="none",
            remedy="give the image whose vessels made the fixed cloud",
        )
    pair = _cloud_pair(fixed, moving, points, settings, device)
    with one_torch_thread() if _uses_torch(settings, device, starts) else nullcontext():
        return _registered(pair, points, settings, grid, progress, starts)


def _uses_torch(settings: RegisterSettings, device: str, starts: Starts | None) -> bool:
    """Return whether any part of a registration runs on torch."""
    return needs_torch(settings, device) or starts is not None or settings.extrapolator == "divroc"


def _registered(
    pair: CloudPair,
    points: tuple[NDArray[np.float64], NDArray[np.float64]],
    settings: RegisterSettings,
    grid: Grid | None,
    progress: Progress | bool | None,
    starts: Starts | None,
) -> RegistrationResult:
    """Return the registration of checked clouds; ``points`` are all points of both."""
    own, device, began = grid or _around(points[0]), pair.device, time.perf_counter()
    with _way_back(pair, settings) as way_back:
        with _reporting(progress, pair, settings) as report:
            motion, curve = _move(pair, settings, report, starts)
        seconds = time.perf_counter() - began
        back = way_back()
    displacements = motion.at(points[0], device=device)
    field = _field(motion.at, own, device)
    inverse = None
    if settings.symmetric and isinstance(motion, LayeredMotion) and not motion.layers:
        inverse = _field(motion.inverse_at, grid or _around(points[1]), device)
    quality = field_quality(field, mask=Image(_near(points[0], own), own))
    moved = points[0] + displacements
    return RegistrationResult(
        moved_points=moved.astype(np.float32),
        displacements=displacements,
        field=field,
        inverse_field=inverse,
        loss=curve,
        iterations=len(curve),
        seconds=seconds,
        folding_percent=quality.folding_percent,
        std_log_jacobian=quality.std_log_jacobian,
        trust=expected_error(*points, moved, back=back, device=device, settings=settings),
    )


def moved_cloud(fixed: Cloud, result: RegistrationResult) -> Cloud:
    """Return the fixed cloud at its moved places, per-point arrays kept, with expected errors."""
    meta = {**fixed.meta, "stage": "register"}
    return replace(fixed, points=result.moved_points, expected_error_mm=result.expected_error_mm, meta=meta)


def summary(fixed: Cloud, moving: Cloud, result: RegistrationResult) -> dict[str, Any]:
    """Return the figures of a registration, JSON-serialisable, units in the names."""
    length = np.linalg.norm(result.displacements.astype(np.float64), axis=1)
    trust = result.trust
    return {
        "fixed_points": len(fixed),
        "moving_points": len(moving),
        "iterations": result.iterations,
        "distance": list(result.loss),
        "distance_final": result.loss[-1] if result.loss else None,
        "displacement_mean_mm": float(length.mean()),
        "displacement_max_mm": float(length.max()),
        "folding_percent": result.folding_percent,
        "std_log_jacobian": result.std_log_jacobian,
        "expected_error_median_mm": None if trust is None else trust.median_mm,
        "expected_error_p95_mm": None if trust is None else trust.p95_mm,
        "untrusted_share": None if trust is None else trust.untrusted_share,
    }
