"""Longitudinal lung CT pairs to vessel clouds, correspondences, registration and evaluation.

The public functions load their heavy dependencies only when they are first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from lcsd.numerics import kernel_cache

kernel_cache.prepare()

__version__ = version("lcsd")

_PUBLIC = {
    "LCSDataset": "lcsd.data",
    "evaluate_tre": "lcsd.evaluation.evaluate",
    "find_correspondences": "lcsd.corrfield.correspond",
    "find_keypoints": "lcsd.clouds.keypoints",
    "register_clouds": "lcsd.divroc.register",
}

__all__ = ["__version__"]
__all__ += list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'lcsd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
