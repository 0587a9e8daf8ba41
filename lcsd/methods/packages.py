"""Methods that are Python packages: convexAdam, elastix (itk-elastix), ANTs (antspyx)."""

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image, write_mask
from lcsd.methods.pair import Pair, missing_package, program_failed
from lcsd.transforms.chain import as_itk, read_chain
from lcsd.transforms.parts import sampled

RESOLUTIONS = 4
"""Of elastix's default parameter maps."""


def check_options(method: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Refuse options that a method does not have (``unknown_option``)."""
    unknown = sorted(set(given) - known)
    if unknown:
        raise BadInputError(
            f"{method} has no such option",
            code="unknown_option",
            field="--option",
            expected=", ".join(sorted(known)),
            found=", ".join(unknown),
        )


def convexadam(pair: Pair) -> DisplacementField:
    """Return the field of convexAdam (Siebert et al., IEEE TMI 2024) on the CPU, in float32, with its own defaults."""
    try:
        import torch
        from convexAdam.convex_adam_MIND import convex_adam_pt
    except ImportError as error:
        raise missing_package("convexadam", "convexAdam") from error
    ours = {"img_fixed", "img_moving", "use_mask", "path_fixed_mask", "path_moving_mask", "dtype", "device"}
    check_options("convexadam", pair.options, set(inspect.signature(convex_adam_pt).parameters) - ours)
    if (pair.fixed_mask is None) != (pair.moving_mask is None):
        raise BadInputError(
            "convexadam needs both masks or none",
            code="missing_mask",
            field="--fixed-mask" if pair.fixed_mask is None else "--moving-mask",
            expected="a mask of each scan",
        )
    images = [image.array.astype(np.float32) for image in (pair.fixed, pair.moving)]
    with tempfile.TemporaryDirectory() as folder:
        masks: dict[str, Any] = {}
        if pair.fixed_mask is not None and pair.moving_mask is not None:
            masks["use_mask"] = True
            for name, mask in (("fixed", pair.fixed_mask), ("moving", pair.moving_mask)):
                # Read back by nibabel as (x, y, z); the images are given as (z, y, x).
                turned = Grid(mask.grid.size[::-1], (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
                masks[f"path_{name}_mask"] = Path(folder) / f"{name}.nii.gz"
                write_mask(masks[f"path_{name}_mask"], Image(mask.array.transpose(2, 1, 0), turned))
        # Along the array's axes z, y, x, in voxels.
        voxels = convex_adam_pt(*images, dtype=torch.float32, device=torch.device("cpu"), **masks, **pair.options)
    vectors = pair.fixed.grid.voxel_vectors_to_world(np.asarray(voxels, np.float64)[..., ::-1])
    return DisplacementField(vectors.astype(np.float32), pair.fixed.grid)


def _itk_image(itk: Any, array: NDArray[Any], grid: Grid) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(itk.matrix_from_array(grid.matrix))
    return image


def elastix(pair: Pair) -> DisplacementField:
    """Return the field of elastix (Klein et al., IEEE TMI 29 (2010) 196): affine, then B-spline, its default maps.

    Masks are not eroded, so that thin ones survive the coarse levels. Options are parameters of the B-spline map, such
    as ``FinalGridSpacingInPhysicalUnits``. Raises ``WorkError`` (``program_failed``) with the end of elastix's log.
    """
    try:
        import itk
    except ImportError as error:
        raise missing_package("elastix", "itk-elastix") from error
    parameters = itk.ParameterObject.New()
    given: dict[str, Mapping[str, Any]] = {"affine": {}, "bspline": pair.options}
    for kind, options in given.items():
        # The schedule of the grid has one entry for each resolution.
        parameter_map = parameters.GetDefaultParameterMap(kind, int(options.get("NumberOfResolutions", RESOLUTIONS)))
        for name, value in {"ErodeMask": "false", **options}.items():
            parameter_map[name] = [str(part) for part in (value if isinstance(value, (list, tuple)) else [value])]
        parameters.AddParameterMap(parameter_map)
    images = [_itk_image(itk, image.array.astype(np.float32), image.grid) for image in (pair.fixed, pair.moving)]
    masks = {
        f"{name}_mask": _itk_image(itk, mask.array.astype(np.uint8), mask.grid)
        for name, mask in (("fixed", pair.fixed_mask), ("moving", pair.moving_mask))
        if mask is not None
    }
    # Its own argument number_of_threads ends the process with a segmentation fault from two threads on.
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(pair.threads)
    with tempfile.TemporaryDirectory() as folder:
        log = {"log_to_file": True, "output_directory": folder, "log_file_name": "elastix.log"}
        try:
            found = itk.elastix_registration_method(*images, parameter_object=parameters, **log, **masks)[1]
        except RuntimeError as error:
            raise program_failed("elastix", (Path(folder) / "elastix.log").read_text(errors="replace")) from error
        # It also writes the field to a file, by default into the current folder.
        field = itk.transformix_deformation_field(images[1], found, output_directory=folder)
    return DisplacementField(itk.array_from_image(field).astype(np.float32), pair.fixed.grid)


def ants(pair: Pair) -> DisplacementField:
    """Return the field of ANTs (Avants et al., Med. Image Anal. 12 (2008) 26): affine and SyN, its own defaults.

    Options are arguments of ``ants.registration``, such as ``type_of_transform``.
    """
    try:
        import ants as antspy
    except ImportError as error:
        raise missing_package("ants", "antspyx") from error
    ours = {"fixed", "moving", "mask", "moving_mask", "outprefix", "kwargs", "write_composite_transform"}
    check_options("ants", pair.options, set(inspect.signature(antspy.registration).parameters) - ours)

    def image(volume: Image, kind: type[np.generic]) -> Any:
        return antspy.from_numpy(
            volume.array.transpose(2, 1, 0).astype(kind),
            origin=volume.grid.origin,
            spacing=volume.grid.spacing,
            direction=volume.grid.matrix,
        )

    masks = {
        name: image(mask, np.float32)
        for name, mask in (("mask", pair.fixed_mask), ("moving_mask", pair.moving_mask))
        if mask is not None
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = antspy.registration(
                image(pair.fixed, np.float32),
                image(pair.moving, np.float32),
                outprefix=f"{folder}/",
                **{"random_seed": 1, **masks, **pair.options},
            )
        except (RuntimeError, ValueError) as error:
            raise program_failed("ants", str(error)) from error
        # The warp comes first: it is defined over the fixed scan, and the affine part follows it.
        return _on_fixed([Path(name) for name in found["fwdtransforms"]], pair)


def _on_fixed(files: list[Path], pair: Pair) -> DisplacementField:
    """Return transforms of fixed to moving points, in order, as a field over the fixed scan."""
    return sampled(as_itk(read_chain(files)), pair.fixed.grid)
