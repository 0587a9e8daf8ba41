"""Turn anatomy into a CT scan: sampling on voxels, slice thickness, kernel, noise, table."""

from dataclasses import dataclass
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.phantom.anatomy import HU_AIR, Body, lung_level, outside_body, tissue_hu
from lcsd.phantom.motion import Motion
from lcsd.phantom.texture import texture_at
from lcsd.phantom.trees import FIXED_ONLY, MOVING_ONLY
from lcsd.phantom.tubes import TubeGrid, tube_distance

# Body positions are exact on a lattice of about this step and interpolated by cubic B-splines (error < 0.01 mm).
LATTICE_MM = 6.0
# Nodes beyond the scan: the effect of the spline's boundary falls by a factor of 0.27 per node.
LATTICE_PAD = 7
SUBSLICES = 3
# Width of the ramp at the surface of a tube: about one pixel, so that thin vessels keep their area.
EDGE_MM = 0.7
WALL_MM = 1.1
# Beyond this distance from the surface of the lungs, a thick slice does not reach it.
DEEP_MM = 4.0
HU_LUMEN = -985.0
HU_WALL = 10.0
HU_VESSEL = 42.0
HU_PLEURA = 20.0
HU_LOWEST, HU_HIGHEST = -1024, 3071
TABLE_GAP_MM, TABLE_THICKNESS_MM, TABLE_RADIUS_MM, TABLE_HALF_MM = 3.0, 26.0, 700.0, 215.0
FISSURE_HALF_MM = 0.6


class Scene(NamedTuple):
    """Everything that the renderer needs at a body point."""

    body: Body
    vessels: TubeGrid
    airways: TubeGrid
    texture: NDArray[np.float32]


@dataclass(frozen=True)
class Scan:
    """The geometry of one scan."""

    size_xyz: tuple[int, int, int]  # voxels along x, y, z of the array's axes
    spacing: NDArray[np.float64]  # shape (3,), mm. The third is the slice increment.
    origin: NDArray[np.float64]  # shape (3,), LPS mm: centre of the first voxel
    direction: NDArray[np.float64]  # shape (3, 3): columns are the axes' directions in LPS, a right-handed rotation
    thickness: float  # slice thickness in mm
    table_origin: NDArray[np.float64]  # shape (3,), native LPS mm: the point of the table top below the body

    def to_world(self, index_xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return LPS mm (N, 3) of continuous voxel indices (N, 3), order x, y, z."""
        return np.asarray((index_xyz * self.spacing) @ self.direction.T + self.origin)


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel. In-plane blur of image and noise (sigma, mm), edge gain, noise level (HU)."""

    name: str
    blur_mm: float
    sharpen: float
    noise_mm: float
    noise_hu: float


SOFT = Kernel("STANDARD", blur_mm=0.55, sharpen=0.0, noise_mm=0.62, noise_hu=30.0)
SHARP = Kernel("LUNG", blur_mm=0.36, sharpen=0.7, noise_mm=0.40, noise_hu=70.0)


@nb.njit(cache=True)
def _spline_weights(t: float, w) -> None:  # type: ignore[no-untyped-def]
    w[0] = (1 - t) ** 3 / 6
    w[1] = (3 * t**3 - 6 * t**2 + 4) / 6
    w[2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    w[3] = t**3 / 6


@nb.njit(cache=True)
def _lattice_row(coef, gz: float, gy: float, row) -> None:  # type: ignore[no-untyped-def]
    """Combine the 16 lattice rows around (gz, gy) into one row (nx, 4)."""
    wz, wy = np.empty(4), np.empty(4)
    bz, by = int(np.floor(gz)), int(np.floor(gy))
    _spline_weights(gz - bz, wz)
    _spline_weights(gy - by, wy)
    row[:, :] = 0.0
    for a in range(4):
        for b in range(4):
            w = wz[a] * wy[b]
            for i in range(row.shape[0]):
                for c in range(4):
                    row[i, c] += w * coef[bz - 1 + a, by - 1 + b, i, c]


@nb.njit(cache=True)
def _along_row(row, bx: int, w, p) -> None:  # type: ignore[no-untyped-def]
    """Combine the 4 nodes of a row (nx, 4) around node bx into body position and det J."""
    for c in range(4):
        p[c] = w[0] * row[bx - 1, c] + w[1] * row[bx, c] + w[2] * row[bx + 1, c] + w[3] * row[bx + 2, c]


@nb.njit(cache=True)
def _lung_hu(x: float, y: float, z: float, det: float, scene: Scene) -> float:
    """HU of the parenchyma, whose mass is conserved, and of the fissures."""
    body = scene.body
    hu = body.parenchyma_hu + body.gravity_hu * (y / 90.0) + texture_at(x, y, z, scene.texture)
    hu = -1000.0 + max(hu + 1000.0, 25.0) / det
    # Oblique fissure on both sides, horizontal one on the right.
    oblique = 0.55 * (y - 10.0) - 0.83 * (z + 12.0) + 4.0 * np.sin(x / 40.0)
    across = abs(oblique)
    if x < 0.0 and oblique < 0.0:
        across = min(across, abs(z - 8.0 - 0.08 * y + 3.0 * np.sin(x / 30.0)))
    if across < FISSURE_HALF_MM:
        hu += 160.0 * (1.0 - across / FISSURE_HALF_MM)
    return hu


@nb.njit(cache=True)
def _with_tubes(hu: float, x: float, y: float, z: float, scene: Scene, scan: int, in_lung: bool) -> float:
    if in_lung:
        d = tube_distance(x, y, z, scene.vessels, scan)
        if d < EDGE_MM:
            share = min(max(0.5 - d / EDGE_MM, 0.0), 1.0)
            hu += share * (HU_VESSEL - hu)
    d = tube_distance(x, y, z, scene.airways, scan)
    if d < WALL_MM + EDGE_MM:
        wall = min(max(0.5 + (WALL_MM - d) / EDGE_MM, 0.0), 1.0)
        hu += wall * max(HU_WALL - hu, 0.0)
        share = min(max(0.5 - d / EDGE_MM, 0.0), 1.0)
        hu += share * (HU_LUMEN - hu)
    return hu


@nb.njit(cache=True)
def _point_hu(x: float, y: float, z: float, det: float, scene: Scene, scan: int, deep: bool) -> float:
    """HU of a point in or near the lungs; `deep` means not near their surface."""
    level = DEEP_MM if deep else lung_level(x, y, z, scene.body)
    inside = min(max(0.5 + level / EDGE_MM, 0.0), 1.0)
    hu = 0.0
    if inside > 0.0:
        hu += inside * _lung_hu(x, y, z, det, scene)
    if inside < 1.0:
        outer = tissue_hu(x, y, z, scene.body)
        if level > -2.5:
            outer = HU_PLEURA
        hu += (1.0 - inside) * outer
    return _with_tubes(hu, x, y, z, scene, scan, level > -1.0)


@nb.njit(cache=True, parallel=True)
def _render(coef, size, steps, subslices, thickness_voxels, body, vessels, airways, texture, scan):  # type: ignore[no-untyped-def]
    """Noise-free HU of every voxel (z, y, x), float32."""
    nx, ny, nz = size[0], size[1], size[2]
    out = np.empty((nz, ny, nx), np.float32)
    for r in nb.prange(nz * ny):
        k, j = r // ny, r % ny
        scene = Scene(body, vessels, airways, texture)
        rows = np.empty((subslices, coef.shape[2], 4))
        for s in range(subslices):
            dz = thickness_voxels * ((s + 0.5) / subslices - 0.5)
            _lattice_row(coef, (k + dz) / steps[2] + LATTICE_PAD, j / steps[1] + LATTICE_PAD, rows[s])
        w = np.empty(4)
        p = np.empty((subslices, 4))
        middle = subslices // 2
        for i in range(nx):
            gx = i / steps[0] + LATTICE_PAD
            bx = int(np.floor(gx))
            _spline_weights(gx - bx, w)
            _along_row(rows[middle], bx, w, p[middle])
            x, y, z = p[middle, 0], p[middle, 1], p[middle, 2]
            if outside_body(x, y, z, scene.body):
                out[k, j, i] = HU_AIR
                continue
            level = lung_level(x, y, z, scene.body)
            if level < -DEEP_MM:
                hu = tissue_hu(x, y, z, scene.body)
                hu = _with_tubes(hu, x, y, z, scene, scan, False)
            else:
                hu = 0.0
                for s in range(subslices):
                    _along_row(rows[s], bx, w, p[s])
                    hu += _point_hu(p[s, 0], p[s, 1], p[s, 2], p[s, 3], scene, scan, level > DEEP_MM)
                hu /= subslices
            out[k, j, i] = hu
    return out


@nb.njit(cache=True, parallel=True)
def _masks(coef, size, steps, body, vessels, airways, texture, scan):  # type: ignore[no-untyped-def]
    """Truth at the voxel centres (z, y, x), uint8: lungs (1) and vessels inside them (1)."""
    nx, ny, nz = size[0], size[1], size[2]
    lungs = np.zeros((nz, ny, nx), np.uint8)
    tubes = np.zeros((nz, ny, nx), np.uint8)
    for r in nb.prange(nz * ny):
        k, j = r // ny, r % ny
        scene = Scene(body, vessels, airways, texture)
        row = np.empty((coef.shape[2], 4))
        _lattice_row(coef, k / steps[2] + LATTICE_PAD, j / steps[1] + LATTICE_PAD, row)
        w = np.empty(4)
        p = np.empty(4)
        for i in range(nx):
            gx = i / steps[0] + LATTICE_PAD
            bx = int(np.floor(gx))
            _spline_weights(gx - bx, w)
            _along_row(row, bx, w, p)
            if lung_level(p[0], p[1], p[2], scene.body) <= 0.0:
                continue
            lungs[k, j, i] = 1
            if tube_distance(p[0], p[1], p[2], scene.airways, scan) < 0.0:
                continue
            if tube_distance(p[0], p[1], p[2], scene.vessels, scan) < 0.0:
                tubes[k, j, i] = 1
    return lungs, tubes


class Lattice(NamedTuple):
    """B-spline coefficients (z, y, x, 4) of body position and det J; voxels per lattice step."""

    coefficients: NDArray[np.float64]
    steps: NDArray[np.float64]


def body_lattice(scan: Scan, motion: Motion, *, moving: bool) -> Lattice:
    """Return the body position (and det J) of the scan's voxels as a cubic B-spline lattice."""
    steps = np.maximum(np.round(LATTICE_MM / scan.spacing), 1.0)
    counts = np.ceil(np.array(scan.size_xyz) / steps).astype(int) + 2 * LATTICE_PAD + 2
    axes = [(np.arange(n) - LATTICE_PAD) * s for n, s in zip(counts, steps, strict=True)]
    gz, gy, gx = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    world = scan.to_world(np.stack([gx, gy, gz], axis=-1).reshape(-1, 3))
    values = np.ones((len(world), 4))
    if moving:
        values[:, :3], values[:, 3] = motion.body_of_moving(world)
    else:
        values[:, :3] = world - motion.fixed_origin
    volume = values.reshape(*gx.shape, 4)
    filtered = [ndimage.spline_filter(volume[..., c], order=3, mode="mirror") for c in range(4)]
    return Lattice(np.ascontiguousarray(np.stack(filtered, axis=-1)), steps)


def render(scan: Scan, lattice: Lattice, scene: Scene, *, moving: bool) -> NDArray[np.float32]:
    """Return the noise-free scan (z, y, x) in HU, before the kernel, with the table."""
    hu: NDArray[np.float32] = _render(
        lattice.coefficients,
        np.array(scan.size_xyz),
        lattice.steps,
        SUBSLICES,
        scan.thickness / scan.spacing[2],
        *scene,
        MOVING_ONLY if moving else FIXED_ONLY,
    )
    _add_table(hu, scan)
    return hu


def truth_masks(
    scan: Scan, lattice: Lattice, scene: Scene, *, moving: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the true lungs and vessels of the scan (z, y, x), uint8."""
    seen = MOVING_ONLY if moving else FIXED_ONLY
    lungs, vessels = _masks(lattice.coefficients, np.array(scan.size_xyz), lattice.steps, *scene, seen)
    return lungs, vessels


def _add_table(hu: NDArray[np.float32], scan: Scan) -> None:
    """Add a curved carbon-fibre table with a foam core in the air below the body."""
    nx, ny, _ = scan.size_xyz
    for k in range(hu.shape[0]):
        # The rows of the table: nowhere is it deeper than at its middle, and nowhere higher than at its sides.
        ends = np.array([[i, j, k] for j in range(ny) for i in (0, nx - 1)], dtype=float)
        y = (scan.to_world(ends) - scan.table_origin)[:, 1].reshape(ny, 2)
        rise = TABLE_HALF_MM**2 / (2.0 * TABLE_RADIUS_MM)
        rows = np.flatnonzero(
            (y.max(axis=1) > TABLE_GAP_MM - rise) & (y.min(axis=1) < TABLE_GAP_MM + TABLE_THICKNESS_MM)
        )
        if not len(rows):
            continue
        part = slice(rows[0], rows[-1] + 1)
        gx, gy = np.meshgrid(np.arange(nx), np.arange(ny)[part])
        index = np.stack([gx, gy, np.full_like(gx, k)], axis=-1).reshape(-1, 3).astype(float)
        where = scan.to_world(index) - scan.table_origin
        depth = (where[:, 1] + where[:, 0] ** 2 / (2.0 * TABLE_RADIUS_MM) - TABLE_GAP_MM).reshape(gx.shape)
        wide = np.abs(where[:, 0]).reshape(gx.shape) < TABLE_HALF_MM
        free = (hu[k, part] < -900.0) & wide
        core = free & (depth > 0) & (depth < TABLE_THICKNESS_MM)
        skin = core & ((depth < 2.0) | (depth > TABLE_THICKNESS_MM - 2.0))
        hu[k, part][core] = -920.0
        hu[k, part][skin] = -250.0


def _noise_gain(sigma: tuple[float, float], sharpen: float) -> float:
    """Return the standard deviation of unit white noise after the kernel's noise filter."""
    impulse = np.zeros((65, 65))
    impulse[32, 32] = 1.0
    return float(np.sqrt(np.sum(_filtered(impulse, sigma, sharpen) ** 2)))


def _filtered(image: NDArray[np.float64], sigma: tuple[float, float], sharpen: float) -> NDArray[np.float64]:
    smooth = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0)
    if sharpen > 0:
        wide = ndimage.gaussian_filter(image, (2.5 * sigma[0], 2.5 * sigma[1]), mode="nearest", truncate=3.0)
        smooth = smooth + sharpen * (smooth - wide)
    return np.asarray(smooth)


def acquire(clean: NDArray[np.float32], scan: Scan, kernel: Kernel, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return a reconstruction (z, y, x), int16 HU; kernels with generators in the same state share their photons."""
    nx, ny, _ = scan.size_xyz
    pixel = (float(scan.spacing[1]), float(scan.spacing[0]))
    blur = (kernel.blur_mm / pixel[0], kernel.blur_mm / pixel[1])
    grain = (kernel.noise_mm / pixel[0], kernel.noise_mm / pixel[1])
    gain = kernel.noise_hu / _noise_gain(grain, kernel.sharpen)
    gy, gx = np.meshgrid(
        (np.arange(ny) - (ny - 1) / 2) * pixel[0], (np.arange(nx) - (nx - 1) / 2) * pixel[1], indexing="ij"
    )
    radius = np.hypot(gx, gy)
    # Rays through the middle of the body lose most photons.
    level = (gain * (0.55 + 0.6 * np.exp(-0.5 * (radius / 110.0) ** 2))).astype(np.float32)
    outside = radius > 0.5 * min(nx * pixel[1], ny * pixel[0]) + 1.0
    overlap = max(0.0, 1.0 - float(scan.spacing[2]) / scan.thickness)
    before = rng.standard_normal((ny, nx), dtype=np.float32)
    out = np.empty(clean.shape, dtype=np.int16)
    for k in range(clean.shape[0]):
        fresh = rng.standard_normal((ny, nx), dtype=np.float32)
        white = (overlap * before + np.sqrt(1.0 - overlap**2) * fresh).astype(np.float32)
        before = fresh
        noise = _filtered(white, grain, kernel.sharpen)
        hu = _filtered(clean[k], blur, kernel.sharpen) + level * noise
        hu[outside] = HU_LOWEST
        out[k] = np.clip(np.rint(hu), HU_LOWEST, HU_HIGHEST).astype(np.int16)
    return out
