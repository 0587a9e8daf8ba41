"""Settings of the training of networks."""

from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings

NetworkName = Literal["unet"]
NETWORKS: tuple[NetworkName, ...] = ("unet",)


class UNetSettings(Settings):
    """The U-Net on rasters."""

    node_mm: float = Field(8.0, gt=0, description="spacing of the displacement grid; the raster is twice as fine, mm")
    features: tuple[int, ...] = Field(
        (16, 32, 64), min_length=2, description="channels of each stage; each halves the grid, count"
    )
    passes: int = Field(
        2, ge=1, le=5, description="looks at the clouds in use: each starts where the one before ended, count"
    )
    convolutions: int = Field(1, ge=1, le=4, description="convolutions of a stage on each side, count")


NetworkSettings = UNetSettings
SECTIONS: dict[NetworkName, type[UNetSettings]] = {"unet": UNetSettings}
"""Settings of each network."""


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
    unet: UNetSettings = Field(UNetSettings(), description="used if the network is unet")

    def of(self, name: NetworkName) -> NetworkSettings:
        """Return the settings of a network."""
        found: NetworkSettings = getattr(self, name)
        return found
