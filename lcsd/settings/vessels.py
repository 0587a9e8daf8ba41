"""Settings: Vessel mask."""

from lcsd.settings.base import Settings


class VesselsSettings(Settings):
    """Vessel mask."""
