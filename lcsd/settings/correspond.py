"""Settings: corrfield correspondences."""

from lcsd.settings.base import Settings


class CorrespondSettings(Settings):
    """corrfield correspondences."""
