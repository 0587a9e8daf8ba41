"""Random generators of the phantom, one per purpose: another draw changes nothing else."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Purpose of a generator; the number is part of the seed, so it never changes."""

    ANATOMY = 1
    ARTERIES = 2
    VEINS = 3
    CHANGES = 5
    TEXTURE = 6
    MOTION = 7
    SCANS = 8
    LANDMARKS = 9
    POINTS = 10
    FIXED_NOISE = 11
    MOVING_NOISE = 12


def generator(seed: int, case: int, purpose: Purpose, *, attempt: int = 0) -> np.random.Generator:
    """Return the generator of one purpose in one case (PCG64, independent of all others)."""
    sequence = np.random.SeedSequence([seed, case, int(purpose), attempt])
    return np.random.Generator(np.random.PCG64(sequence))
