"""Random changes of a sample that keep its points, pairs, landmarks and volumes consistent."""

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray

from lcsd.data.sample import ATTRIBUTES, PAIR_KEYS, Sample
from lcsd.errors import BadInputError
from lcsd.release.layout import SCAN_NUMBER

Points = NDArray[np.float64]

AIR_HU = -1024.0
"""Value of a scan where it has no voxel."""

BUMPS = 24
"""Gaussians in a random deformation."""

STEEPEST = 0.5
"""Largest slope of a deformation: it stays invertible, and its inverse converges by halves."""

INVERSE_STEPS = 25
NODES_MM = 8.0
"""Spacing at which a deformation of a volume is evaluated; between, it is linear."""


class Deformation:
    """A smooth displacement, a sum of Gaussians: ``x + u(x)``, LPS mm."""

    def __init__(self, centres: Points, sizes: Points, width_mm: float) -> None:
        self._centres, self._sizes, self._width = centres, sizes, width_mm

    @classmethod
    def random(cls, box: Points, most_mm: float, width_mm: float, rng: np.random.Generator) -> "Deformation":
        """Return a deformation whose largest displacement in a box (2, 3) is at most ``most_mm``."""
        centres = rng.uniform(box[0], box[1], size=(BUMPS, 3))
        made = cls(centres, rng.normal(size=(BUMPS, 3)), width_mm)
        largest = float(np.linalg.norm(made.at(centres), axis=1).max())
        # The slope of one Gaussian is at most size / width exp(-1/2).
        steepest = float(np.linalg.norm(made._sizes, axis=1).sum()) * np.exp(-0.5) / width_mm
        factor = min(most_mm * rng.uniform() / max(largest, 1e-9), STEEPEST / max(steepest, 1e-9))
        return cls(centres, factor * made._sizes, width_mm)

    def at(self, points: Points) -> Points:
        """Return the displacement at points (N, 3), mm."""
        found = np.empty_like(points)
        for first in range(0, len(points), 1 << 16):
            part = points[first : first + (1 << 16)]
            squared = ((part[:, None] - self._centres) ** 2).sum(axis=-1)
            found[first : first + (1 << 16)] = np.exp(-squared / (2 * self._width**2)) @ self._sizes
        return found

    def __call__(self, points: Points) -> Points:
        """Return where points (N, 3) move."""
        return points + self.at(points)

    def inverse(self, points: Points) -> Points:
        """Return the points that move to ``points``."""
        found = points.copy()
        for _ in range(INVERSE_STEPS):
            found = points - self.at(found)
        return found


@dataclass(frozen=True)
class Pose:
    """A rotation, scale and shift around a centre, LPS mm."""

    matrix: Points  # shape (3, 3)
    centre: Points
    shift: Points

    @classmethod
    def random(
        cls, centre: Points, rotation_deg: float, scale: float, shift_mm: float, rng: np.random.Generator
    ) -> "Pose":
        """Return a pose with an angle, a factor and a shift up to the given ones."""
        from scipy.spatial.transform import Rotation

        axis = rng.normal(size=3)
        angle = np.deg2rad(rotation_deg) * rng.uniform(-1, 1)
        turned = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
        return cls(turned * np.exp(np.log1p(scale) * rng.uniform(-1, 1)), centre, rng.uniform(-1, 1, 3) * shift_mm)

    def __call__(self, points: Points) -> Points:
        """Return where points (N, 3) move."""
        moved: Points = (points - self.centre) @ self.matrix.T + self.centre + self.shift
        return moved

    def inverse(self, points: Points) -> Points:
        """Return the points that move to ``points``."""
        found: Points = (points - self.centre - self.shift) @ np.linalg.inv(self.matrix).T + self.centre
        return found


@dataclass(frozen=True)
class Augment:
    """Random changes of a sample of :class:`LCSDataset`, for its argument ``transform``.

    Both scans turn, scale, shift and deform together, so that correspondences and landmarks stay true; then the moving
    scan alone may deform on top, which changes the motion between them and takes its points of pairs with it. Volumes
    are resampled to match: scans linearly, vessel maps by the nearest voxel. Last, points of the clouds are dropped and
    jittered; those of pairs and landmarks are not.

    Parameters
    ----------
    rotation_deg, shift_mm
        Largest angle around a random axis through the middle of the fixed cloud, and largest shift along each axis.
    scale
        Largest change of size: 0.1 is a factor from 1 / 1.1 to 1.1.
    deformation_mm, moving_deformation_mm
        Largest displacement of the deformation of both scans, and of the moving scan alone.
    deformation_width_mm
        Width (sigma) of its Gaussians. No deformation folds.
    dropout
        Largest share of a cloud's points that is left out, of 1; each cloud draws its own.
    jitter_mm
        Standard deviation of the noise of each coordinate.

    Raises
    ------
    BadInputError
        A value is negative or not finite, ``dropout`` is not below 1, or ``deformation_width_mm`` is not positive.
    """

    rotation_deg: float = 0.0
    scale: float = 0.0
    shift_mm: float = 0.0
    deformation_mm: float = 0.0
    moving_deformation_mm: float = 0.0
    deformation_width_mm: float = 40.0
    dropout: float = 0.0
    jitter_mm: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            most = 1.0 if item.name == "dropout" else np.inf
            least = np.finfo(float).tiny if item.name == "deformation_width_mm" else 0.0
            if not (np.isfinite(value) and least <= value < most):
                raise BadInputError(
                    "not a size of a change",
                    code="bad_value",
                    field=item.name,
                    expected="0 or more" + (", below 1" if most == 1 else ""),
                    found=repr(value),
                )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return a changed copy of a sample; equal generators change it equally."""
        fixed = _to_mm(sample, sample["fixed"])
        box = np.stack([fixed.min(axis=0), fixed.max(axis=0)]) if len(fixed) else np.zeros((2, 3))
        steps: list[Pose | Deformation] = [
            Pose.random(box.mean(axis=0), self.rotation_deg, self.scale, self.shift_mm, rng),
            Deformation.random(box, self.deformation_mm, self.deformation_width_mm, rng),
        ]
        alone = Deformation.random(box, self.moving_deformation_mm, self.deformation_width_mm, rng)
        chains = {"fixed": steps, "moving": [*steps, alone]}
        made = dict(sample)
        for scan in SCAN_NUMBER:
            made |= self._cloud(sample, scan, chains[scan], rng)
            for key, outside in ((f"{scan}_image", AIR_HU), (f"{scan}_vessels", 0.0)):
                if key in sample:
                    made[key] = _resampled(sample, key, chains[scan], outside)
        for key in PAIR_KEYS:
            ends = [_moved(sample, sample[key][:, at], chains[scan]) for at, scan in enumerate(("fixed", "moving"))]
            made[key] = torch.stack(ends, dim=1)
        return made

    def _cloud(self, sample: Sample, scan: str, chain: list[Pose | Deformation], rng: np.random.Generator) -> Sample:
        """Return a cloud and what belongs to its points."""
        count = len(sample[scan])
        left = max(count - int(count * self.dropout * rng.uniform()), min(count, 1))
        rows = torch.from_numpy(np.sort(rng.permutation(count)[:left]))
        points = _through(chain, _to_mm(sample, sample[scan][rows]))
        points += rng.normal(scale=self.jitter_mm, size=points.shape) if self.jitter_mm else 0.0
        kept = {key: sample[key][rows] for name in ATTRIBUTES if (key := f"{scan}_{name}") in sample}
        return {scan: _from_mm(sample, points), **kept}


def _through(chain: list[Pose | Deformation], points: Points) -> Points:
    for step in chain:
        points = step(points)
    return points


def _moved(sample: Sample, points: torch.Tensor, chain: list[Pose | Deformation]) -> torch.Tensor:
    return _from_mm(sample, _through(chain, _to_mm(sample, points)))


def _to_mm(sample: Sample, points: torch.Tensor) -> Points:
    return _apply(sample["to_mm"].numpy(), points.numpy().astype(np.float64))


def _from_mm(sample: Sample, points: Points) -> torch.Tensor:
    return torch.from_numpy(_apply(np.linalg.inv(sample["to_mm"].numpy()), points).astype(np.float32))


def _apply(matrix: Points, points: Points) -> Points:
    moved: Points = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def _resampled(sample: Sample, key: str, chain: list[Pose | Deformation], outside: float) -> torch.Tensor:
    """Return a volume (1, z, y, x) after the chain: each voxel looks up where it came from."""
    volume, to_mm = sample[key], sample["grid_to_mm"].numpy()
    sides = np.linalg.norm(to_mm[:3, :3], axis=0) * 2  # of the volume along x, y, z, mm
    counts = [max(2, int(np.ceil(side / NODES_MM)) + 1) for side in sides]
    axes = [np.linspace(-1, 1, n) for n in counts]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = _apply(to_mm, nodes)
    for step in chain[::-1]:
        points = step.inverse(points)
    back = _apply(np.linalg.inv(to_mm), points) - nodes
    shifts = torch.from_numpy(back.reshape(*counts, 3).transpose(3, 2, 1, 0).astype(np.float32))[None]
    size = list(volume.shape[1:])
    own = F.affine_grid(torch.eye(3, 4)[None], [1, 1, *size], align_corners=False)
    # The outermost nodes lie on the outer faces, at -1 and 1, so voxels find their shift at their own coordinates.
    at = own + F.grid_sample(shifts, own, align_corners=True).permute(0, 2, 3, 4, 1)
    mode = "bilinear" if volume.dtype.is_floating_point else "nearest"
    moved = F.grid_sample((volume.float() - outside)[None], at, mode=mode, align_corners=False)[0] + outside
    return moved.to(volume.dtype)
