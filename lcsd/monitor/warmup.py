"""Compile all CPU kernels once, so that no user waits for it: ``python -m lcsd.monitor.warmup``.

A very small piece of real work compiles the kernels for its array types; numba stores the machine code next to the
modules.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from lcsd.clouds.cloud import dense_cloud
from lcsd.corrfield.correspond import find_correspondences
from lcsd.divroc.register import register_clouds
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.networks.kernels import block_differences
from lcsd.phantom.phantom import write_cases
from lcsd.settings.correspond import CorrespondSettings
from lcsd.settings.register import RegisterLevel, RegisterSettings

EDGE = 24
"""Voxels of the small images."""


def _image() -> Image:
    grid = Grid((EDGE,) * 3, (1.5,) * 3, (0.0,) * 3)
    noise = np.random.default_rng(0).normal(size=grid.shape)
    return Image((900 * gaussian_filter(noise, 1.5)).astype(np.float32), grid)


def _correspondences() -> None:
    image = _image()
    middle = np.zeros(image.grid.shape, bool)
    middle[4:-4, 4:-4, 4:-4] = True
    settings = CorrespondSettings(search_radius=(2, 2), erosion=1)
    find_correspondences(image, image, Image(middle, image.grid), settings=settings)


def _registration() -> None:
    image = _image()
    cloud = dense_cloud(Image(image.array > 100, image.grid))
    level = RegisterLevel(raster_mm=4.0, flow_mm=4.0, sigma_voxels=1.0, iterations=2)
    for more in ({}, {"symmetric": True}, {"extrapolator": "divroc"}, {"extrapolator": "tps"}):
        register_clouds(cloud, cloud, settings=RegisterSettings(effort="fast", levels=(level,), **more))


def _search() -> None:
    volume = np.zeros((12, 12, 12), np.float32)
    block_differences(volume, volume, np.array([(0, 0, 0)]), 4, np.empty((1, 2, 2, 2), np.float32))


def _phantom() -> None:
    with tempfile.TemporaryDirectory() as folder:
        list(write_cases(Path(folder), cases=1, seed=0, size="tiny"))


WORKS: tuple[Callable[[], None], ...] = (_correspondences, _registration, _phantom, _search)
"""Small pieces of work that share few kernels, longest first."""


def main() -> None:
    """Run every kernel on a small piece of work; in several processes, since the compiler has one thread."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(WORKS), os.cpu_count() or 1), mp_context=spawn) as pool:
        for done in [pool.submit(work) for work in WORKS]:
            done.result()
    sys.stderr.write("lcsd: kernels compiled\n")


if __name__ == "__main__":
    main()
