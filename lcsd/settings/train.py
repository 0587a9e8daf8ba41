"""Settings of the training of networks."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

NetworkName = Literal["unet", "dgcnn", "pointpwc"]
NETWORKS: tuple[NetworkName, ...] = ("unet", "dgcnn", "pointpwc")


class UNetSettings(Settings):
    """The U-Net on rasters."""

    node_mm: float = Field(8.0, gt=0, description="spacing of the displacement grid; the raster is twice as fine, mm")
    features: tuple[int, ...] = Field(
        (24, 48, 64), min_length=2, description="channels of each stage; each halves the grid, count"
    )
    passes: int = Field(
        2, ge=1, le=5, description="looks at the clouds in use: each starts where the one before ended, count"
    )
    convolutions: int = Field(1, ge=1, le=4, description="convolutions of a stage on each side, count")


class PointSettings(Settings):
    """What the networks on points have in common."""

    points: int = Field(
        3000,
        ge=16,
        description="most points of each cloud that the network sees: means of the points in cells, as small as this "
        "number allows, count",
    )
    node_mm: float = Field(8.0, gt=0, description="spacing of the displacement grid, mm")
    neighbours: int = Field(16, ge=1, description="nearest points that a point has edges to, count")
    passes: int = Field(
        2, ge=1, le=5, description="looks at the clouds in use: each starts where the one before ended, count"
    )


class DGCNNSettings(PointSettings):
    """The graph network with soft correspondences."""

    channels: int = Field(64, ge=4, description="channels of each of the three edge convolutions, count")
    outputs: int = Field(16, ge=1, description="numbers that describe a point, count")
    candidates: int = Field(64, ge=1, description="nearest points of the other cloud that may be a partner, count")
    spreads_mm: tuple[float, ...] = Field(
        (24.0, 18.0, 14.0, 12.0, 10.0),
        min_length=1,
        description="Gaussian over the motion in each round of soft correspondences, mm",
    )
    renewed: int = Field(2, ge=1, description="round, from 0, in which the candidates are chosen anew, count")


class PointPWCSettings(PointSettings):
    """The network on levels of points."""

    channels: tuple[int, ...] = Field(
        (32, 64, 96), min_length=1, description="channels of each level of points, fine first, count"
    )
    coarser: tuple[int, ...] = Field(
        (4, 4), description="a level has at most one in so many points of the finer one, count; one for each next level"
    )
    candidates: int = Field(24, ge=1, description="nearest moving points in a cost volume, count")
    spreads_mm: tuple[float, ...] = Field(
        (10.0, 14.0, 20.0), min_length=1, description="Gaussian over the motion of each level, fine first, mm"
    )

    @model_validator(mode="after")
    def _one_each(self) -> "PointPWCSettings":
        count = len(self.channels)
        if len(self.spreads_mm) != count or len(self.coarser) != count - 1:
            raise ValueError("channels, spreads_mm and coarser do not fit; give one for each level, coarser one less")
        if min(self.coarser, default=1) < 1:
            raise ValueError(f"coarser ({min(self.coarser)}) is below 1")
        return self


NetworkSettings = UNetSettings | DGCNNSettings | PointPWCSettings
SECTIONS: dict[NetworkName, type[NetworkSettings]] = {
    "unet": UNetSettings,
    "dgcnn": DGCNNSettings,
    "pointpwc": PointPWCSettings,
}
"""Settings of each network."""


class SelfTrainingSettings(Settings):
    """Training by the moving average of the network itself (--teacher)."""

    filtered: bool = Field(
        True,
        description="a pair is used only where the teacher's motion brings the clouds closer than the student's, yes "
        "or no",
    )
    refined: bool = Field(
        True, description="the fast levels of register go on from the teacher's motion before it is learnt, yes or no"
    )
    generated_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of the steps with a generated pair: one half of the fixed cloud, and the other half moved "
        "by the teacher's motion, of 1",
    )
    turn_deg: float = Field(5.0, ge=0, description="largest turn of a view about each axis, degrees")
    scale_share: float = Field(0.05, ge=0, lt=1, description="largest change of a view's size, of 1")
    jitter_mm: float = Field(0.2, ge=0, description="standard deviation by which a view's points move, mm")


class TrainSettings(Settings):
    """Training of a network that guesses the motion of a pair of clouds."""

    loss: Literal["supervised", "divroc"] = Field(
        "supervised",
        description="what is made small: the error at fixed points (supervised, mm), or the distance of the clouds and "
        "the bending of the motion (divroc), which needs no truth",
    )
    steps: int = Field(4000, ge=1, le=10_000_000, description="steps of training, one pair each, count")
    minutes: float | None = Field(
        None,
        gt=0,
        description="training pauses after this time; --resume continues it; null: at the last step, minutes",
    )
    learning_rate: float = Field(1e-3, gt=0, description="largest learning rate, no unit; it falls by a cosine")
    warmup_share: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the rate rises, of 1")
    weight_decay: float = Field(1e-4, ge=0, description="decay of the weights (AdamW), no unit")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient, no unit")
    average: float = Field(
        0.995, ge=0, lt=1, description="share of the former mean in the moving average of the weights, of 1"
    )
    smoothness_mm2: float = Field(
        40.0, ge=0, description="weight of the bending of the motion relative to the distance (loss divroc), square mm"
    )
    validation: str = Field(
        "phantom:100000-100005", description="phantoms of the held-out pairs, FIRST-LAST after the word phantom:"
    )
    validation_pairs: int = Field(12, ge=1, description="held-out pairs, count")
    validate_every: int = Field(250, ge=1, description="steps between two validations and checkpoints, count")
    patience: int | None = Field(
        None, ge=1, description="training ends after this many validations without a better one; null: never, count"
    )
    motions: tuple[str, ...] = Field(
        (),
        description="tables of real motions that take part besides the phantoms' own: fixed and moving x, y, z of "
        "keypoints, mm, six columns after one header line",
    )
    keypoint_share: float = Field(
        0.0, ge=0, le=1, description="share of the phantoms' pairs that are keypoints, some of them in both scans, of 1"
    )
    self_training: SelfTrainingSettings = Field(SelfTrainingSettings(), description="used if there is a teacher")
    unet: UNetSettings = Field(UNetSettings(), description="used if the network is unet")
    dgcnn: DGCNNSettings = Field(DGCNNSettings(), description="used if the network is dgcnn")
    pointpwc: PointPWCSettings = Field(PointPWCSettings(), description="used if the network is pointpwc")

    def of(self, name: NetworkName) -> NetworkSettings:
        """Return the settings of a network."""
        found: NetworkSettings = getattr(self, name)
        return found


Preset = Literal["compact", "paper"]

PRESETS: dict[Preset, dict[str, Any]] = {
    "compact": {},
    # DiVRoC's DGCNN, PointPWC-Net as Lung250M-4B and the denoised mean teacher train it, and fastforward's U-Net (MIDL
    # 2025). Neighbours, candidates and spreads were not published, and a step here is one pair, not four.
    "paper": {
        "steps": 100_000,
        "validate_every": 1000,
        "unet": {"node_mm": 5.0, "features": (8, 16, 32, 64, 64, 64), "passes": 2},
        "dgcnn": {"points": 8192, "channels": 64, "outputs": 16},
        "pointpwc": {
            "points": 8192,
            "channels": (32, 64, 128, 256, 256),
            "coarser": (4, 4, 2, 4),
            "candidates": 32,
            "spreads_mm": (8.0, 10.0, 14.0, 18.0, 24.0),
        },
    },
}
"""Settings of published sizes, on top of the defaults."""


def with_preset(settings: TrainSettings, name: Preset) -> dict[str, Any]:
    """Return the content of settings in which those of a preset replace all that have their default value."""
    content, plain = settings.model_dump(), TrainSettings().model_dump()
    _fill(content, plain, PRESETS[name])
    return content


def _fill(content: dict[str, Any], plain: Mapping[str, Any], preset: Mapping[str, Any]) -> None:
    for key, value in preset.items():
        if isinstance(value, Mapping):
            _fill(content[key], plain[key], value)
        elif content[key] == plain[key]:
            content[key] = value
