"""Executables that tests write in place of ``linearBCV``."""

import sys
from pathlib import Path

CHECKS = """#!{python}
import os, sys, time
import nibabel, numpy as np
names, values = sys.argv[1::2], sys.argv[2::2]
assert names == ["-F", "-M", "-R", "-O"], sys.argv
assert values[2] == "1" and all(v.endswith(".nii.gz") for v in values[:2]), values
fixed, moving = (nibabel.load(v) for v in values[:2])
assert fixed.shape == moving.shape and fixed.get_data_dtype() == np.int16
assert (fixed.affine == moving.affine).all()
zooms = fixed.header.get_zooms()
assert max(zooms) - min(zooms) < 1e-5, zooms
assert int(fixed.header["vox_offset"]) in (0, 352)
prefix = values[3]
"""


def write_program(path: Path, body: str) -> Path:
    """Write an executable that checks its call and images like linearBCV, then runs ``body``.

    The body knows ``fixed`` and ``moving`` (nibabel images) and ``prefix``.
    """
    path.write_text(CHECKS.format(python=sys.executable) + body, encoding="utf-8")
    path.chmod(0o755)
    return path


def printing(matrix_lines: str) -> str:
    """Return a body that writes these lines as its matrix."""
    return f"open(prefix + '_matrix.txt', 'w').write({matrix_lines!r})\n"
