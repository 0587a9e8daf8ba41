"""One phantom case: a patient at two times, both scans, and the exact map between them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcsd.phantom import trees
from lcsd.phantom.anatomy import Body, Points, draw_body
from lcsd.phantom.fits import Residuals, residuals
from lcsd.phantom.motion import Motion
from lcsd.phantom.plan import (
    DETAILS,
    accepted_motion,
    airway_trees,
    landmark_points,
    plan_scans,
    random_lung_points,
    vessel_trees,
)
from lcsd.phantom.scanner import SHARP, SOFT, Kernel, Lattice, Scan, Scene, acquire, body_lattice, render, truth_masks
from lcsd.phantom.seeds import Purpose, generator
from lcsd.phantom.texture import make_texture
from lcsd.phantom.tubes import tube_grid
from lcsd.settings.phantom import PhantomSettings, Size

Role = Literal["fixed", "moving"]
ROLES: tuple[Role, Role] = ("fixed", "moving")


@dataclass(frozen=True)
class PhantomCase:
    """A patient at two times and the exact map between them. Points are native LPS mm of the named scan."""

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
        """Return the positions of fixed points (N, 3) in the moving scan, mm."""
        return self.motion.transform(points)

    def inverse(self, points: Points) -> Points:
        """Return the positions of moving points (N, 3) in the fixed scan, mm."""
        return self.motion.inverse(points)

    def determinant(self, points: Points) -> NDArray[np.float64]:
        """Return the Jacobian determinant (N,) of the map at fixed points (N, 3)."""
        return self.motion.displacement(points - self.motion.fixed_origin)[1]

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
        """Landmark distances before any fit and after the best rigid, affine and B-spline fits."""
        fixed, moving = self.landmarks
        sample_fixed, sample_moving = self.points
        return residuals(fixed, moving, sample_fixed=sample_fixed, sample_moving=sample_moving)

    @cached_property
    def scene(self) -> Scene:
        """What the renderer needs: body, vessels and airways sorted into cells, texture."""
        vessels, airways = (
            tube_grid(trees.joined([trees.capsules(tree, self.body) for tree in of]))
            for of in (self.vessels, self.airways)
        )
        texture = make_texture(generator(self.seed, self.case, Purpose.TEXTURE))
        return Scene(self.body, vessels, airways, texture)

    def scan(self, role: Role) -> Scan:
        """Return the geometry of one scan."""
        return self.moving_scan if role == "moving" else self.fixed_scan

    @cached_property
    def _lattices(self) -> dict[Role, Lattice]:
        return {}

    def lattice(self, role: Role) -> Lattice:
        """Return the body positions of one scan's voxels; made once, when first asked for."""
        if role not in self._lattices:
            self._lattices[role] = body_lattice(self.scan(role), self.motion, moving=role == "moving")
        return self._lattices[role]

    def clean_image(self, role: Role) -> NDArray[np.float32]:
        """Return one scan (z, y, x) in HU before kernel and noise."""
        return render(self.scan(role), self.lattice(role), self.scene, moving=role == "moving")

    @property
    def kernels(self) -> tuple[Kernel, Kernel]:
        """The soft and the sharp reconstruction kernel, with the noise of the settings."""
        return (
            replace(SOFT, noise_hu=self.settings.noise_soft_hu),
            replace(SHARP, noise_hu=self.settings.noise_sharp_hu),
        )

    def acquired(self, role: Role, clean: NDArray[np.float32], kernel: Kernel) -> NDArray[np.int16]:
        """Return one scan (z, y, x) in HU, int16: the clean image with kernel and noise."""
        purpose = Purpose.MOVING_NOISE if role == "moving" else Purpose.FIXED_NOISE
        return acquire(clean, self.scan(role), kernel, generator(self.seed, self.case, purpose))

    def masks(self, role: Role) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the true lungs and vessels of one scan (z, y, x), uint8."""
        return truth_masks(self.scan(role), self.lattice(role), self.scene, moving=role == "moving")


def make_case(seed: int, *, case: int = 0, size: Size = "full", settings: PhantomSettings | None = None) -> PhantomCase:
    """Return one phantom case; equal arguments give equal cases.

    Parameters
    ----------
    seed, case
        Non-negative numbers that identify the case.
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
    vessels = vessel_trees(seed, case, body, detail, changed_share=chosen.changed_share)
    airways = airway_trees(vessels[:2], body, detail)
    landmarks = landmark_points(generator(seed, case, Purpose.LANDMARKS), vessels, body)
    points = random_lung_points(generator(seed, case, Purpose.POINTS), body)
    motion = accepted_motion(
        lambda attempt: generator(seed, case, Purpose.MOTION, attempt=attempt), body, landmarks, points, chosen
    )
    fixed, moving = plan_scans(
        generator(seed, case, Purpose.SCANS), points, body, motion, detail, oblique=chosen.oblique_deg
    )
    return PhantomCase(seed, case, size, chosen, body, motion, fixed, moving, vessels, airways, landmarks, points)
