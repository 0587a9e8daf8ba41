"""The vessel clouds of a case before and after each registration, and their residual distances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lcsd.build.inventory import Case, Inventory
from lcsd.build.jobs import METHODS
from lcsd.errors import BadInputError
from lcsd.io.fields import read_field
from lcsd.io.points import read_cloud
from lcsd.names import SCANS

Points = NDArray[np.float64]


@dataclass(frozen=True)
class MovedCloud:
    """The fixed vessel points as a method registers them."""

    points: Points  # ``x + u(x)``, shape (N, 3), LPS mm
    residual: NDArray[np.float64]  # distance of each point to the nearest moving vessel point, shape (N,), mm


@dataclass(frozen=True)
class RegisteredClouds:
    """Both vessel clouds of a case, and the fixed one as each method moves it."""

    # Shapes (N, 3) and (M, 3), LPS mm, in common space
    fixed: Points
    moving: Points
    before: NDArray[np.float64]  # distance of each fixed point to the nearest moving one, shape (N,), mm
    after: Mapping[str, MovedCloud]  # by method, in the order of display


def registered_clouds(case: Case, inventory: Inventory) -> RegisteredClouds | None:
    """Return the dense vessel clouds of a case before and after each method.

    Moved points are those that DiVRoC wrote. If it registered the sparse clouds, and for corrfield, the field is
    sampled at the fixed points. None if a cloud is missing, empty or broken. A method without a usable file is left
    out; broken files are recorded.
    """
    clouds = [inventory.attempt(case.files.cloud(scan, "dense"), read_cloud) for scan in SCANS]
    if clouds[0] is None or clouds[1] is None or not len(clouds[0]) or not len(clouds[1]):
        return None
    fixed, moving = (np.asarray(cloud.points, np.float64) for cloud in clouds if cloud is not None)
    near = KDTree(moving)
    after = {}
    for method in sorted(METHODS, key=lambda name: name != "divroc"):
        points = _moved_points(case, inventory, method, fixed)
        if points is not None:
            after[method] = MovedCloud(points, near.query(points)[0])
    return RegisteredClouds(fixed, moving, near.query(fixed)[0], after)


def _moved_points(case: Case, inventory: Inventory, method: str, fixed: Points) -> Points | None:
    files = case.files
    written = inventory.attempt(files.moved_points, read_cloud) if method == "divroc" else None
    if written is not None and len(written) == len(fixed):
        return np.asarray(written.points, np.float64)
    sparse = case.points.get(("fixed", "keypoints"))
    if written is not None and len(written) != sparse:
        error = BadInputError(
            "the moved points belong to another cloud",
            code="length_mismatch",
            expected=f"{len(fixed)} or {sparse} points",
            found=len(written),
        )
        inventory.problem(files.moved_points, error.message)
        return None
    field = inventory.attempt(files.field(method), read_field)
    return None if field is None else fixed + field.at(fixed)
