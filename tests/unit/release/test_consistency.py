"""Clouds that do not belong to their vessel map, or not to each other, are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.io.points import Cloud
from lcsd.release.consistency import check_dense, check_sparse


def changed_cloud(kind: str) -> tuple[str, Cloud]:
    """Return a broken form of the clouds that ``test_each_broken_cloud`` starts from."""
    dense = Cloud(np.array([[0, 0, 0], [1, 0, 0], [3, 2, 1]], np.float32))
    dense = replace(dense, radius=np.ones(3, np.float32), label=np.array([1, 2, 1], np.uint8))
    sparse = replace(dense, points=dense.points[1:], index=np.array([1, 2]), label=None, radius=np.ones(2, np.float32))
    shifted = dense.points + np.float32(0.3)
    return {
        "as it is": ("", dense),
        "a point less": ("points", replace(dense, points=dense.points[:2], label=None, radius=None)),
        "between voxels": ("points", replace(dense, points=shifted)),
        "outside": ("points", replace(dense, points=dense.points - np.float32(1))),
        "a point twice": ("points", replace(dense, points=dense.points[[0, 1, 1]])),
        "radius of two columns": ("radius", replace(dense, radius=np.ones((3, 2), np.float32))),
        "radius not finite": ("radius", replace(dense, radius=np.full(3, np.nan, np.float32))),
        "another label": ("label", replace(dense, label=np.array([1, 1, 1], np.uint8))),
        "sparse": ("", sparse),
        "sparse, no rows": ("index", replace(sparse, index=None)),
        "sparse, row 3 of 3": ("index", replace(sparse, index=np.array([1, 3]))),
        "sparse, row -1": ("index", replace(sparse, index=np.array([1, -1]))),
        "sparse, a row twice": ("index", replace(sparse, index=np.array([1, 1]))),
        "sparse, elsewhere": ("points", replace(sparse, index=np.array([2, 1]))),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "as it is",
        "a point less",
        "between voxels",
        "outside",
        "a point twice",
        "radius of two columns",
        "radius not finite",
        "another label",
        "sparse",
        "sparse, no rows",
        "sparse, row 3 of 3",
        "sparse, row -1",
        "sparse, a row twice",
        "sparse, elsewhere",
    ],
)
def test_each_broken_cloud(kind: str) -> None:
    field, cloud = changed_cloud(kind)
    _, dense = changed_cloud("as it is")
    vessels = np.zeros((2, 3, 4), np.uint8)
    vessels[0, 0, 0] = vessels[1, 2, 3] = 1
    vessels[0, 0, 1] = 2
    map_ = Image(vessels, Grid((4, 3, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))

    def check() -> None:
        if kind.startswith("sparse"):
            check_sparse(cloud, dense, file=Path("cloud.npz"))
        else:
            check_dense(cloud, map_, file=Path("cloud.npz"))

    if not field:
        check()
        return
    with pytest.raises(BadInputError) as caught:
        check()
    assert (caught.value.code, caught.value.field) == ("inconsistent_case", field)
