"""Transforms whose convention people mistook in public: read right as named, or refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from click.testing import CliRunner
from scipy.ndimage import zoom

from lcsd.cli.main import main
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.io.images import Image, write_image
from lcsd.io.points import PointPairs, write_point_pairs
from tests.grids import GRIDS

GRID = Grid((30, 26, 22), (3.0, 4.0, 5.0), (-50.0, 20.0, -300.0), GRIDS["oblique"].direction)
FIXED = ("--grid", "fixed.nii.gz")

VOXELS = np.stack(np.meshgrid(*map(np.arange, GRID.size), indexing="ij"), axis=-1).astype(np.float64)
"""Indices of all voxels, shape (x, y, z, 3), as nibabel has them."""


def shift(voxels: np.ndarray) -> np.ndarray:
    """Return the true motion at voxel indices, in voxels."""
    x, y, z = np.moveaxis(voxels, -1, 0)
    return np.stack([2 + np.sin(y / 8), -3 + 0.1 * z, 2.5 * np.cos(x / 14)], axis=-1)


DISP = shift(VOXELS)
SCALE = 2 / (np.asarray(GRID.size) - 1)


def millimetres() -> np.ndarray:
    return GRID.voxel_vectors_to_world(DISP)


def save_nifti(path: Path, array: np.ndarray, *, intent: int = 0, affine: np.ndarray | None = None) -> Path:
    volume = nibabel.Nifti1Image(array.astype(np.float32), GRID.affine_ras() if affine is None else affine)
    volume.header.set_intent(intent)
    nibabel.save(volume, path)
    return path


def save_array(path: Path, array: np.ndarray) -> Path:
    np.savez(path, array.astype(np.float32)) if path.suffix == ".npz" else np.save(path, array.astype(np.float32))
    return path


def learn2reg_half(folder: Path) -> Path:
    half = np.stack([zoom(DISP[..., axis], 0.5, order=2) for axis in range(3)]).astype(np.float16)
    np.savez(folder / "disp_0001_0002.npz", half)
    return folder / "disp_0001_0002.npz"


def tensor(folder: Path, values: np.ndarray) -> Path:
    torch.save(torch.from_numpy(values.astype(np.float32)), folder / "def_field.pt")
    return folder / "def_field.pt"


def coordinates(folder: Path) -> Path:
    """A map in [0, 1] of arrays that ITK read: axes and components z, y, x, with a batch."""
    at = (VOXELS + DISP) / (np.asarray(GRID.size) - 1)
    return tensor(folder, np.moveaxis(at.transpose(2, 1, 0, 3)[..., ::-1], -1, 0)[None])


def composite(folder: Path, *, right: bool) -> Path:
    """ANTs' warp, defined on the fixed scan, and a far affine, as one file."""
    image = sitk.GetImageFromArray(millimetres().transpose(2, 1, 0, 3), isVector=True)
    image.SetOrigin(GRID.origin)
    image.SetSpacing(GRID.spacing)
    image.SetDirection(GRID.direction)
    warp, affine = sitk.DisplacementFieldTransform(image), sitk.AffineTransform(3)
    affine.SetTranslation((0.0, 0.0, 500.0))
    # ITK applies the last one first.
    sitk.WriteTransform(sitk.CompositeTransform([affine, warp] if right else [warp, affine]), str(folder / "t.h5"))
    return folder / "t.h5"


@dataclass(frozen=True)
class Row:
    """A file as a program or its user wrote it, where it was reported, how it is given, and the outcome.

    ``outcome`` is empty if the landmarks must be met.
    """

    source: str
    name: str
    make: Callable[[Path], Path]
    options: tuple[str, ...]  # {} is the file
    outcome: str = ""


def channels_first(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -1, 0)


def lapirn(folder: Path) -> Path:
    """Components of grid_sample, the last axis of the array first, aligned at the corners."""
    return save_array(folder / "flow.npy", channels_first((DISP * SCALE)[..., ::-1])[None])


def fireants(folder: Path) -> Path:
    """A map for grid_sample of nibabel's array, in place of a displacement."""
    return save_array(folder / "warp.npz", ((VOXELS + DISP) * SCALE - 1)[..., ::-1][None])


def brainmorph(folder: Path) -> Path:
    """A map for grid_sample with ``align_corners=False``."""
    at = (2 * (VOXELS + DISP) + 1) / np.asarray(GRID.size) - 1
    return save_array(folder / "grid.npy", at[..., ::-1])


def voxelmorph(folder: Path) -> Path:
    return save_nifti(folder / "warp.nii.gz", channels_first(DISP))


def niftyreg(folder: Path) -> Path:
    at = flip_lps_ras(GRID.voxel_to_world(VOXELS) + millimetres())
    return save_nifti(folder / "deformation.nii.gz", at[:, :, :, None], intent=1007)


def mm(folder: Path) -> Path:
    return save_array(folder / "deformation.npy", millimetres())


def identity_affine(folder: Path) -> Path:
    return save_nifti(folder / "disp_0001_0002.nii.gz", DISP, affine=np.eye(4))


def ras(folder: Path) -> Path:
    return save_nifti(folder / "warp.nii.gz", flip_lps_ras(millimetres())[:, :, :, None], intent=1006)


def array_of(*options: str) -> tuple[str, ...]:
    return ("--field", "{}", *FIXED, *options)


ROWS = [
    Row("voxelmorph/voxelmorph 438", "voxels_as_a_transform", voxelmorph, ("--field", "{}"), "bad_field"),
    Row(
        "voxelmorph/voxelmorph 86",
        "voxels_taken_for_mm",
        lambda f: save_array(f / "d.npy", DISP),
        array_of("--field-as", "displacement"),
        "wrong_field",
    ),
    Row("voxelmorph/voxelmorph 84", "voxels", lambda f: save_array(f / "d.npy", DISP), array_of("--field-as", "voxel")),
    Row(
        "voxelmorph/voxelmorph 492",
        "components_reversed",
        lambda f: save_array(f / "d.npy", DISP),
        array_of("--field-as", "voxel-zyx"),
        "wrong_field",
    ),
    Row("cwmok/Conditional_LapIRN 11", "flow_of_grid_sample", lapirn, array_of("--field-as", "normalised-corners-zyx")),
    Row("cwmok/DIRAC 3", "flow_not_reversed", lapirn, array_of("--field-as", "normalised-corners"), "wrong_field"),
    Row("airlab-unibas/airlab 31", "flow_taken_for_voxels", lapirn, array_of("--field-as", "voxel"), "wrong_field"),
    Row(
        "rohitrango/FireANTs 1",
        "map_taken_for_displacement",
        fireants,
        array_of("--field-as", "normalised-corners-zyx"),
        "wrong_field",
    ),
    Row("rohitrango/FireANTs 1", "map", fireants, array_of("--field-as", "positions-normalised-corners-zyx")),
    Row("alanqrwang/brainmorph 1", "map_of_faces", brainmorph, array_of("--field-as", "positions-normalised-zyx")),
    Row(
        "uncbiag/uniGradICON 52",
        "coordinates_taken_for_displacements",
        coordinates,
        array_of("--field-as", "unit-zyx"),
        "wrong_field",
    ),
    Row("uncbiag/uniGradICON 60", "coordinates", coordinates, array_of("--field-as", "positions-unit-zyx")),
    Row("KCL-BMEIS/niftyreg 97", "positions_without_a_name", niftyreg, ("--field", "{}"), "wrong_field"),
    Row("KCL-BMEIS/niftyreg 97", "positions_in_ras", niftyreg, ("--field", "{}", "--field-as", "positions-ras")),
    Row(
        "InsightSoftwareConsortium/ITKElastix 209",
        "mm_taken_for_voxels",
        mm,
        array_of("--field-as", "voxel"),
        "wrong_field",
    ),
    Row("ANTsX/ANTsPy 186", "mm_in_an_array", mm, array_of("--field-as", "displacement")),
    Row(
        "IPMI-ICNS-UKE/gdl-fire-4d 3",
        "axes_and_components_zyx",
        lambda f: save_array(f / "d.npy", millimetres().transpose(2, 1, 0, 3)[..., ::-1]),
        array_of("--field-as", "zyx"),
    ),
    Row("InsightSoftwareConsortium/ITK 3884", "vectors_of_nifti", ras, ("--field", "{}")),
    Row("uncbiag/uniGradICON 37", "identity_affine", identity_affine, ("--disp", "{}"), "landmark_outside"),
    Row("uncbiag/uniGradICON 15", "learn2reg", identity_affine, ("--disp", "{}", *FIXED)),
    Row("MDL-UzL/L2R (evaluation of its first edition)", "half_resolution", learn2reg_half, ("--disp", "{}", *FIXED)),
    Row(
        "ANTsX/ANTs 531", "wrong_order", lambda f: composite(f, right=False), ("--transform", "{}"), "landmark_outside"
    ),
    Row("ANTsX/ANTs 1193", "right_order", lambda f: composite(f, right=True), ("--transform", "{}")),
]


def test_names_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_transform_of_the_world(row: Row, tmp_path: Path) -> None:
    made = row.make(tmp_path)
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(GRID.shape, np.int16), GRID), dtype=np.int16)
    rng = np.random.default_rng(0)
    at = rng.uniform(4, np.asarray(GRID.size) - 5, (40, 3))
    far = [0.0, 0.0, 500.0] if made.suffix == ".h5" else 0.0
    moving = GRID.voxel_to_world(at + shift(at)) + rng.normal(0, 0.3, at.shape) + far
    write_point_pairs(tmp_path / "landmarks.csv", PointPairs(GRID.voxel_to_world(at), moving))
    texts = [text.format(made) if text != FIXED[1] else str(tmp_path / text) for text in row.options]
    call = ["evaluate", "--landmarks", str(tmp_path / "landmarks.csv"), *texts, "--json"]
    result = CliRunner().invoke(main, call)
    if row.outcome:
        assert result.exit_code == 2, result.output
        assert f"[{row.outcome}]" in result.stderr
    else:
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["tre_mean_mm"] < 0.8
