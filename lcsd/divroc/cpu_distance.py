"""The distance of two clouds on the CPU, by numpy and compiled kernels alone; see ``divroc.distance``."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.divroc import filters
from lcsd.divroc.places import Places, sampled, splatted
from lcsd.errors import BadInputError

Array = NDArray[Any]

Norm = Literal["l1", "l2"]


def kinds_of(labels: Array | None) -> list[int | None]:
    """Return the structures that labels (N,) name, ascending; one without a name if there are none."""
    return [None] if labels is None else [int(kind) for kind in np.unique(labels)]


def scale_of(volume: Array) -> float:
    """Return the factor that makes a target's response, or its square, sum to 1.

    Raises ``BadInputError`` (``no_overlap``) if it is nowhere above 0.
    """
    total = float(volume.sum(dtype=np.float64))
    if not total > 0:
        raise BadInputError(
            "the target cloud lies outside the grid",
            code="no_overlap",
            field="target",
            expected="points inside the raster",
            found="none",
        )
    return 1 / total


def typical_weights(
    density: Callable[[Array], Array], labels: Array | None, kinds: Sequence[int | None], *, like: Array, balance: float
) -> Array:
    """Return weights (C, N) that make the typical density 1 in each channel, one for each of the ``kinds``.

    ``density`` returns the smoothed raster of weights (1, N) at the points, shape (N,). ``like`` has N rows and the
    dtype. See :class:`lcsd.divroc.distance.CloudDistance`.
    """
    rows = []
    for kind in kinds:
        of_kind = np.ones((1, len(like)), like.dtype)
        if kind is not None and labels is not None:
            of_kind = (np.asarray(labels) == kind).astype(like.dtype)[None]
        rows.append(_normalised(density, of_kind, balance))
    return np.concatenate(rows)


def _normalised(density: Callable[[Array], Array], weights: Array, balance: float) -> Array:
    """Return weights (1, N) divided by the density that the weighted points see."""
    tiny = np.finfo(weights.dtype).tiny
    rounds = 2 if balance else 1  # balancing changes what is typical
    for last in range(1, rounds + 1):
        own = density(weights)
        if last < rounds:
            weights = weights * np.maximum(own, tiny) ** weights.dtype.type(-balance)
    seen = np.sort(own[weights[0] > 0])
    if not len(seen):
        return weights
    typical = seen[(len(seen) - 1) // 2]  # the lower of two medians, a density that some point sees
    result: Array = weights / np.maximum(typical, tiny)
    return result


class CpuDistance:
    """The distance of any cloud to one target cloud, and its gradient.

    Parameters and definition are those of :class:`lcsd.divroc.distance.CloudDistance`, with arrays for tensors. The
    object works in two volumes that it keeps, so it serves one thread at a time.
    """

    def __init__(
        self,
        target: Array,
        shape: tuple[int, int, int],
        *,
        sigma_voxels: float,
        gain: float,
        norm: Norm = "l1",
        balance: float = 0.0,
        labels: Array | None = None,
    ) -> None:
        self._shape = shape
        self._gain = gain
        self._norm = norm
        self._balance = balance
        self._taps = filters.gaussian_taps(sigma_voxels).astype(target.dtype)
        self._kinds = kinds_of(labels)
        self.target: Array
        self.set_target(target, self.weights(target, labels))
        self._scale = scale_of(self.target if norm == "l1" else np.square(self.target))
        self._buffers: tuple[Array, Array] | None = None

    def set_target(self, points: Array, weights: Array) -> None:
        """Compare with another cloud from now on: points (N, 3), weights (C, N)."""
        self.target = self._response(splatted(points, weights, self._shape))

    def _response(self, raster: Array) -> Array:
        """Return what is compared: a raster (C, D, H, W) smoothed and saturated."""
        response = np.empty_like(raster)
        for channel, volume in enumerate(raster):
            filters.respond(volume, self._taps, self._gain, response[channel])
        return response

    def weights(self, points: Array, labels: Array | None = None) -> Array:
        """Return weights (C, N) that make the cloud's typical density 1 in each channel."""

        def density(weights: Array) -> Array:
            return sampled(filters.smoothed(splatted(points, weights, self._shape), self._taps), points)[0]

        return typical_weights(density, labels, self._kinds, like=points, balance=self._balance)

    def value_and_gradient(self, points: Array, weights: Array) -> tuple[float, Array]:
        """Return the distance of points (N, 3) with weights (C, N), and its gradient in the points, shape (N, 3)."""
        if self._buffers is None:
            self._buffers = np.empty_like(self.target), np.empty_like(self.target)
        raster, slope = self._buffers
        places = Places(np.ascontiguousarray(points), self._shape)
        places.splat(weights, raster)
        return self._compared(places, weights, raster, self.target, slope)

    def between(self, first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[float, Array, Array]:
        """Return the distance of two clouds, whatever the target, and its gradient in the points of each.

        A cloud is its points (N, 3) and weights (C, N).
        """
        places = [Places(np.ascontiguousarray(points), self._shape) for points, _ in (first, second)]
        rasters = [np.empty_like(self.target) for _ in places]
        for place, (_, weights), raster in zip(places, (first, second), rasters, strict=True):
            place.splat(weights, raster)
        slope = np.empty_like(self.target)
        distance, own = self._compared(places[0], first[1], rasters[0], self._response(rasters[1]), slope)
        other = self._compared(places[1], second[1], rasters[1], self._response(rasters[0]), slope)[1]
        return distance, own, other

    def _compared(
        self, places: Places, weights: Array, raster: Array, response: Array, slope: Array
    ) -> tuple[float, Array]:
        """Return the distance of a raster's response to another one, and its gradient in the raster's points.

        ``slope`` is overwritten.
        """
        total = 0.0
        for channel, wanted in enumerate(response):
            total += filters.compare(
                raster[channel],
                wanted,
                self._taps,
                self._gain,
                self._norm == "l1",
                numba.get_num_threads(),
                slope[channel],
            ).sum()
        gradient = np.zeros((weights.shape[1], 3), weights.dtype)
        places.gradient(weights, slope, gradient)
        gradient *= self._scale
        return total * self._scale, gradient
