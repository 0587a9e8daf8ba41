"""Differentiable volumetric rasterisation of point clouds (DiVRoC) and registration with it."""

from lcsd.divroc.rasterise import rasterise

__all__ = ["rasterise"]
