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
from lcsd.io.points import Cloud, read_cloud
from lcsd.names import SCANS

Points = NDArray[np.float64]


@dataclass(frozen=True)
class MovedCloud:
    """The fixed vessel points as a method registers them."""

    points: Points  # ``x + u(x)``, shape (N, 3), LPS mm
    residual: NDArray[np.float64]  # distance of each point to the nearest moving vessel point, shape (N,), mm
    expected: NDArray[np.float64] | None = None  # expected error of each point, shape (N,), mm


@dataclass(frozen=True)
class RegisteredClouds:
    """Both vessel clouds of a case, and the fixed one as each method moves it."""

    # Shapes (N, 3) and (M, 3), LPS mm, in common space
    fixed: Points
    moving: Points
    before: NDArray[np.float64]  # distance of each fixed point to the nearest moving one, shape (N,), mm
    after: Mapping[str, MovedCloud]  # by method, in the order of display

    def apart(self) -> NDArray[np.float64] | None:
        """Return the distance of each fixed point's places by the two methods, shape (N,), mm; None without both."""
        if len(self.after) != len(METHODS):
            return None
        first, second = (moved.points for moved in self.after.values())
        distance: NDArray[np.float64] = np.linalg.norm(first - second, axis=1)
        return distance


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
    written = inventory.attempt(case.files.moved_points, read_cloud)
    for method in sorted(METHODS, key=lambda name: name != "divroc"):
        own = written if method == "divroc" else None
        points = _moved_points(case, inventory, method, fixed, own)
        if points is not None:
            expected = None if own is None else _expected(case, inventory, fixed, own)
            after[method] = MovedCloud(points, near.query(points)[0], expected)
    return RegisteredClouds(fixed, moving, near.query(fixed)[0], after)


def _expected(case: Case, inventory: Inventory, fixed: Points, written: Cloud) -> NDArray[np.float64] | None:
    """Return the expected error of each fixed point; that of the nearest keypoint if these were registered."""
    if written.expected_error_mm is None:
        return None
    errors = written.expected_error_mm.astype(np.float64)
    if len(errors) == len(fixed):
        return errors
    sparse = inventory.attempt(case.files.cloud("fixed", "keypoints"), read_cloud)
    if sparse is None or len(sparse) != len(errors):
        return None
    nearest: NDArray[np.float64] = errors[KDTree(sparse.points).query(fixed)[1]]
    return nearest


def _moved_points(case: Case, inventory: Inventory, method: str, fixed: Points, written: Cloud | None) -> Points | None:
    """Return the fixed points as a method moves them; ``written`` are the points that it wrote, if it wrote any."""
    files = case.files
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
    field = inventory.once(files.field(method), read_field)
    return None if field is None else fixed + field.at(fixed)
