"""Methods that are programs of their own: deedsBCV, uniGradICON."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lcsd.errors import BadInputError, WorkError
from lcsd.io.fields import DisplacementField
from lcsd.io.images import write_image
from lcsd.methods.pair import Pair, program_failed
from lcsd.transforms.chain import as_itk, read_chain
from lcsd.transforms.parts import sampled


def _program(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BadInputError(
            f"the program {name} is not installed",
            code="missing_program",
            field="--method",
            expected=f"{name} on the PATH",
            remedy=remedy,
        )
    return found


def _run(command: Sequence[str], folder: Path, made: Path) -> None:
    """Run a program; raise ``WorkError`` (``program_failed``) if it fails or does not write what it should."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not made.is_file():
        raise program_failed(
            Path(command[0]).name,
            done.stderr.strip() or done.stdout,
            found=f"exit code {done.returncode}",
            expected=f"exit code 0 and the file {made.name}",
        )


def _write(pair: Pair, folder: Path) -> list[Path]:
    files = [folder / "fixed.nii.gz", folder / "moving.nii.gz"]
    for file, image in zip(files, (pair.fixed, pair.moving), strict=True):
        write_image(file, image, dtype=np.float32)
    return files


def deeds(pair: Pair) -> DisplacementField:
    """Return the field of deedsBCV (Heinrich et al., IEEE TMI 32 (2013) 1239), which must be on the PATH.

    Options are its letters: ``a``, ``l``, ``G``, ``L``, ``Q``.
    """
    program = _program("deedsBCV", "build it from github.com/mattiaspaul/deedsBCV and put it on the PATH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fixed, moving = _write(pair, folder)
        options = [part for letter, value in pair.options.items() for part in (f"-{letter}", str(value))]
        made = folder / "out_displacements.dat"
        _run([program, "-F", str(fixed), "-M", str(moving), "-O", str(folder / "out"), *options], folder, made)
        flow = np.fromfile(made, dtype="<f4")
    return DisplacementField(_from_deeds(flow, pair), pair.fixed.grid)


def _from_deeds(flow: NDArray[np.float32], pair: Pair) -> NDArray[np.float32]:
    """Return LPS vectors (z, y, x, 3) of the displacements that deeds stores.

    They are in voxels, on every s-th voxel of the scan, x fastest: those along y, then x, then z. Voxel i of an axis
    with n voxels and c controls lies at control ``i c / n``, linearly; beyond the last control its value holds.
    """
    size = pair.fixed.grid.size
    step = max(1, round((np.prod(size) / max(flow.size / 3, 1)) ** (1 / 3)))
    controls = [n // step for n in size]
    if flow.size != 3 * np.prod(controls):
        raise WorkError(
            "deedsBCV wrote displacements of another size",
            code="bad_field",
            expected=f"3 x {' x '.join(map(str, controls))} values",
            found=flow.size,
        )
    along_y, along_x, along_z = flow.reshape(3, *controls[::-1]).astype(np.float64)
    axes = [np.arange(n) * c / n for n, c in zip(size[::-1], controls[::-1], strict=True)]
    places = np.meshgrid(*axes, indexing="ij")
    voxels = [map_coordinates(part, places, order=1, mode="nearest") for part in (along_x, along_y, along_z)]
    vectors = pair.fixed.grid.voxel_vectors_to_world(np.stack(voxels, axis=-1))
    return vectors.astype(np.float32)


def unigradicon(pair: Pair) -> DisplacementField:
    """Return the field of uniGradICON (Tian et al., MICCAI 2024) for CT, by its program ``unigradicon-register``.

    Options are its long options, such as ``io_iterations``.
    """
    program = _program("unigradicon-register", "pip install unigradicon")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fixed, moving = _write(pair, folder)
        made = folder / "transform.hdf5"
        command = [program, "--fixed", str(fixed), "--fixed_modality", "ct", "--moving", str(moving)]
        command += ["--moving_modality", "ct", "--transform_out", str(made)]
        command += [part for key, value in pair.options.items() for part in (f"--{key}", str(value))]
        _run(command, folder, made)
        named = made.rename(folder / "transform.h5")
        return sampled(as_itk(read_chain([named])), pair.fixed.grid)
