"""Loss and gradient against grid size (the supplement's Figure 4), the ratio to Figure 6, and what each part takes.

Run: python -m benchmarks.divroc.speed
"""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional

from benchmarks.divroc.figure_6 import figure_6
from benchmarks.tables import COLOURS, seconds, write_figure, write_rows
from lcsd.divroc import rasterise
from lcsd.divroc.chamfer import ChamferDistance
from lcsd.divroc.distance import CloudDistance
from lcsd.divroc.places import Places
from lcsd.divroc.reference import rasterise as plain_rasterise

GRIDS = (32, 51, 76, 114, 152)
DEFAULT = (0.8, 0.5)
"""Gaussian of seven taps per axis and saturation, as in the registration."""

LIKE_FIGURE_6 = (1 / 3, 0.0)
"""Three taps per axis and a squared difference, the work of the reference."""

Raster = Callable[[Tensor, Tensor, tuple[int, int, int]], Tensor]


def cloud(count: int, seed: int) -> Tensor:
    """Points all over the volume: no row is empty, the worst case for our kernels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, 3), generator=generator) * 1.8 - 0.9


def composed(raster: Raster, points: Tensor, grid: int) -> Callable[[], None]:
    """Return loss and gradient as the supplement composes them: 3^3 mean, squared difference."""
    shape, weights = (grid,) * 3, torch.ones(1, 1, len(points))
    target = functional.avg_pool3d(raster(cloud(len(points), 1)[None], weights, shape), 3, 1, 1)

    def run() -> None:
        free = points[None].clone().requires_grad_()
        density = functional.avg_pool3d(raster(free, weights, shape), 3, 1, 1)
        (density - target).square().mean().backward()

    return run


def raster_alone(raster: Raster, points: Tensor, grid: int) -> Callable[[], None]:
    """Return rasterising forward and backward, without any loss."""
    shape, weights = (grid,) * 3, torch.ones(1, 1, len(points))
    upstream = torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(0))

    def run() -> None:
        free = points[None].clone().requires_grad_()
        raster(free, weights, shape).backward(upstream)

    return run


def fused(points: Tensor, grid: int, sigma_voxels: float, gain: float) -> Callable[[], None]:
    """Return our distance, absolute if saturated, else squared."""
    distance = CloudDistance(
        cloud(len(points), 1), (grid,) * 3, sigma_voxels=sigma_voxels, gain=gain, norm="l1" if gain else "l2"
    )
    weights = distance.weights(points)

    def run() -> None:
        free = points.clone().requires_grad_()
        distance(free, weights).backward()

    return run


def chamfer(count: int) -> Callable[[], None]:
    """Return the Chamfer distance between clouds the size of a chest."""
    points = 150 * cloud(count, 0)
    distance = ChamferDistance(150 * cloud(count, 1).double().numpy(), scale_mm=1.0)

    def run() -> None:
        free = points.clone().requires_grad_()
        distance(free).backward()

    return run


def measure(count: int, grid: int) -> dict[str, object]:
    points = cloud(count, 0)
    row: dict[str, object] = {"points": count, "grid": grid}
    reference = seconds(composed(figure_6, points, grid), repeats=5)
    ours = seconds(fused(points, grid, *DEFAULT))
    alike = seconds(fused(points, grid, *LIKE_FIGURE_6))
    alone = seconds(raster_alone(figure_6, points, grid), repeats=5)
    ours_alone = seconds(raster_alone(rasterise, points, grid))
    row |= {
        "figure_6_s": reference,
        "divroc_s": ours,
        "divroc_like_figure_6_s": alike,
        "ratio": reference / ours,
        "ratio_like_figure_6": reference / alike,
        "figure_6_raster_s": alone,
        "raster_s": ours_alone,
        "raster_ratio": alone / ours_alone,
        "plain_raster_s": seconds(raster_alone(plain_rasterise, points, grid), repeats=3),
    }
    return row


def parts(count: int, grid: int) -> dict[str, object]:
    """Return the seconds of sorting, splat and gradient, and of moving their bytes through memory once."""
    points, shape = cloud(count, 0).numpy(), (grid,) * 3
    weights, volume = np.ones((1, count), np.float32), np.ones((1, *shape), np.float32)
    gradient, other = np.zeros_like(points), np.empty_like(volume)
    places = Places(points, shape)
    # Points and weights are read by both passes; the volume is written once and read once.
    moved = 2 * (points.nbytes + weights.nbytes) + gradient.nbytes + 2 * volume.nbytes
    per_byte = seconds(lambda: np.copyto(other, volume)) / (2 * volume.nbytes)
    return {
        "points": count,
        "grid": grid,
        "sort_s": seconds(lambda: list(Places(points, shape))),
        "splat_s": seconds(lambda: places.splat(weights, volume)),
        "gradient_s": seconds(lambda: places.gradient(weights, volume, gradient)),
        "memory_s": moved * per_byte,
    }


def draw(rows: list[dict[str, object]], chamfers: dict[int, float]) -> None:
    figure, axes = plt.subplots(figsize=(6.5, 4))
    of_100k = [row for row in rows if row["points"] == 100_000]
    grids = [row["grid"] for row in of_100k]
    for colour, key, label in zip(
        COLOURS,
        ("figure_6_s", "divroc_s", "divroc_like_figure_6_s"),
        ("Figure 6, 100k points", "lcsd, 100k points", "lcsd, 3^3 taps, squared"),
        strict=False,
    ):
        axes.plot(grids, [row[key] for row in of_100k], "o-", color=colour, label=label)
    for colour, (count, value) in zip(COLOURS[3:], chamfers.items(), strict=False):
        axes.axhline(value, color=colour, ls="--", label=f"Chamfer, {count // 1000}k points")
    axes.set(xlabel="voxels per axis", ylabel="loss + gradient, s", yscale="log")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    write_figure("divroc/speed", figure)


def main() -> None:
    rows = [measure(100_000, grid) for grid in GRIDS]
    rows.append(measure(200_000, 152))
    write_rows("divroc/speed", rows)
    write_rows("divroc/speed_parts", [parts(100_000, grid) for grid in GRIDS])
    chamfers = {count: seconds(chamfer(count), repeats=3) for count in (16_000, 80_000)}
    write_rows("divroc/speed_chamfer", [{"points": n, "chamfer_s": s} for n, s in chamfers.items()])
    draw(rows, chamfers)
    at = {(row["points"], row["grid"]): row for row in rows}
    for key in ("divroc_s", "divroc_like_figure_6_s"):
        more = np.divide(at[200_000, 152][key], at[100_000, 152][key])
        print(f"{key}, 200k over 100k points at 152^3: {more:.2f}")


if __name__ == "__main__":
    main()
