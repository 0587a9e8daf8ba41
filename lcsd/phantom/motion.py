"""The motion between the scans in closed form: breathing, fine deformation, rigid shift.

In body coordinates `p` (mm) the displacement is `u(p) = s(p) (D(p) + R(p) + F(p))`: the diaphragm's push `D`, the rib
cage's expansion `R`, a sum of sines `F`, and a window `s` that vanishes at the spine. A fixed native point `x` maps
to the moving native point `Q (p + u(p)) + t` with `p = x - fixed_origin`.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from lcsd.errors import WorkError
from lcsd.phantom.anatomy import Points
from lcsd.phantom.sines import sin_cos

# So many points in a row are worked on together, and the next one is sought near the last if they are this close.
ROW = 64
NEAR_MM = 12.0
NEWTON_STEPS = 60
NEWTON_TOLERANCE_MM = 1e-9
INVERSE_TOLERANCE_MM = 1e-6
SPINE_Y_MM = 68.0
SPINE_REACH_MM = 38.0
CHEST_X_MM = 142.0
CHEST_Y_MM = 104.0
FINE_MODES = 20
# Slow modes model a change of posture: they move tissue but hardly change the volume of the lungs.
SLOW_MODES = 8
SLOW_WAVELENGTHS_MM = (130.0, 220.0)
SLOW_SHARE = 1.1
FINE_WALL_SHARE, FINE_WALL_WIDTH = 0.15, 0.1
FINE_WAVELENGTHS_MM = (60.0, 82.0)
# Share of the longitudinal part in each mode: most of the motion is shear and keeps the volume.
FINE_COMPRESSION = 0.35


class Breathing(NamedTuple):
    """Amplitudes in mm of the smooth parts (see the module docstring)."""

    right: float
    left: float
    level_z: float
    length: float
    wall_share: float
    wall_width: float
    back_share: float
    lateral: float
    anterior: float


@nb.njit(cache=True)
def _sigmoid(t: float) -> float:
    return float(1.0 / (1.0 + np.exp(-t)))


@nb.njit(cache=True)
def _diaphragm(x: float, y: float, z: float, b: Breathing, v, jac) -> None:  # type: ignore[no-untyped-def]
    side = _sigmoid(x / 25.0)
    amp = b.right + (b.left - b.right) * side
    amp_x = (b.left - b.right) * side * (1.0 - side) / 25.0
    g = _sigmoid((b.level_z - z) / b.length)
    g_z = -g * (1.0 - g) / b.length
    rho = np.sqrt((x / CHEST_X_MM) ** 2 + (y / CHEST_Y_MM) ** 2 + 1e-4)
    inner = _sigmoid((1.0 - rho) / b.wall_width)
    q = b.wall_share + (1.0 - b.wall_share) * inner
    q_rho = -(1.0 - b.wall_share) * inner * (1.0 - inner) / b.wall_width
    q_x = q_rho * x / (CHEST_X_MM**2 * rho)
    q_y = q_rho * y / (CHEST_Y_MM**2 * rho)
    th = np.tanh(y / 60.0)
    back = 1.0 + b.back_share * th
    back_y = b.back_share * (1.0 - th * th) / 60.0
    v[2] += amp * g * q * back
    jac[2, 0] += g * back * (amp_x * q + amp * q_x)
    jac[2, 1] += amp * g * (q_y * back + q * back_y)
    jac[2, 2] += amp * g_z * q * back


@nb.njit(cache=True)
def _ribs(x: float, y: float, z: float, b: Breathing, v, jac) -> None:  # type: ignore[no-untyped-def]
    h = np.exp(-0.5 * ((z + 20.0) / 110.0) ** 2)
    h_z = -h * (z + 20.0) / 110.0**2
    rx = np.sqrt(1.0 + (x / 150.0) ** 2)
    dy = y - SPINE_Y_MM
    ry = np.sqrt(1.0 + (dy / 200.0) ** 2)
    v[0] += b.lateral * h * x / 100.0 / rx
    jac[0, 0] += b.lateral * h / 100.0 / rx**3
    jac[0, 2] += b.lateral * h_z * x / 100.0 / rx
    v[1] += b.anterior * h * dy / 100.0 / ry
    jac[1, 1] += b.anterior * h / 100.0 / ry**3
    jac[1, 2] += b.anterior * h_z * dy / 100.0 / ry


@nb.njit(cache=True)
def _windowed(s: float, s_x: float, s_y: float, v, jac) -> None:  # type: ignore[no-untyped-def]
    """Multiply a field and its gradient by a window with the given slopes along x and y."""
    for i in range(3):
        for j in range(3):
            jac[i, j] *= s
        jac[i, 0] += v[i] * s_x
        jac[i, 1] += v[i] * s_y
        v[i] *= s


@nb.njit(cache=True)
def _fine(x: float, y: float, z: float, modes, work, v, jac) -> None:  # type: ignore[no-untyped-def]
    """Add the sines, less of them in the stiff chest wall; ``work`` (7, M) is scratch memory."""
    angle, sine, cosine = work[0], work[1], work[2]
    fine, gradient = work[3, :3], work[4:7, :3]
    for m in range(modes.shape[1]):
        angle[m] = modes[0, m] * x + modes[1, m] * y + modes[2, m] * z + modes[3, m]
    sin_cos(angle, sine, cosine)
    for i in range(3):
        total = along_x = along_y = along_z = 0.0
        for m in range(modes.shape[1]):
            total += modes[4 + i, m] * sine[m]
            slope = modes[4 + i, m] * cosine[m]
            along_x += slope * modes[0, m]
            along_y += slope * modes[1, m]
            along_z += slope * modes[2, m]
        fine[i] = total
        gradient[i, 0], gradient[i, 1], gradient[i, 2] = along_x, along_y, along_z
    rho = np.sqrt((x / CHEST_X_MM) ** 2 + (y / CHEST_Y_MM) ** 2 + 1e-4)
    inner = _sigmoid((1.0 - rho) / FINE_WALL_WIDTH)
    slope = -(1.0 - FINE_WALL_SHARE) * inner * (1.0 - inner) / FINE_WALL_WIDTH / rho
    share = FINE_WALL_SHARE + (1.0 - FINE_WALL_SHARE) * inner
    _windowed(share, slope * x / CHEST_X_MM**2, slope * y / CHEST_Y_MM**2, fine, gradient)
    for i in range(3):
        v[i] += fine[i]
        for j in range(3):
            jac[i, j] += gradient[i, j]


@nb.njit(cache=True)
def _displacement(x: float, y: float, z: float, b: Breathing, modes, work, v, jac) -> None:  # type: ignore[no-untyped-def]
    """Write `u` into `v` (3,) and its gradient `du_i/dp_j` into `jac` (3, 3)."""
    v[:] = 0.0
    jac[:, :] = 0.0
    _diaphragm(x, y, z, b, v, jac)
    _ribs(x, y, z, b, v, jac)
    _fine(x, y, z, modes, work, v, jac)
    dy = y - SPINE_Y_MM
    far = np.exp(-0.5 * (x * x + dy * dy) / SPINE_REACH_MM**2)
    _windowed(1.0 - far, far * x / SPINE_REACH_MM**2, far * dy / SPINE_REACH_MM**2, v, jac)


@nb.njit(cache=True)
def _det_plus_identity(j) -> float:  # type: ignore[no-untyped-def]
    a, b, c = 1.0 + j[0, 0], j[0, 1], j[0, 2]
    d, e, f = j[1, 0], 1.0 + j[1, 1], j[1, 2]
    g, h, i = j[2, 0], j[2, 1], 1.0 + j[2, 2]
    return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


@nb.njit(cache=True, parallel=True)
def _forward(points, b: Breathing, modes):  # type: ignore[no-untyped-def]
    """Displacements (N, 3) and Jacobian determinants (N,) at body points."""
    n = points.shape[0]
    moved = np.empty((n, 3))
    det = np.empty(n)
    for row in nb.prange((n + ROW - 1) // ROW):
        work = np.empty((7, modes.shape[1]))
        jac = np.empty((3, 3))
        for k in range(row * ROW, min(row * ROW + ROW, n)):
            _displacement(points[k, 0], points[k, 1], points[k, 2], b, modes, work, moved[k], jac)
            det[k] = _det_plus_identity(jac)
    return moved, det


@nb.njit(cache=True)
def _newton_step(r, j, det, step) -> None:  # type: ignore[no-untyped-def]
    """Solve `(I + j) step = r` by the adjugate."""
    a, b, c = 1.0 + j[0, 0], j[0, 1], j[0, 2]
    d, e, f = j[1, 0], 1.0 + j[1, 1], j[1, 2]
    g, h, i = j[2, 0], j[2, 1], 1.0 + j[2, 2]
    step[0] = ((e * i - f * h) * r[0] + (c * h - b * i) * r[1] + (b * f - c * e) * r[2]) / det
    step[1] = ((f * g - d * i) * r[0] + (a * i - c * g) * r[1] + (c * d - a * f) * r[2]) / det
    step[2] = ((d * h - e * g) * r[0] + (b * g - a * h) * r[1] + (a * e - b * d) * r[2]) / det


@nb.njit(cache=True)
def _newton(target, b: Breathing, modes, work, p, v, jac, r, step):  # type: ignore[no-untyped-def]
    """Move `p` to where `p + u(p) = target`; return the determinant there and the residual in mm."""
    damping = 1.0
    last = size = np.inf
    det = np.nan
    for _ in range(NEWTON_STEPS):
        _displacement(p[0], p[1], p[2], b, modes, work, v, jac)
        for i in range(3):
            r[i] = p[i] + v[i] - target[i]
        size = np.sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
        det = _det_plus_identity(jac)
        if size < NEWTON_TOLERANCE_MM:
            break
        if size > last:
            # The step was too long: go back half of it.
            damping *= 0.5
            for i in range(3):
                p[i] += damping * step[i]
            continue
        last = size
        damping = 1.0
        _newton_step(r, jac, det, step)
        for i in range(3):
            p[i] -= step[i]
    return det, size


@nb.njit(cache=True, parallel=True)
def _backward(targets, b: Breathing, modes):  # type: ignore[no-untyped-def]
    """Body points `p` with `p + u(p) = target`, the determinants there, the residuals in mm.

    The search starts from the point before, moved along the tangent, if both targets are near each other.
    """
    n = targets.shape[0]
    found = np.empty((n, 3))
    dets = np.empty(n)
    residual = np.empty(n)
    for row in nb.prange((n + ROW - 1) // ROW):
        work = np.empty((7, modes.shape[1]))
        jac = np.empty((3, 3))
        p, v, r, step = np.empty(3), np.empty(3), np.empty(3), np.zeros(3)
        for k in range(row * ROW, min(row * ROW + ROW, n)):
            near = k > row * ROW and residual[k - 1] < NEWTON_TOLERANCE_MM
            if near:
                for i in range(3):
                    r[i] = targets[k, i] - targets[k - 1, i]
                    near &= abs(r[i]) < NEAR_MM
                _newton_step(r, jac, dets[k - 1], step)
            for i in range(3):
                p[i] = p[i] + step[i] if near else targets[k, i]
            dets[k], residual[k] = _newton(targets[k], b, modes, work, p, v, jac, r, step)
            found[k] = p
    return found, dets, residual


@dataclass(frozen=True)
class Motion:
    """The exact map from fixed to moving native LPS (mm), both ways."""

    breathing: Breathing  # the smooth parts
    modes: NDArray[np.float64]  # shape (M, 7), float64: wave vector (rad/mm), phase (rad), amplitude (mm) of each sine
    # rotation, translation: the rigid shift, shapes (3, 3) and (3,): body to moving native
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    fixed_origin: NDArray[np.float64]  # shape (3,): the body's origin in the fixed scan's native space

    def displacement(self, body_points: Points) -> tuple[Points, NDArray[np.float64]]:
        """Return `u` (N, 3) in mm and `det(I + du/dp)` (N,) at body points (N, 3)."""
        points = np.ascontiguousarray(body_points, dtype=np.float64)
        moved, det = _forward(points, self.breathing, np.ascontiguousarray(self.modes.T))
        return moved, det

    def transform(self, points: Points) -> Points:
        """Return the positions of fixed native points (N, 3) in the moving native space, mm."""
        body = np.asarray(points, dtype=np.float64) - self.fixed_origin
        return self.body_to_moving(body + self.displacement(body)[0])

    def body_to_moving(self, deformed: Points) -> Points:
        """Return deformed body points (N, 3) after the rigid shift, moving native mm."""
        return np.asarray(deformed @ self.rotation.T + self.translation)

    def body_of_moving(self, points: Points) -> tuple[Points, NDArray[np.float64]]:
        """Return body points (N, 3) of moving native points, and determinants. Raises ``WorkError`` if inexact."""
        targets = (np.asarray(points, dtype=np.float64) - self.translation) @ self.rotation
        modes = np.ascontiguousarray(self.modes.T)
        found, det, residual = _backward(np.ascontiguousarray(targets), self.breathing, modes)
        # Not 'greater than': this way NaN counts as failed.
        if not np.all(residual <= INVERSE_TOLERANCE_MM):
            raise WorkError(
                "the phantom's motion could not be inverted",
                code="inverse_not_converged",
                expected=f"residual <= {INVERSE_TOLERANCE_MM} mm",
                found=f"{residual.max():.3g} mm",
                remedy="use another seed",
            )
        return found, det

    def inverse(self, points: Points) -> Points:
        """Return the positions of moving native points (N, 3) in the fixed native space, mm."""
        return self.body_of_moving(points)[0] + self.fixed_origin


def scaled(motion: Motion, *, smooth: float, fine: float) -> Motion:
    """Return the motion with its breathing and its fine part multiplied by the two factors."""
    b = motion.breathing
    modes = motion.modes.copy()
    modes[:, 4:] *= fine
    breathing = b._replace(
        right=b.right * smooth, left=b.left * smooth, lateral=b.lateral * smooth, anterior=b.anterior * smooth
    )
    return replace(motion, breathing=breathing, modes=modes)


def rotation_matrix(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation `Rz Ry Rx` (3, 3) of three angles in degrees about x, y and z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(angles_deg)), np.sin(np.deg2rad(angles_deg))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _modes(rng: np.random.Generator, count: int, wavelengths: tuple[float, float]) -> NDArray[np.float64]:
    """Return random sines, together of unit RMS displacement, with little compression."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wave = direction * (2.0 * np.pi / rng.uniform(*wavelengths, (count, 1)))
    amplitude = rng.standard_normal((count, 3))
    along = np.sum(amplitude * direction, axis=1, keepdims=True) * direction
    amplitude -= (1.0 - FINE_COMPRESSION) * along
    amplitude /= np.sqrt(0.5 * np.sum(amplitude**2))
    phase = rng.uniform(0.0, 2.0 * np.pi, (count, 1))
    return np.hstack([wave, phase, amplitude])


def draw_motion(rng: np.random.Generator, *, dome_z: float) -> Motion:
    """Return a random motion with unscaled smooth and fine parts (see `scaled`)."""
    sign = float(rng.choice([-1.0, 1.0]))
    right = rng.uniform(0.9, 1.1)
    left = right * rng.uniform(0.45, 0.85)
    if rng.uniform() < 0.5:
        right, left = left, right
    breathing = Breathing(
        right=sign * right,
        left=sign * left,
        level_z=dome_z + rng.uniform(15.0, 35.0),
        length=rng.uniform(26.0, 33.0),
        wall_share=rng.uniform(0.3, 0.5),
        wall_width=rng.uniform(0.10, 0.14),
        back_share=rng.uniform(0.1, 0.35),
        lateral=-sign * rng.uniform(0.08, 0.16),
        anterior=-sign * rng.uniform(0.10, 0.22),
    )
    slow = _modes(rng, SLOW_MODES, SLOW_WAVELENGTHS_MM)
    slow[:, 4:] *= SLOW_SHARE
    modes = np.vstack([_modes(rng, FINE_MODES, FINE_WAVELENGTHS_MM), slow])
    rotation = rotation_matrix(rng.uniform(-3.0, 3.0, 3))
    shift = rng.uniform([-12.0, -10.0, -25.0], [12.0, 10.0, 25.0])
    fixed_origin = rng.uniform([-8.0, -170.0, -260.0], [8.0, -150.0, -160.0])
    return Motion(breathing, modes, rotation, fixed_origin + shift, fixed_origin)
