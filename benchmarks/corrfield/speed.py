"""corrfield against convexAdam (PyPI) on the same images: seconds, memory, error.

Needs the extra ``benchmarks``. Both start from the same rigid alignment, on images cut to the box
of the lung plus 15 mm; each runs in a process of its own, twice, and the faster run counts.

Run: python -m benchmarks.corrfield.speed --real CASE_FOLDER --truth TRUTH.csv
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.corrfield.cases import Pair, pairs_of, parser
from benchmarks.tables import write_rows
from lcsd.io.fields import DisplacementField

ROOT = Path(__file__).resolve().parents[2]
RUNS = 2


def corrfield(pair: Pair) -> DisplacementField:
    from lcsd.corrfield.correspond import find_correspondences

    return find_correspondences(pair.fixed, pair.moving, pair.mask).field


def convex_adam(pair: Pair) -> DisplacementField:
    """Run convexAdam with its defaults on the CPU."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    images = (image.array.astype(np.float32) for image in (pair.fixed, pair.moving))
    voxels = convex_adam_pt(*images, device=torch.device("cpu"), dtype=torch.float32)
    vectors = pair.fixed.grid.voxel_vectors_to_world(voxels[..., ::-1])
    return DisplacementField(vectors.astype(np.float32), pair.fixed.grid)


METHODS = {"corrfield": corrfield, "convexAdam": convex_adam}


def once(method: str, pair: Pair) -> dict[str, float]:
    """Return the figures of one method, measured in this process."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        field = METHODS[method](pair)
        seconds.append(time.perf_counter() - start)
    errors = pair.errors(field)
    return {
        "seconds": min(seconds),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mean_mm": float(errors.mean()),
        "median_mm": float(np.median(errors)),
        "p95_mm": float(np.percentile(errors, 95)),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--method", choices=METHODS, help="measure one method in this process")
    arguments = made.parse_args()
    if arguments.method is not None:
        (pair,) = pairs_of(arguments)
        print(json.dumps(once(arguments.method, pair.cropped())))
        return
    rows = []
    for method in METHODS:
        command = [sys.executable, "-m", "benchmarks.corrfield.speed", *sys.argv[1:]]
        done = subprocess.run([*command, "--method", method], capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append({"method": method, **json.loads(done.stdout.splitlines()[-1])})
    ratio = rows[1]["seconds"] / rows[0]["seconds"]
    write_rows("corrfield/speed", [{**row, "ratio": ratio} for row in rows])


if __name__ == "__main__":
    main()
