"""The thorax as implicit functions of position in body coordinates.

Body coordinates are millimetres with the axes of LPS (x to the patient's left, y to the back, z
to the head); the origin lies between the hila. Levels are approximate signed distances in mm,
positive inside. Sizes are those of an adult at inspiration (both lungs together about 5 litres).
"""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

# Half-width of the rounding where two surfaces meet, and step of numerical gradients (mm).
ROUNDING_MM = 7.0
GRADIENT_STEP_MM = 0.05
# Hounsfield units of the materials (textbook values for unenhanced CT).
HU_AIR = -1000.0
HU_FAT = -100.0
HU_MUSCLE = 50.0
HU_BLOOD = 42.0
HU_LIVER = 58.0
HU_CARTILAGE = 120.0
HU_CORTEX = 650.0
HU_MARROW = 260.0
HU_GAS = -985.0
RIB_PITCH_MM = 26.0
RIB_DROP_MM = 62.0
VERTEBRA_PITCH_MM = 25.0


class Body(NamedTuple):
    """Sizes of one patient in mm (body coordinates); `scale` multiplies everything."""

    scale: float
    lung_x: float  # |x| of each lung's long axis
    lung_half_width: float
    lung_half_depth: float
    apex_z: float
    dome_right_z: float
    dome_left_z: float
    dome_drop: float
    heart_x: float
    heart_y: float
    heart_z: float
    heart_a: float
    heart_b: float
    heart_c: float
    fat: float
    gas_x: float
    gas_radius: float
    parenchyma_hu: float
    gravity_hu: float


def draw_body(rng: np.random.Generator) -> Body:
    """Return one patient's sizes, a few per cent around an average adult."""

    def about(mean: float, spread: float) -> float:
        return float(mean + spread * rng.uniform(-1.0, 1.0))

    return Body(
        scale=about(0.95, 0.03),
        lung_x=about(62.0, 2.0),
        lung_half_width=about(75.0, 3.0),
        lung_half_depth=about(92.0, 4.0),
        apex_z=about(124.0, 5.0),
        dome_right_z=about(-62.0, 5.0),
        dome_left_z=about(-74.0, 5.0),
        dome_drop=about(62.0, 6.0),
        heart_x=about(20.0, 3.0),
        heart_y=about(-26.0, 3.0),
        heart_z=about(-50.0, 4.0),
        heart_a=about(60.0, 3.0),
        heart_b=about(46.0, 3.0),
        heart_c=about(50.0, 3.0),
        fat=about(13.0, 5.0),
        gas_x=about(62.0, 8.0),
        gas_radius=about(26.0, 5.0),
        parenchyma_hu=about(-862.0, 15.0),
        gravity_hu=about(28.0, 10.0),
    )


@nb.njit(cache=True, inline="always")
def _smin(a: float, b: float, k: float) -> float:
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - 0.25 * h * h * k


@nb.njit(cache=True)
def _ellipsoid(dx: float, dy: float, dz: float, a: float, b: float, c: float) -> float:
    """Approximate signed distance to an ellipsoid, positive outside."""
    qx, qy, qz = dx / a, dy / b, dz / c
    rho = np.sqrt(qx * qx + qy * qy + qz * qz) + 1e-9
    slope = np.sqrt((qx / a) ** 2 + (qy / b) ** 2 + (qz / c) ** 2) / rho + 1e-9
    return float((rho - 1.0) / slope)


@nb.njit(cache=True)
def cage_level(x: float, y: float, z: float, body: Body) -> float:
    """Depth inside the rib cage (mm at scale 1), positive inside."""
    dx = abs(x) - body.lung_x
    a = body.lung_half_width - 0.03 * min(max(z, -140.0), 60.0)
    if dx < 0.0:
        # Towards the midline the chest is flat in front, but the apices are round.
        a = 125.0 - 0.6 * min(max(z, 0.0), 90.0)
    return -_ellipsoid(dx, y, max(z, 0.0), a, body.lung_half_depth, body.apex_z)


@nb.njit(cache=True)
def dome_level(x: float, y: float, z: float, body: Body) -> float:
    """Height above the diaphragm (mm), two domes that fall off towards the chest wall."""
    left = 1.0 / (1.0 + np.exp(-x / 12.0))
    top = body.dome_right_z + (body.dome_left_z - body.dome_right_z) * left
    qx = (abs(x) - body.lung_x + 6.0) / 86.0
    qy = (y + 12.0) / 92.0
    q = qx * qx + qy * qy
    height = z - (top - body.dome_drop * q)
    gx = 2.0 * body.dome_drop * qx / 86.0
    gy = 2.0 * body.dome_drop * qy / 92.0
    return float(height / np.sqrt(1.0 + gx * gx + gy * gy))


@nb.njit(cache=True)
def heart_level(x: float, y: float, z: float, body: Body) -> float:
    """Distance from the heart's surface, positive outside; its apex is left, in front and below."""
    dx, dy, dz = x - body.heart_x, y - body.heart_y, z - body.heart_z
    c, s = 0.85, -0.5268
    u = c * dx + s * dy
    v = -s * dx + c * dy
    w = dz + 0.25 * u
    return _ellipsoid(u, v, w, body.heart_a, body.heart_b, body.heart_c)


@nb.njit(cache=True)
def _spine_level(x: float, y: float) -> float:
    dy = y - min(max(y, 66.0), 125.0)
    return float(np.sqrt(x * x + dy * dy) - 24.0)


@nb.njit(cache=True)
def lung_level(px: float, py: float, pz: float, body: Body) -> float:
    """Depth inside the lungs in mm, positive inside (the side follows from the sign of x)."""
    x, y, z = px / body.scale, py / body.scale, pz / body.scale
    cage = cage_level(x, y, z, body)
    level = _smin(cage, dome_level(x, y, z, body), ROUNDING_MM)
    if level < -15.0:
        return level * body.scale
    level = _smin(level, heart_level(x, y, z, body), ROUNDING_MM)
    level = _smin(level, _spine_level(x, y), ROUNDING_MM)
    level = _smin(level, _ellipsoid(x, y - 4.0, 0.0, 29.0, 44.0, 1.0), ROUNDING_MM)
    level = _smin(level, abs(x) - 6.0, ROUNDING_MM)
    level = _smin(level, _ellipsoid(abs(x) - 30.0, y - 12.0, z + 2.0, 19.0, 21.0, 30.0), ROUNDING_MM)
    aorta = np.sqrt((x - 24.0) ** 2 + (y - 44.0) ** 2) - 13.0
    if z > 30.0:
        aorta = np.sqrt((x - 24.0) ** 2 + (y - 44.0) ** 2 + (z - 30.0) ** 2) - 13.0
    level = _smin(level, aorta, ROUNDING_MM)
    return level * body.scale


@nb.njit(cache=True)
def _bone_hu(x: float, y: float, z: float, cage: float, background: float) -> float:
    """Ribs and sternum over the background."""
    hu = background
    # Ribs wind around the cage from the spine, falling towards the front.
    turn = np.arctan2(abs(x), y - 30.0)
    along = z + RIB_DROP_MM * 0.5 * (1.0 - np.cos(turn))
    offset = along - RIB_PITCH_MM * np.round(along / RIB_PITCH_MM)
    depth = cage + 8.5
    rib = np.sqrt((depth / 4.5) ** 2 + (offset / 6.5) ** 2)
    if rib < 1.0 and z < 118.0:
        if turn > 2.5:
            hu = HU_CARTILAGE
        elif rib > 0.62:
            hu = HU_CORTEX
        else:
            hu = HU_MARROW
    if abs(x) < 17.0 and -80.0 < z < 70.0:
        sternum = np.sqrt((x / 17.0) ** 2 + ((y + 92.0) / 6.0) ** 2)
        if sternum < 1.0:
            hu = HU_CORTEX if sternum > 0.75 else HU_MARROW
    return hu


@nb.njit(cache=True)
def _spine_hu(x: float, y: float, z: float) -> float:
    """Vertebrae, discs, the canal and the spinous processes in muscle."""
    hu = HU_MUSCLE
    vertebra = np.sqrt((x / 17.0) ** 2 + ((y - 66.0) / 15.0) ** 2)
    if vertebra < 1.0:
        disc = abs(z - VERTEBRA_PITCH_MM * np.round(z / VERTEBRA_PITCH_MM))
        if disc > 10.0:
            hu = 85.0
        elif vertebra > 0.86 or disc > 8.8:
            hu = 480.0
        else:
            hu = 190.0
    canal = np.sqrt((x / 9.0) ** 2 + ((y - 90.0) / 8.0) ** 2)
    if canal < 1.0:
        hu = 25.0
    elif canal < 1.4:
        hu = 420.0
    offset = z - RIB_PITCH_MM * np.round(z / RIB_PITCH_MM)
    if abs(x) < 4.0 and 100.0 < y < 122.0 and abs(offset) < 8.0:
        hu = 420.0
    return hu


@nb.njit(cache=True)
def _abdomen_hu(x: float, y: float, z: float, below: float, body: Body) -> float:
    """Liver right, stomach with gas over fluid and spleen left; `below` mm under the diaphragm."""
    gas_z = body.dome_left_z - body.gas_radius - 12.0
    gas = _ellipsoid(x - body.gas_x, y + 12.0, z - gas_z, body.gas_radius, body.gas_radius, 0.8 * body.gas_radius)
    if gas < 0.0:
        # Supine: gas collects in front of the fluid.
        return HU_GAS if y < 0.0 else 15.0
    if gas < 4.0:
        return HU_MUSCLE
    colon = _ellipsoid(x - 20.0, y + 45.0, z + 132.0, 40.0, 16.0, 14.0)
    if colon < 0.0:
        return HU_GAS
    if below < 4.0:
        return HU_MUSCLE
    if x < 35.0 - 0.25 * (z + 100.0):
        return HU_LIVER
    spleen = _ellipsoid(x - 88.0, y - 38.0, z + 118.0, 34.0, 42.0, 45.0)
    return 48.0 if spleen < 0.0 else HU_FAT


@nb.njit(cache=True)
def _mediastinum_hu(x: float, y: float, z: float, heart: float) -> float:  # noqa: PLR0911
    """Heart, great vessels and oesophagus in fat."""
    if heart < -3.0:
        return HU_BLOOD
    if heart < -0.5:
        return HU_MUSCLE
    top = max(z - 30.0, 0.0)
    if (x - 24.0) ** 2 + (y - 44.0) ** 2 + top * top < 12.5**2:
        return HU_BLOOD
    # Aortic arch and ascending aorta, superior vena cava, pulmonary trunk and arteries, oesophagus.
    ring = np.sqrt((y - 10.0) ** 2 + (z - 12.0) ** 2) - 34.0
    if z > 10.0 and ring * ring + (x - 12.0 - 0.25 * (y - 10.0)) ** 2 < 13.0**2:
        return HU_BLOOD
    if (x + 18.0) ** 2 + (y + 8.0) ** 2 < 9.0**2 and z > -30.0:
        return HU_BLOOD
    if abs(x) < 46.0 and (y - 0.12 * x) ** 2 + (z - 2.0) ** 2 < 12.0**2:
        return HU_BLOOD
    if (x / 9.0) ** 2 + ((y - 40.0) / 6.0) ** 2 < 1.0:
        return HU_MUSCLE
    hilum = _ellipsoid(abs(x) - 32.0, y - 12.0, z + 2.0, 14.0, 17.0, 24.0)
    return 35.0 if hilum < 0.0 else HU_FAT + 15.0


@nb.njit(cache=True)
def _skin_level(x: float, y: float, z: float) -> float:
    shoulder = min(max((z - 60.0) / 90.0, 0.0), 1.0)
    return -_ellipsoid(x, y - 8.0, 0.0, 166.0 + 26.0 * shoulder, 116.0, 1.0)


@nb.njit(cache=True)
def outside_body(px: float, py: float, pz: float, body: Body) -> bool:
    """Return whether a point is in the air around the body."""
    return _skin_level(px / body.scale, py / body.scale, pz / body.scale) < 0.0


@nb.njit(cache=True)
def tissue_hu(px: float, py: float, pz: float, body: Body) -> float:  # noqa: PLR0911
    """HU of everything except lungs, their vessels, and airways; air outside the body."""
    x, y, z = px / body.scale, py / body.scale, pz / body.scale
    skin = _skin_level(x, y, z)
    if skin < 0.0:
        return HU_AIR
    if skin < 1.5:
        return 10.0
    cage = cage_level(x, y, z, body)
    if skin > body.fat and _spine_level(x, y) < 0.0:
        return _spine_hu(x, y, z)
    if cage > -3.0:
        dome = dome_level(x, y, z, body)
        heart = heart_level(x, y, z, body)
        if dome < 0.0 and heart > 0.0:
            return _abdomen_hu(x, y, z, -dome, body)
        if cage < 2.0:
            return HU_MUSCLE
        return _mediastinum_hu(x, y, z, heart)
    wall = HU_FAT if skin < body.fat else HU_MUSCLE
    if cage > -14.0 or abs(x) < 25.0:
        return _bone_hu(x, y, z, cage, wall)
    # Fat planes between the muscles of the back and the shoulder girdle.
    if skin > body.fat and np.cos(cage * 0.35 + 0.05 * z) > 0.9:
        return HU_FAT + 30.0
    return wall


@nb.njit(cache=True)
def lung_levels(points: Points, body: Body) -> NDArray[np.float64]:
    """`lung_level` of `(N, 3)` points."""
    out = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        out[i] = lung_level(points[i, 0], points[i, 1], points[i, 2], body)
    return out


@nb.njit(cache=True)
def pushed_inside(points: Points, margins: NDArray[np.float64], body: Body) -> Points:
    """Return the points; those shallower than their margin are moved inwards along the gradient."""
    out = points.copy()
    h = GRADIENT_STEP_MM
    for i in range(points.shape[0]):
        for _ in range(12):
            x, y, z = out[i, 0], out[i, 1], out[i, 2]
            missing = margins[i] - lung_level(x, y, z, body)
            if missing <= 0.0:
                break
            gx = lung_level(x + h, y, z, body) - lung_level(x - h, y, z, body)
            gy = lung_level(x, y + h, z, body) - lung_level(x, y - h, z, body)
            gz = lung_level(x, y, z + h, body) - lung_level(x, y, z - h, body)
            norm = np.sqrt(gx * gx + gy * gy + gz * gz) + 1e-12
            step = min(missing + 0.05, 4.0) / norm
            out[i, 0] += step * gx
            out[i, 1] += step * gy
            out[i, 2] += step * gz
    return out
