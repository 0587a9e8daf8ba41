"""Differentiable volumetric rasterisation of point clouds (DiVRoC) and registration with it.

``rasterise`` loads torch when it is first used; registration on the CPU does without.
"""

from typing import Any

__all__ = ["rasterise"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lcsd.divroc import rasters

        return getattr(rasters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
