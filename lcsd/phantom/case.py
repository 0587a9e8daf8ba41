"""One phantom case: patient, trees, motion, both scans' geometry, truth points."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import WorkError
from lcsd.phantom import trees
from lcsd.phantom.anatomy import Body, Points, draw_body, lung_levels
from lcsd.phantom.fits import (
    Residuals,
    affine_residual,
    bspline_residual,
    mean_length,
    residuals,
    rigid_fit,
)
from lcsd.phantom.motion import Motion, draw_motion, rotation_matrix, scaled
from lcsd.phantom.scanner import (
    SHARP,
    SOFT,
    Kernel,
    Lattice,
    Scan,
    Scene,
    acquire,
    body_lattice,
    render,
    truth_masks,
)
from lcsd.phantom.seeds import Purpose, generator
from lcsd.phantom.texture import make_texture
from lcsd.phantom.tubes import TubeGrid, tube_grid
from lcsd.settings.phantom import PhantomSettings, Size

Role = Literal["fixed", "moving"]

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


@dataclass(frozen=True)
class Detail:
    """What a size means: pixels, slice increments and thicknesses (mm), trees (mm)."""

    fixed_pixels: int
    fixed_increment: float
    fixed_thickness: float
    moving_pixels: int
    moving_increment: float
    moving_thickness: float
    terminal_spacing: float
    terminal_radius: float


DETAILS: dict[Size, Detail] = {
    "full": Detail(512, 2.0, 2.5, 448, 1.8, 2.0, 12.3, 0.7),
    "small": Detail(256, 2.5, 2.5, 224, 3.0, 3.2, 16.0, 0.95),
    "tiny": Detail(96, 5.0, 5.0, 88, 4.4, 4.4, 20.0, 1.5),
}
FIXED_FIELD_MM, MOVING_FIELD_MM = (352.0, 364.0), (366.0, 380.0)
# Scan range beyond the lungs, as planned on a localizer.
END_MARGIN_MM = 17.0
BACK_Y_MM = 124.0
# The second scan is stored feet first and from head to feet: both in-plane x and z run backwards.
MOVING_AXES = np.diag([-1.0, 1.0, -1.0])
ARTERY_ROOT = np.array([31.0, 8.0, 3.0])
VEIN_ROOTS = (np.array([30.0, -6.0, -3.0]), np.array([27.0, 20.0, -22.0]))
CARINA = np.array([0.0, 14.0, 34.0])
TRACHEA_TOP = np.array([0.0, 18.0, 190.0])
TRACHEA_RADIUS_MM, BRONCHUS_RADIUS_MM = 8.5, 6.0
AIRWAY_RATIO, AIRWAY_GAP_MM = 0.72, 1.6
AIRWAY_SMALLEST = 2.9  # times the terminal vessels' radius


@dataclass(frozen=True)
class PhantomCase:
    """A patient at two times, with the exact map between them.

    All points are native LPS mm of the scan named. Images are made when asked for.
    """

    seed: int
    case: int
    size: Size
    settings: PhantomSettings
    body: Body
    motion: Motion
    fixed_scan: Scan
    moving_scan: Scan
    vessels: tuple[trees.Tree, ...]
    airways: tuple[trees.Tree, ...]
    body_landmarks: Points
    body_points: Points

    def transform(self, points: Points) -> Points:
        """Return where fixed points (N, 3) lie in the moving scan, mm."""
        return self.motion.transform(points)

    def inverse(self, points: Points) -> Points:
        """Return where moving points (N, 3) lie in the fixed scan, mm."""
        return self.motion.inverse(points)

    def determinant(self, points: Points) -> NDArray[np.float64]:
        """Return the Jacobian determinant (N,) of the map at fixed points (N, 3)."""
        return self.motion.displacement(points - self.motion.fixed_origin)[1]

    def lung_depth(self, points: Points) -> NDArray[np.float64]:
        """Return the depth (N,) in mm of fixed points (N, 3) inside the lungs, negative outside."""
        return lung_levels(np.ascontiguousarray(points - self.motion.fixed_origin), self.body)

    @property
    def landmarks(self) -> tuple[Points, Points]:
        """100 vessel bifurcations, fixed and moving, each (100, 3)."""
        fixed = self.body_landmarks + self.motion.fixed_origin
        return fixed, self.transform(fixed)

    @property
    def points(self) -> tuple[Points, Points]:
        """5000 random lung points, fixed and moving, each (5000, 3)."""
        fixed = self.body_points + self.motion.fixed_origin
        return fixed, self.transform(fixed)

    @cached_property
    def residuals(self) -> Residuals:
        """Landmark distances natively and after the best rigid, affine and B-spline fits."""
        fixed, moving = self.landmarks
        sample_fixed, sample_moving = self.points
        return residuals(fixed, moving, sample_fixed=sample_fixed, sample_moving=sample_moving)

    @cached_property
    def vessel_grid(self) -> TubeGrid:
        """The vessels of both lungs, sorted into cells."""
        return tube_grid(trees.joined([trees.capsules(t, self.body) for t in self.vessels]))

    @cached_property
    def scene(self) -> Scene:
        """What the renderer needs."""
        airways = tube_grid(trees.joined([trees.capsules(t, self.body) for t in self.airways]))
        texture = make_texture(generator(self.seed, self.case, Purpose.TEXTURE))
        return Scene(self.body, self.vessel_grid, airways, texture)

    def scan(self, role: Role) -> Scan:
        """Return the geometry of one scan."""
        return self.moving_scan if role == "moving" else self.fixed_scan

    @cached_property
    def fixed_lattice(self) -> Lattice:
        """The body positions of the fixed scan's voxels."""
        return body_lattice(self.fixed_scan, self.motion, moving=False)

    @cached_property
    def moving_lattice(self) -> Lattice:
        """The body positions of the moving scan's voxels."""
        return body_lattice(self.moving_scan, self.motion, moving=True)

    def lattice(self, role: Role) -> Lattice:
        """Return the body positions of one scan's voxels."""
        return self.moving_lattice if role == "moving" else self.fixed_lattice

    def clean_image(self, role: Role) -> NDArray[np.float32]:
        """Return one scan (z, y, x) in HU before kernel and noise."""
        return render(self.scan(role), self.lattice(role), self.scene, moving=role == "moving")

    @property
    def kernels(self) -> tuple[Kernel, Kernel]:
        """The soft and the sharp reconstruction kernel with the settings' noise."""
        return (
            replace(SOFT, noise_hu=self.settings.noise_soft_hu),
            replace(SHARP, noise_hu=self.settings.noise_sharp_hu),
        )

    def acquired(self, role: Role, clean: NDArray[np.float32], kernel: Kernel) -> NDArray[np.int16]:
        """Return one scan (z, y, x) in HU, int16, as a kernel makes it from the clean image."""
        purpose = Purpose.MOVING_NOISE if role == "moving" else Purpose.FIXED_NOISE
        return acquire(clean, self.scan(role), kernel, generator(self.seed, self.case, purpose))

    def masks(self, role: Role) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the true lungs and vessels of one scan (z, y, x), uint8."""
        return truth_masks(self.scan(role), self.lattice(role), self.scene, moving=role == "moving")


def _vessel_trees(
    seed: int, case: int, body: Body, detail: Detail, *, changed_share: float
) -> tuple[trees.Tree, ...]:
    """Arteries (first two) and veins of both lungs, with the changes between the scans."""
    found = []
    artery_rng = generator(seed, case, Purpose.ARTERIES)
    vein_rng = generator(seed, case, Purpose.VEINS)
    change_rng = generator(seed, case, Purpose.CHANGES)
    for side in (-1, 1):
        mirror = np.array([side, 1.0, 1.0])
        ends = trees.terminals(
            artery_rng, body, spacing=detail.terminal_spacing, margin=TERMINAL_DEPTH_MM, side=side
        )
        root = ARTERY_ROOT * mirror * body.scale
        found.append(
            trees.grow(artery_rng, ends, root, body, terminal_radius=detail.terminal_radius)
        )
    for side in (-1, 1):
        mirror = np.array([side, 1.0, 1.0])
        ends = trees.terminals(
            vein_rng, body, spacing=detail.terminal_spacing, margin=TERMINAL_DEPTH_MM, side=side
        )
        upper = 0.83 * ends[:, 2] - 0.55 * ends[:, 1] > -12.0
        for root, part in zip(VEIN_ROOTS, (upper, ~upper), strict=True):
            found.append(
                trees.grow(
                    vein_rng,
                    ends[part],
                    root * mirror * body.scale,
                    body,
                    terminal_radius=detail.terminal_radius,
                )
            )
    return tuple(
        trees.with_changes(change_rng, tree, share=changed_share, largest=CHANGED_LARGEST)
        for tree in found
    )


def _airway_trees(
    arteries: tuple[trees.Tree, ...], body: Body, detail: Detail
) -> tuple[trees.Tree, ...]:
    """Bronchi beside the arteries, joined to the trachea."""
    bronchi = [
        trees.beside(
            tree,
            smallest=AIRWAY_SMALLEST * detail.terminal_radius,
            gap=AIRWAY_GAP_MM,
            radius_ratio=AIRWAY_RATIO,
        )
        for tree in arteries
    ]
    roots = [tree.nodes[0] for tree in bronchi]
    stem = trees.Tree(
        nodes=np.array([TRACHEA_TOP * body.scale, CARINA * body.scale, *roots]),
        parents=np.array([0, 0, 1, 1]),
        leaves=np.array([2, 2, 1, 1]),
        radius=np.array(
            [TRACHEA_RADIUS_MM, TRACHEA_RADIUS_MM, BRONCHUS_RADIUS_MM, BRONCHUS_RADIUS_MM]
        ),
        scan=np.zeros(4, dtype=np.uint8),
    )
    return (stem, *bronchi)


def _landmark_points(
    rng: np.random.Generator, vessels: tuple[trees.Tree, ...], body: Body
) -> Points:
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
        # Coarse trees have fewer forks: take every one inside.
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


def _random_lung_points(rng: np.random.Generator, body: Body) -> Points:
    """Return 5000 uniformly random lung points (5000, 3)."""
    found: Points = np.empty((0, 3))
    low, high = np.array([-165.0, -125.0, -165.0]), np.array([165.0, 125.0, 145.0])
    for _ in range(50):
        draw = rng.uniform(low, high, (4 * TRUTH_POINTS, 3)) * body.scale
        found = np.concatenate([found, draw[lung_levels(draw, body) > POINT_DEPTH_MM]])
        if len(found) >= TRUTH_POINTS:
            return np.ascontiguousarray(found[:TRUTH_POINTS])
    raise WorkError("the phantom has no lungs", code="phantom_empty", remedy="use another seed")


def _tuned(
    motion: Motion, landmarks: Points, sample: Points, *, rigid: float, bspline: float
) -> Motion:
    """Return the motion with both parts scaled so that the residuals meet their targets."""
    single = [scaled(motion, smooth=1.0, fine=0.0), scaled(motion, smooth=0.0, fine=1.0)]
    u_smooth, u_fine = (part.displacement(landmarks)[0] for part in single)
    rest = bspline_residual(
        sample,
        np.hstack([part.displacement(sample)[0] for part in single]),
        landmarks,
        np.hstack([u_smooth, u_fine]),
    )
    r_smooth, r_fine = rest[:, :3], rest[:, 3:]
    smooth, fine = 20.0, 2.0
    for _ in range(30):
        now = mean_length(smooth * r_smooth + fine * r_fine)
        fine *= bspline / now
        moved = landmarks + smooth * u_smooth + fine * u_fine
        smooth *= rigid / mean_length(moved - rigid_fit(landmarks, moved))
    # Rounded, so that the voxels do not depend on how a linear algebra library orders its sums.
    return scaled(motion, smooth=round(smooth, 6), fine=round(fine, 6))


def _least_determinant(motion: Motion, body: Body) -> float:
    """The smallest Jacobian determinant on a 6 mm lattice around the thorax."""
    axes = [np.arange(-a, a + 1.0, 6.0) * body.scale for a in (190.0, 140.0, 180.0)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return float(motion.displacement(lattice)[1].min())


def _motion(
    draw: Callable[[int], np.random.Generator],
    body: Body,
    landmarks: Points,
    sample: Points,
    settings: PhantomSettings,
) -> Motion:
    """Return the first drawn motion that keeps every limit; `draw(i)` is the i-th generator."""
    for attempt in range(MOTION_ATTEMPTS):
        rng = draw(attempt)
        rigid = rng.uniform(settings.rigid_least_mm, settings.rigid_most_mm)
        bspline = rng.uniform(settings.bspline_least_mm, settings.bspline_most_mm)
        drawn = draw_motion(rng, dome_z=min(body.dome_right_z, body.dome_left_z))
        motion = _tuned(drawn, landmarks, sample, rigid=rigid, bspline=bspline)
        moved = landmarks + motion.displacement(landmarks)[0]
        if mean_length(affine_residual(landmarks, moved)) < settings.affine_least_mm:
            continue
        if _least_determinant(motion, body) > DETERMINANT_LEAST:
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
    *,
    pixels: int,
    field: tuple[float, float],
    increment: float,
    thickness: float,
    direction: NDArray[np.float64],
) -> Scan:
    """Return a scan centred on the lungs' points (native mm), covering them along its axis."""
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


def _scans(
    rng: np.random.Generator,
    lungs: Points,
    body: Body,
    motion: Motion,
    detail: Detail,
    *,
    oblique: float,
) -> tuple[Scan, Scan]:
    """Return the geometry of both scans around the lungs' points (body mm)."""
    back = np.array([0.0, BACK_Y_MM * body.scale, 0.0])
    fixed = _scan(
        rng,
        lungs + motion.fixed_origin,
        back + motion.fixed_origin,
        pixels=detail.fixed_pixels,
        field=FIXED_FIELD_MM,
        increment=detail.fixed_increment,
        thickness=detail.fixed_thickness,
        direction=np.eye(3),
    )
    moving = _scan(
        rng,
        motion.transform(lungs + motion.fixed_origin),
        motion.body_to_moving(back[None])[0],
        pixels=detail.moving_pixels,
        field=MOVING_FIELD_MM,
        increment=detail.moving_increment,
        thickness=detail.moving_thickness,
        direction=rotation_matrix(rng.uniform(-oblique, oblique, 3)) @ MOVING_AXES,
    )
    return fixed, moving


def make_case(
    seed: int,
    *,
    case: int = 0,
    size: Size = "full",
    settings: PhantomSettings | None = None,
) -> PhantomCase:
    """Return one phantom case; equal arguments give equal cases.

    Parameters
    ----------
    seed, case
        Non-negative numbers that name the case.
    size
        ``full`` is a clinical low-dose scan, ``small`` and ``tiny`` have fewer voxels and vessels.
    settings
        How hard the case is; the defaults if None.

    Raises
    ------
    WorkError
        If no motion within the settings' limits is found.
    """
    chosen = settings or PhantomSettings()
    detail = DETAILS[size]
    body = draw_body(generator(seed, case, Purpose.ANATOMY))
    vessels = _vessel_trees(seed, case, body, detail, changed_share=chosen.changed_share)
    airways = _airway_trees(vessels[:2], body, detail)
    landmarks = _landmark_points(generator(seed, case, Purpose.LANDMARKS), vessels, body)
    points = _random_lung_points(generator(seed, case, Purpose.POINTS), body)
    motion = _motion(
        lambda attempt: generator(seed, case, Purpose.MOTION, attempt=attempt),
        body,
        landmarks,
        points,
        chosen,
    )
    fixed, moving = _scans(
        generator(seed, case, Purpose.SCANS),
        points,
        body,
        motion,
        detail,
        oblique=chosen.oblique_deg,
    )
    return PhantomCase(
        seed,
        case,
        size,
        chosen,
        body,
        motion,
        fixed,
        moving,
        vessels,
        airways,
        landmarks,
        points,
    )
