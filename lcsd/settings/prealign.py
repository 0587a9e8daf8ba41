"""Settings: Rigid pre-alignment and common grid."""

from lcsd.settings.base import Settings


class PrealignSettings(Settings):
    """Rigid pre-alignment and common grid."""
