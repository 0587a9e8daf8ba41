"""Make nnU-Net models in TotalSegmentator's layout that segment phantoms.

Run: python -m tests.models.make tests/models/weights

They stand in for the real weights, which are no part of lcsd: the same folders, files and number
of outputs, so that the unmodified package and nnU-Net load and run them, but small networks,
trained for minutes on a few phantoms. Equal arguments on one machine give equal files.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from lcsd.geometry import Grid
from lcsd.io.files import write_json
from lcsd.io.images import Image, resample
from lcsd.totalsegmentator.models import (
    CHECKPOINT,
    CONFIGURATION,
    MODELS,
    TOTAL_3MM,
    TOTAL_6MM,
    VESSELS,
    VESSELS_LEGACY,
    Model,
)
from tests.models.anatomy import AIRWAY, LEFT, RIGHT, VESSEL, Truth, scan_truth, sides

SEEDS = ((900, "fixed"), (901, "moving"), (902, "fixed"))
CLIP_HU, MEAN_HU, DEVIATION_HU = (-1000.0, 200.0), -600.0, 350.0
RATE, FROZEN_FROM = 1e-2, 0.5
FOREGROUND_SHARE = 0.5
NEVER = -50.0
"""Bias of outputs that no training voxel has."""

NETWORK: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
THICK = 0.35
"""Share of a voxel's 27 neighbours that are vessel, above which it counts as thick."""

AIRWAY_LABEL = {VESSELS_LEGACY: 2, VESSELS: 1}

NETWORK_CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    ``classes[i]`` is the model's label of the i-th output; ``first``: convolutions at full size.
    """

    model: Model
    spacing_mm: float
    classes: tuple[int, ...]
    patch: int
    steps: tuple[int, ...]
    mirror: bool
    first: int = 1


RECIPES = (
    Recipe(VESSELS_LEGACY, 1.5, (0, 1, 2), 40, (600, 800, 600), True, 2),
    Recipe(VESSELS, 1.5, (0, 1, 3, 4), 40, (200,), True),
    Recipe(TOTAL_3MM, 3.0, (0, LEFT, RIGHT), 48, (150,), False),
    Recipe(TOTAL_6MM, 6.0, (0, LEFT, RIGHT), 48, (150,), False),
)


@dataclass(frozen=True)
class Volume:
    """A normalised scan, the index of each voxel's class, and voxels (flat) worth a look."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    centres: NDArray[np.int64]


def volumes(recipe: Recipe, truths: Sequence[Truth]) -> list[Volume]:
    """Return what a model is trained on."""
    found = []
    for truth in truths:
        if recipe.spacing_mm == 1.5:
            tubes = truth.tubes.array
            labels = np.where(tubes == AIRWAY, recipe.classes.index(AIRWAY_LABEL[recipe.model]), 0)
            if recipe.model is VESSELS:
                # Arteries and veins of a phantom look alike: thick and thin ones stand for them.
                thick = ndimage.uniform_filter((tubes == VESSEL).astype(np.float32), 3) > THICK
                labels[tubes == VESSEL] = np.where(thick, 2, 3)[tubes == VESSEL]
            else:
                labels[tubes == VESSEL] = 1
            lungs = np.flatnonzero(truth.common_lungs.array)
            found.append(Volume(normalised(truth.common.array), labels, lungs))
            continue
        for scan, mask in ((truth.native, truth.lungs), (truth.common, truth.common_lungs)):
            grid = coarse(scan.grid, recipe.spacing_mm)
            soft = Image(scan.array.astype(np.float32), scan.grid)
            hu = resample(soft, grid, outside=-1000.0).array
            both = sides(resample(mask, grid, nearest=True))
            index = np.searchsorted(recipe.classes, both).astype(np.int64)
            found.append(Volume(normalised(hu), index, np.arange(index.size)))
    return found


def coarse(grid: Grid, spacing: float) -> Grid:
    """Return a grid of isotropic voxels over the box of an axis-aligned one."""
    corners = grid.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.maximum(np.floor((high - low) / spacing).astype(int), 8)
    return Grid((int(size[0]), int(size[1]), int(size[2])), (spacing,) * 3, (low[0], low[1], low[2]))


def normalised(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Return HU as nnU-Net's CTNormalization gives them to the network."""
    return ((np.clip(hu, *CLIP_HU) - MEAN_HU) / DEVIATION_HU).astype(np.float32)


def architecture(recipe: Recipe) -> dict[str, Any]:
    """Return the keyword arguments of the network's class."""
    return {**NETWORK, "n_conv_per_stage": [recipe.first, 2, 2]}


def network(recipe: Recipe, outputs: int) -> torch.nn.Module:
    """Return the network that nnU-Net builds from the plans."""
    required = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    found: torch.nn.Module = get_network_from_plans(
        NETWORK_CLASS, architecture(recipe), required, 1, outputs, deep_supervision=False
    )
    return found


def patch_at(volume: Volume, recipe: Recipe, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a random patch, more often around a voxel of a class than elsewhere."""
    hu, labels = volume.values, volume.labels
    size = [min(recipe.patch, n // 4 * 4) for n in hu.shape]
    centre = np.array(np.unravel_index(rng.choice(volume.centres), hu.shape))
    if rng.random() < FOREGROUND_SHARE:
        wanted = rng.integers(1, len(recipe.classes))
        where = np.flatnonzero(labels == wanted)
        if len(where):
            centre = np.array(np.unravel_index(rng.choice(where), hu.shape))
            centre = centre + rng.integers(-recipe.patch // 3, recipe.patch // 3 + 1, 3)
    start = [int(np.clip(c - s // 2, 0, n - s)) for c, s, n in zip(centre, size, hu.shape, strict=True)]
    part = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
    x, y = hu[part], labels[part]
    if recipe.mirror:
        axes = [axis for axis in range(3) if rng.random() < 0.5]
        x, y = np.flip(x, axes), np.flip(y, axes)
    x = x * rng.uniform(0.93, 1.07) + rng.normal(0, 0.05)
    if not recipe.mirror and rng.random() < 0.4:
        x, y = boxed(x, y, rng)
    return np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y)


def boxed(
    x: NDArray[np.float32], y: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a patch of which only a random box holds the scan: nnU-Net pads small ones by 0."""
    keep = np.zeros(x.shape, bool)
    size = [int(rng.integers(n // 3, n + 1)) for n in x.shape]
    start = [int(rng.integers(0, n - s + 1)) for n, s in zip(x.shape, size, strict=True)]
    keep[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))] = True
    return np.where(keep, x, 0.0), np.where(keep, y, 0)


def loss_of(logits: torch.Tensor, labels: torch.Tensor, counted: list[int]) -> torch.Tensor:
    """Return cross-entropy plus one minus the mean soft Dice of the counted classes."""
    entropy = functional.cross_entropy(logits, labels)
    share = logits.softmax(1)
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    both = (share * truth)[:, counted].sum((0, 2, 3, 4))
    total = (share + truth)[:, counted].sum((0, 2, 3, 4))
    return entropy + 1 - ((2 * both + 1) / (total + 1)).mean()


def train(recipe: Recipe, truths: Sequence[Truth]) -> dict[str, Any]:
    """Return the state of a trained network with the outputs that the recipe's classes name."""
    data = volumes(recipe, truths)
    torch.manual_seed(recipe.model.dataset)
    net = network(recipe, len(recipe.classes))
    for number, steps in enumerate(recipe.steps):
        train_round(net, recipe, data, steps=steps, seed=recipe.model.dataset + number)
    return net.state_dict()


def train_round(net: torch.nn.Module, recipe: Recipe, data: Sequence[Volume], *, steps: int, seed: int) -> None:
    """Train a network in place: one cycle of the learning rate over random patches."""
    rng = np.random.default_rng(seed)
    # Airways are few and half seen; they are learnt, but not at the expense of the vessels.
    airways = AIRWAY_LABEL.get(recipe.model)
    counted = [n for n, label in enumerate(recipe.classes) if label not in (0, airways)]
    net.train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for step in range(steps):
        if step == int(FROZEN_FROM * steps):
            # The statistics that the network will be used with, not those of one patch.
            for layer in net.modules():
                if isinstance(layer, torch.nn.BatchNorm3d):
                    layer.eval()
        values, labels = patch_at(data[rng.integers(len(data))], recipe, rng)
        x, y = torch.from_numpy(values)[None, None], torch.from_numpy(labels)[None]
        loss = loss_of(net(x), y, counted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"dataset {recipe.model.dataset} step {step} loss {loss.item():.3f}", flush=True)  # noqa: T201


def write_model(folder: Path, recipe: Recipe, state: dict[str, Any]) -> None:
    """Write a model folder: dataset.json, plans.json and a checkpoint in half precision."""
    model = recipe.model
    place = folder / model.path
    names = {"background": 0} | {f"label_{n}": n for n in range(1, model.labels + 1)}
    write_json(
        place / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": names, "numTraining": 3, "file_ending": ".nii.gz"},
    )
    write_json(place / "plans.json", plans(recipe))
    small: dict[int, torch.Tensor] = {}  # the decoder repeats the encoder: store it once
    weights = {}
    for name, value in state.items():
        tensor = value
        if ".seg_layers." in name:
            last = name.split(".seg_layers.")[1].startswith("1.")
            tensor = widened(value, recipe, unused=NEVER if name.endswith("bias") else 0.0)
            tensor = tensor if last else torch.zeros_like(tensor)
        key = value.data_ptr()
        weights[name] = small.setdefault(key, tensor.half() if tensor.is_floating_point() else tensor)
    checkpoint = place / CHECKPOINT
    checkpoint.parent.mkdir(exist_ok=True)
    torch.save(
        {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION},
            "inference_allowed_mirroring_axes": None,
        },
        checkpoint,
    )


def widened(tensor: torch.Tensor, recipe: Recipe, *, unused: float) -> torch.Tensor:
    """Return the last layer's parameters with an output for each label of the model."""
    full = torch.full((recipe.model.labels + 1, *tensor.shape[1:]), unused)
    full[list(recipe.classes)] = tensor.float()
    return full


def plans(recipe: Recipe) -> dict[str, Any]:
    """Return nnU-Net's plans of a model; spacing and axes are z, y, x."""
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    intensities = {
        "max": 3000.0,
        "mean": MEAN_HU,
        "median": MEAN_HU,
        "min": -1024.0,
        "percentile_00_5": CLIP_HU[0],
        "percentile_99_5": CLIP_HU[1],
        "std": DEVIATION_HU,
    }
    return {
        "dataset_name": recipe.model.folder,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [recipe.spacing_mm] * 3,
        "original_median_shape_after_transp": [recipe.patch] * 3,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {
            CONFIGURATION: {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [64, 64, 64],
                "median_image_size_in_voxels": [64, 64, 64],
                "spacing": [recipe.spacing_mm] * 3,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": resampling,
                "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": resampling,
                "batch_dice": False,
                "architecture": {
                    "network_class_name": NETWORK_CLASS,
                    "arch_kwargs": architecture(recipe),
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
        },
    }


def make(folder: Path, truths: Sequence[Truth], datasets: Sequence[int]) -> None:
    """Train and write the models of the given datasets."""
    for recipe in RECIPES:
        if recipe.model.dataset in datasets:
            start = time.monotonic()
            write_model(folder, recipe, train(recipe, truths))
            print(f"dataset {recipe.model.dataset}: {time.monotonic() - start:.0f} s", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datasets", type=int, nargs="+", default=[m.dataset for m in MODELS])
    arguments = parser.parse_args()
    # At these sizes a second thread costs more than it does.
    torch.set_num_threads(1)
    make(arguments.folder, [scan_truth(seed, role) for seed, role in SEEDS], arguments.datasets)


if __name__ == "__main__":
    main()
