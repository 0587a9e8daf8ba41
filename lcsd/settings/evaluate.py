"""Settings of the landmark evaluation."""

from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings

Extrapolation = Literal["tps", "divroc", "knn"]


class EvaluateSettings(Settings):
    """Landmark evaluation."""

    extrapolate: Extrapolation = Field(
        "tps",
        description="how point motion reaches the landmarks: tps (thin-plate spline), divroc (splats, smoothest fit) "
        "or knn (mean of near points); a displacement field needs none of them",
    )
    tps_smoothing: float = Field(
        0.0, ge=0, description="smoothing of the thin-plate spline in mm kernels; 0 interpolates"
    )
