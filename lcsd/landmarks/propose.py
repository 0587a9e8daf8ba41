"""Propose landmarks for a person to correct: distinctive points of the lung and their predicted matches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.correspond import kernels_on
from lcsd.corrfield.foerstner import find_keypoints, keypoint_scores
from lcsd.corrfield.mind import FULL
from lcsd.errors import BadInputError
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image, check_same_grid
from lcsd.io.points import PointPairs
from lcsd.landmarks.origin import predicted
from lcsd.landmarks.spread import spread_out
from lcsd.settings.correspond import CorrespondSettings
from lcsd.settings.landmarks import LandmarksSettings

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Proposal:
    """Predicted landmarks.

    Pairs are in LPS mm in the images' space, with ids ``1`` to ``N`` (the most distinctive first), ``origin`` and
    ``weight = exp(-(doubt / doubt_mm)^2)``. The doubt (N,) of each match is in mm, see :func:`doubts`; it is infinite
    (weight 0) if the match lies outside the moving image.
    """

    pairs: PointPairs
    doubt: Points


def distinctive_points(
    image: Image, mask: Image, *, settings: LandmarksSettings | None = None, corrfield: CorrespondSettings | None = None
) -> Points:
    """Return well-spread, distinctive points (count, 3) of a lung, LPS mm, the most distinctive first.

    Candidates are maxima of Foerstner's distinctiveness within ``nms_radius`` voxels. The ``pool_share`` with the
    largest values stay, and :func:`lcsd.landmarks.spread.spread_out` takes ``count`` of them. Points are at least
    ``correspond.erosion`` voxels from the pleura.

    Raises ``BadInputError`` if the CT (HU) and the mask differ in their grids, the mask is empty, or there are fewer
    candidates than ``count`` (``too_few_points``).
    """
    settings, corrfield = settings or LandmarksSettings(), corrfield or CorrespondSettings()
    check_same_grid(mask.grid, image.grid)
    scores = keypoint_scores(
        image.array.astype(np.float32), mask.array != 0, sigma=corrfield.sigma, erosion=corrfield.erosion
    )
    voxels = find_keypoints(scores, nms_radius=settings.nms_radius, threshold=corrfield.keypoint_threshold)
    found = scores[tuple(voxels.T)]
    order = np.argsort(-found, kind="stable")
    order = order[: max(int(np.ceil(settings.pool_share * len(order))), settings.count)]
    if len(order) < settings.count:
        raise BadInputError(
            "too few distinctive points in the lung",
            code="too_few_points",
            field="count",
            expected=f">= {settings.count}",
            found=len(order),
            remedy="lower landmarks.count or landmarks.nms_radius",
        )
    world = image.grid.voxel_to_world(voxels[order][:, ::-1].astype(np.float64))
    return np.asarray(world[spread_out(world, settings.count)])


def doubts(
    fixed: Image,
    moving: Image,
    field: DisplacementField,
    points: Points,
    *,
    settings: LandmarksSettings | None = None,
    corrfield: CorrespondSettings | None = None,
    device: str = "cpu",
) -> Points:
    """Return how far images and prediction disagree at points, mm, shape (N,).

    The moving image is warped by the field, so a correct prediction leaves each point in place. The patch around a
    point is searched in the warped image, independent of other points, and found ``a`` away; its patch there is
    searched in the fixed image and found ``b`` away. The doubt is ``|a| + |a + b|``: how far the images alone would
    move the match, plus how far the two searches disagree.

    Images are CT in HU on one grid; the field may have any grid that holds the points, (N, 3) in LPS mm, rounded to the
    images' voxels. Features (MIND-SSC), patch, costs and soft minimum are those of corrfield's last stage.
    """
    settings, corrfield = settings or LandmarksSettings(), corrfield or CorrespondSettings()
    check_same_grid(moving.grid, fixed.grid)
    kernels = kernels_on(device)
    vectors = fixed.grid.world_vectors_to_voxel(field.on(fixed.grid).vectors.astype(np.float64))
    back = kernels.upload(np.ascontiguousarray(vectors.transpose(3, 0, 1, 2)[::-1], np.float32))
    other = kernels.upload(moving.array.astype(np.float32)[None])
    warped = kernels.warp(other, back)[0]
    step, sigma = corrfield.mind_step, corrfield.mind_sigma
    here = kernels.features(kernels.upload(fixed.array.astype(np.float32)), step=step, sigma=sigma)
    there = kernels.features(warped, step=step, sigma=sigma)
    at = np.rint(fixed.grid.world_to_voxel(points))[:, ::-1]

    def search(source: object, target: object, places: Points) -> Points:
        costs = kernels.cost_volumes(
            source,
            target,
            np.ascontiguousarray(places),
            radius=settings.search_voxels,
            step=1,
            patch_radius=corrfield.patch_radius[-1],
            alpha=corrfield.alpha / FULL**2,
        )
        return kernels.soft_minimum(costs, gamma=corrfield.gamma, step=1)

    away = search(here, there, at)
    returned = away + search(there, here, at + away)
    lengths = [np.linalg.norm(fixed.grid.voxel_vectors_to_world(part[:, ::-1]), axis=1) for part in (away, returned)]
    return np.asarray(lengths[0] + lengths[1])


def propose_landmarks(
    fixed: Image,
    moving: Image,
    mask: Image,
    field: DisplacementField,
    *,
    method: str,
    settings: LandmarksSettings | None = None,
    corrfield: CorrespondSettings | None = None,
    device: str = "cpu",
) -> Proposal:
    """Return distinctive points of the fixed lung with their predicted matches and doubts.

    Images (HU) and the fixed lung's ``mask`` share one grid; the ``field`` with the predicted matches may have any;
    ``method`` names what made it, for ``origin``. Raises ``BadInputError`` if grids differ, too few points are
    distinctive, the field does not reach one of them (``no_overlap``), or all matches lie outside the moving image
    (``landmark_outside``).
    """
    settings = settings or LandmarksSettings()
    points = distinctive_points(fixed, mask, settings=settings, corrfield=corrfield)
    beyond = int((~field.grid.contains(points)).sum())
    if beyond:
        raise BadInputError(
            "the field does not cover the lung",
            code="no_overlap",
            field=method,
            expected=f"all {len(points)} points inside its grid",
            found=f"{beyond} outside",
            remedy="check that the field belongs to the scans",
        )
    doubt = doubts(fixed, moving, field, points, settings=settings, corrfield=corrfield, device=device)
    matches = points + field.at(points)
    inside = moving.grid.contains(matches)
    if not inside.any():
        raise BadInputError(
            "all predicted matches lie outside the follow-up",
            code="landmark_outside",
            field=method,
            remedy="check that the field belongs to the scans",
        )
    # Outside, the warped image repeats its border, which proves nothing.
    doubt[~inside] = np.inf
    pairs = PointPairs(
        points,
        matches,
        ids=tuple(str(n + 1) for n in range(len(points))),
        weight=np.exp(-((doubt / settings.doubt_mm) ** 2)),
        origin=(predicted(method),) * len(points),
    )
    return Proposal(pairs, doubt)
