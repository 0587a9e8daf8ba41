"""Normal equations and relaxation of the refinement.

See :mod:`lcsd.corrfield.refine` and :mod:`lcsd.corrfield.relaxation` for the definitions.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lcsd.corrfield.foerstner import TENSOR_AXES
from lcsd.corrfield.on_torch.motion import Cell, cells


def _linearised(volume: Tensor, z: Cell, y: Cell, x: Cell) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return a volume (Z, Y, X) and its slopes along z, y and x in cells of N positions."""
    (z0, z1, fz), (y0, y1, fy), (x0, x1, fx) = z, y, x

    def row(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        value = volume[a, b, x0].float()
        slope = volume[a, b, x1].float() - value
        return value + fx * slope, slope

    (v00, d00), (v01, d01) = row(z0, y0), row(z0, y1)
    (v10, d10), (v11, d11) = row(z1, y0), row(z1, y1)
    near, far = v00 + fy * (v01 - v00), v10 + fy * (v11 - v10)
    front, back = d00 + fy * (d01 - d00), d10 + fy * (d11 - d10)
    along_z = far - near
    along_y = (v01 - v00) + fz * ((v11 - v10) - (v01 - v00))
    return near + fz * along_z, (along_z, along_y, front + fz * (back - front))


def normal_equations(
    fixed: Tensor, moving: Tensor, nodes: Tensor, places: Tensor, *, robust: float
) -> tuple[Tensor, Tensor]:
    """Return ``normal`` (6, N) and ``right`` (3, N), float32, of :func:`lcsd.corrfield.refine.normal_equations`."""
    z, y, x = cells(list(places.T), tuple(moving.shape[1:]))
    normal = torch.zeros((6, len(nodes)), device=moving.device)
    right, total = torch.zeros_like(normal[:3]), torch.zeros_like(normal[0])
    # Channel by channel: the buffers are a few numbers per node.
    for here, there in zip(fixed, moving, strict=True):
        value, slopes = _linearised(there, z, y, x)
        r = here[nodes.unbind(dim=1)].float() - value
        total.addcmul_(r, r)
        for row, (a, b) in zip(normal, TENSOR_AXES, strict=True):
            row.addcmul_(slopes[a], slopes[b])
        for row, slope in zip(right, slopes, strict=True):
            row.addcmul_(slope, r)
    weight = robust / (robust + total)
    return normal.mul_(weight), right.mul_(weight)


def _inverses(normal: Tensor, smoothness: float) -> Tensor:
    """Return ``(A + smoothness * neighbours)^-1`` per node by its adjugate, shape (6, Z, Y, X)."""
    ridge = torch.zeros_like(normal[0], dtype=torch.float64)
    for axis, size in enumerate(ridge.shape):
        ridge.narrow(axis, 0, size - 1).add_(smoothness)
        ridge.narrow(axis, 1, size - 1).add_(smoothness)
    zz, yy, xx, zy, zx, yx = normal.double()
    zz, yy, xx = zz + ridge, yy + ridge, xx + ridge
    c0, c1, c2 = yy * xx - yx * yx, zx * yx - zy * xx, zy * yx - zx * yy
    adjugate = (c0, zz * xx - zx * zx, zz * yy - zy * zy, c1, c2, zy * zx - zz * yx)
    determinant = zz * c0 + zy * c1 + zx * c2
    return torch.stack([(part / determinant).float() for part in adjugate])


def _colours(shape: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """Return where ``(z + y + x) % 2`` is 0 and where it is 1, float32."""
    z, y, x = (torch.arange(n, device=device) for n in shape)
    odd = ((z[:, None, None] + y[:, None] + x) % 2).float()
    return [1 - odd, odd]


def relax(values: Tensor, normal: Tensor, right: Tensor, smoothness: float, *, sweeps: int) -> Tensor:
    """Return the result of Gauss-Seidel sweeps; see :func:`lcsd.corrfield.relaxation.relax`."""
    padded = functional.pad(values, (1,) * 6)
    inner = padded[:, 1:-1, 1:-1, 1:-1]
    zz, yy, xx, zy, zx, yx = _inverses(normal, smoothness)
    colours = _colours(tuple(values.shape[1:]), values.device)
    for _ in range(sweeps):
        for chosen in colours:
            around = padded[:, :-2, 1:-1, 1:-1] + padded[:, 2:, 1:-1, 1:-1]
            around += padded[:, 1:-1, :-2, 1:-1] + padded[:, 1:-1, 2:, 1:-1]
            around += padded[:, 1:-1, 1:-1, :-2] + padded[:, 1:-1, 1:-1, 2:]
            p, q, r = right + smoothness * around
            for axis, (a, b, c) in enumerate(((zz, zy, zx), (zy, yy, yx), (zx, yx, xx))):
                found = a * p + b * q + c * r
                inner[axis] += chosen * (found - inner[axis])
    return inner.contiguous()
