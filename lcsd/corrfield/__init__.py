"""corrfield: correspondences of distinctive image points by discrete optimisation on a tree.

Heinrich, Handels, Simpson, *Estimating large lung motion in COPD patients by symmetric regularised
correspondence fields*, MICCAI 2015; Hansen, Heinrich, IEEE TMI 40 (2021) 2246.

Inside this package arrays are ``(z, y, x)`` and points are voxel indices ``(z, y, x)``, because
every kernel walks through arrays; :mod:`lcsd.corrfield.correspond` converts at the border.

What works on large arrays exists twice behind :mod:`lcsd.corrfield.kernels`: compiled by numba for
the CPU, and in torch for CUDA. Schedule, tree, rejection and statistics exist once.
"""
