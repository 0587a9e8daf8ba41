"""corrfield: correspondences of distinctive image points by discrete optimisation on a tree.

Heinrich, Handels, Simpson, *Estimating large lung motion in COPD patients by symmetric regularised
correspondence fields*, MICCAI 2015; Hansen, Heinrich, IEEE TMI 40 (2021) 2246.

Inside this package arrays are ``(z, y, x)`` and points are voxel indices ``(z, y, x)``, because all kernels loop over
arrays; :mod:`lcsd.corrfield.correspond` converts.

Work on large arrays has two implementations behind :mod:`lcsd.corrfield.kernels`: numba for the CPU and torch for CUDA.
Schedule, tree, rejection and statistics have one.
"""
