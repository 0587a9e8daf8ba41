"""Plan one case: trees, landmarks, an accepted motion, and the geometry of both scans."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import WorkError
from lcsd.phantom import trees
from lcsd.phantom.anatomy import Body, Points, lung_levels
from lcsd.phantom.fits import affine_residual, bspline_residual, mean_length, rigid_fit
from lcsd.phantom.motion import Motion, draw_motion, rotation_matrix, scaled
from lcsd.phantom.scanner import Scan
from lcsd.phantom.seeds import Purpose, generator
from lcsd.settings.phantom import PhantomSettings, Size

LANDMARKS = 100
TRUTH_POINTS = 5000
# Limits that a drawn motion must keep.
DETERMINANT_LEAST = 0.38
MOTION_ATTEMPTS = 40
CHANGED_LARGEST = 4
# Terminals downstream of a landmark's branch: visible, but small enough to be a point.
LANDMARK_LEAVES = (4, 70)
LANDMARK_DEPTH_MM = 6.0
POINT_DEPTH_MM = 2.0
TERMINAL_DEPTH_MM = 4.5


class Sampling(NamedTuple):
    """Sampling of one scan: pixels along x and y, increment and thickness of its slices (mm)."""

    pixels: int
    increment: float
    thickness: float


class Detail(NamedTuple):
    """One size of phantom: both scans, and spacing and radius of the terminal vessels (mm)."""

    fixed: Sampling
    moving: Sampling
    terminal_spacing: float
    terminal_radius: float


DETAILS: dict[Size, Detail] = {
    "full": Detail(Sampling(512, 2.0, 2.5), Sampling(448, 1.8, 2.0), 12.3, 0.7),
    "small": Detail(Sampling(256, 2.5, 2.5), Sampling(224, 3.0, 3.2), 16.0, 0.95),
    "tiny": Detail(Sampling(96, 5.0, 5.0), Sampling(88, 4.4, 4.4), 20.0, 1.5),
}
FIXED_FIELD_MM, MOVING_FIELD_MM = (352.0, 364.0), (366.0, 380.0)
# Scan range beyond the lungs, as planned on a localizer.
END_MARGIN_MM = 17.0
BACK_Y_MM = 124.0
# The second scan is feet first and stored from head to feet: x and z run backwards.
MOVING_AXES = np.diag([-1.0, 1.0, -1.0])
ARTERY_ROOT = np.array([31.0, 8.0, 3.0])
VEIN_ROOTS = (np.array([30.0, -6.0, -3.0]), np.array([27.0, 20.0, -22.0]))
CARINA = np.array([0.0, 14.0, 34.0])
TRACHEA_TOP = np.array([0.0, 18.0, 190.0])
TRACHEA_RADIUS_MM, BRONCHUS_RADIUS_MM = 8.5, 6.0
AIRWAY_RATIO, AIRWAY_GAP_MM = 0.72, 1.6
AIRWAY_SMALLEST = 2.9  # times the terminal vessels' radius


def vessel_trees(seed: int, case: int, body: Body, detail: Detail, *, changed_share: float) -> tuple[trees.Tree, ...]:
    """Return arteries (first two) and veins of both lungs, with changes between the scans."""
    found = []
    artery_rng = generator(seed, case, Purpose.ARTERIES)
    vein_rng = generator(seed, case, Purpose.VEINS)
    change_rng = generator(seed, case, Purpose.CHANGES)
    for rng, roots in ((artery_rng, (ARTERY_ROOT,)), (vein_rng, VEIN_ROOTS)):
        for side in (-1, 1):
            mirror = np.array([side, 1.0, 1.0])
            ends = trees.terminals(rng, body, spacing=detail.terminal_spacing, margin=TERMINAL_DEPTH_MM, side=side)
            upper = 0.83 * ends[:, 2] - 0.55 * ends[:, 1] > -12.0
            parts = (ends[upper], ends[~upper]) if len(roots) == 2 else (ends,)
            for root, part in zip(roots, parts, strict=True):
                start = root * mirror * body.scale
                found.append(trees.grow(rng, part, start, body, terminal_radius=detail.terminal_radius))
    return tuple(trees.with_changes(change_rng, tree, share=changed_share, largest=CHANGED_LARGEST) for tree in found)


def airway_trees(arteries: tuple[trees.Tree, ...], body: Body, detail: Detail) -> tuple[trees.Tree, ...]:
    """Return bronchi next to the arteries, joined to the trachea."""
    bronchi = [
        trees.beside(
            tree, smallest=AIRWAY_SMALLEST * detail.terminal_radius, gap=AIRWAY_GAP_MM, radius_ratio=AIRWAY_RATIO
        )
        for tree in arteries
    ]
    roots = [tree.nodes[0] for tree in bronchi]
    stem = trees.Tree(
        nodes=np.array([TRACHEA_TOP * body.scale, CARINA * body.scale, *roots]),
        parents=np.array([0, 0, 1, 1]),
        leaves=np.array([2, 2, 1, 1]),
        radius=np.array([TRACHEA_RADIUS_MM, TRACHEA_RADIUS_MM, BRONCHUS_RADIUS_MM, BRONCHUS_RADIUS_MM]),
        scan=np.zeros(4, dtype=np.uint8),
    )
    return (stem, *bronchi)


def landmark_points(rng: np.random.Generator, vessels: tuple[trees.Tree, ...], body: Body) -> Points:
    """Return 100 bifurcations (100, 3) present in both scans, spread by farthest-point sampling."""
    candidates = []
    for tree in vessels:
        smallest_child = np.full(len(tree.nodes), np.iinfo(np.int64).max)
        np.minimum.at(smallest_child, tree.parents[1:], tree.leaves[1:])
        changed_child = np.zeros(len(tree.nodes), dtype=np.int64)
        np.maximum.at(changed_child, tree.parents[1:], tree.scan[1:].astype(np.int64))
        good = (tree.leaves >= LANDMARK_LEAVES[0]) & (tree.leaves <= LANDMARK_LEAVES[1])
        good &= (smallest_child >= 2) & (smallest_child < tree.leaves) & (changed_child == 0)
        good &= tree.scan == trees.BOTH
        candidates.append(tree.nodes[good])
    points = np.concatenate(candidates)
    points = points[lung_levels(points, body) > LANDMARK_DEPTH_MM]
    if len(points) < LANDMARKS:
        # Coarse trees have fewer bifurcations: take all of them inside the lungs.
        points = np.concatenate([t.nodes[(t.leaves > 1) & (t.scan == trees.BOTH)] for t in vessels])
        points = points[lung_levels(points, body) > LANDMARK_DEPTH_MM]
    if len(points) < LANDMARKS:
        raise WorkError(
            "the trees have too few bifurcations",
            code="phantom_landmarks",
            expected=LANDMARKS,
            found=len(points),
            remedy="use another seed",
        )
    chosen = [int(rng.integers(len(points)))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    for _ in range(LANDMARKS - 1):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def random_lung_points(rng: np.random.Generator, body: Body) -> Points:
    """Return 5000 uniformly random lung points (5000, 3)."""
    found: Points = np.empty((0, 3))
    low, high = np.array([-165.0, -125.0, -165.0]), np.array([165.0, 125.0, 145.0])
    for _ in range(50):
        draw = rng.uniform(low, high, (4 * TRUTH_POINTS, 3)) * body.scale
        found = np.concatenate([found, draw[lung_levels(draw, body) > POINT_DEPTH_MM]])
        if len(found) >= TRUTH_POINTS:
            return np.ascontiguousarray(found[:TRUTH_POINTS])
    raise WorkError("the phantom has no lungs", code="phantom_empty", remedy="use another seed")


def _tuned(motion: Motion, landmarks: Points, sample: Points, *, rigid: float, bspline: float) -> Motion:
    """Return the motion with both parts scaled to the target residuals."""
    single = [scaled(motion, smooth=1.0, fine=0.0), scaled(motion, smooth=0.0, fine=1.0)]
    u_smooth, u_fine = (part.displacement(landmarks)[0] for part in single)
    rest = bspline_residual(
        sample, np.hstack([part.displacement(sample)[0] for part in single]), landmarks, np.hstack([u_smooth, u_fine])
    )
    r_smooth, r_fine = rest[:, :3], rest[:, 3:]
    smooth, fine = 20.0, 2.0
    for _ in range(30):
        now = mean_length(smooth * r_smooth + fine * r_fine)
        fine *= bspline / now
        moved = landmarks + smooth * u_smooth + fine * u_fine
        smooth *= rigid / mean_length(moved - rigid_fit(landmarks, moved))
    # Rounded, so that voxels do not depend on the order of sums in a linear algebra library.
    return scaled(motion, smooth=round(smooth, 6), fine=round(fine, 6))


def _min_determinant(motion: Motion, body: Body) -> float:
    """Return the smallest Jacobian determinant on a 6 mm lattice around the thorax."""
    axes = [np.arange(-a, a + 1.0, 6.0) * body.scale for a in (190.0, 140.0, 180.0)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return float(motion.displacement(lattice)[1].min())


def accepted_motion(
    draw: Callable[[int], np.random.Generator], body: Body, landmarks: Points, sample: Points, settings: PhantomSettings
) -> Motion:
    """Return the first drawn motion within all limits; `draw(i)` is the i-th generator."""
    for attempt in range(MOTION_ATTEMPTS):
        rng = draw(attempt)
        rigid = rng.uniform(settings.min_rigid_mm, settings.max_rigid_mm)
        bspline = rng.uniform(settings.min_bspline_mm, settings.max_bspline_mm)
        drawn = draw_motion(rng, dome_z=min(body.dome_right_z, body.dome_left_z))
        motion = _tuned(drawn, landmarks, sample, rigid=rigid, bspline=bspline)
        moved = landmarks + motion.displacement(landmarks)[0]
        if mean_length(affine_residual(landmarks, moved)) < settings.min_affine_mm:
            continue
        if _min_determinant(motion, body) > DETERMINANT_LEAST:
            return motion
    raise WorkError(
        "no acceptable motion was found",
        code="phantom_motion",
        expected=f"one within {MOTION_ATTEMPTS} draws",
        remedy="use another seed or milder phantom settings",
    )


def _scan(
    rng: np.random.Generator,
    lungs: Points,
    back: NDArray[np.float64],
    sampling: Sampling,
    *,
    field: tuple[float, float],
    direction: NDArray[np.float64],
) -> Scan:
    """Return a scan centred on the lungs' points (native mm), covering them along its axis."""
    pixels, increment, thickness = sampling
    pixel = round(float(rng.uniform(*field)) / pixels, 4)
    along = lungs @ direction
    low, high = along.min(axis=0), along.max(axis=0)
    slices = int(np.ceil((high[2] - low[2] + 2 * END_MARGIN_MM) / increment)) + 1
    spacing = np.array([pixel, pixel, increment])
    size = (pixels, pixels, slices)
    centre = direction @ ((low + high) / 2 + rng.uniform(-3.0, 3.0, 3))
    # Whole tenths of a micrometre survive every file format's rounding.
    origin = np.round(centre - direction @ ((np.array(size) - 1) / 2 * spacing), 4)
    return Scan(size, spacing, origin, direction, thickness, back)


def plan_scans(
    rng: np.random.Generator, lungs: Points, body: Body, motion: Motion, detail: Detail, *, oblique: float
) -> tuple[Scan, Scan]:
    """Return the geometry of both scans around the lungs' points (body mm)."""
    back = np.array([0.0, BACK_Y_MM * body.scale, 0.0])
    fixed = _scan(
        rng,
        lungs + motion.fixed_origin,
        back + motion.fixed_origin,
        detail.fixed,
        field=FIXED_FIELD_MM,
        direction=np.eye(3),
    )
    moving = _scan(
        rng,
        motion.transform(lungs + motion.fixed_origin),
        motion.body_to_moving(back[None])[0],
        detail.moving,
        field=MOVING_FIELD_MM,
        direction=rotation_matrix(rng.uniform(-oblique, oblique, 3)) @ MOVING_AXES,
    )
    return fixed, moving
