"""Settings of the dense cloud."""

from lcsd.settings.base import Settings


class CloudSettings(Settings):
    """Dense cloud: one point per vessel voxel; there is nothing to set."""
