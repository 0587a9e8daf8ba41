"""Random generators of the phantom, one per purpose: a new draw moves nothing else."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a generator is for; the number is part of the seed, so it never changes."""

    ANATOMY = 1
    ARTERIES = 2
    VEINS = 3
    AIRWAYS = 4
    CHANGES = 5
    TEXTURE = 6
    MOTION = 7
    SCANS = 8
    LANDMARKS = 9
    POINTS = 10
    FIXED_NOISE = 11
    MOVING_NOISE = 12


def generator(seed: int, case: int, purpose: Purpose, *, attempt: int = 0) -> np.random.Generator:
    """The generator of one purpose in one case (PCG64, independent of every other purpose)."""
    sequence = np.random.SeedSequence([seed, case, int(purpose), attempt])
    return np.random.Generator(np.random.PCG64(sequence))
