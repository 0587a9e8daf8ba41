"""Rows of scans in one file: NIfTI, NRRD and MetaImage."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from lcsd.io.images import Image, to_sitk
from tests.world.support import Row, chest


def nifti(folder: Path, *, image: Image | None = None, unit: str = "mm", scale: float = 1.0) -> Path:
    """Write a chest as NIfTI whose lengths are millimetres times ``scale``, and whose header says ``unit``."""
    image = image or chest()
    affine = image.grid.affine_ras()
    affine[:3] *= scale
    volume = nibabel.Nifti1Image(image.array.T, affine)
    volume.set_sform(affine, 1)
    volume.set_qform(affine, 1)
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def _zooms(folder: Path, *, both: bool = False) -> Path:
    """Set the voxel sizes of the header alone, as nibabel lets anyone do."""
    image = chest()
    affine = image.grid.affine_ras()
    made = nibabel.Nifti1Image(image.array.T, affine)
    if both:
        made.set_qform(affine, 1)
    made.header.set_zooms((1.0, 1.0, 1.0))
    nibabel.save(made, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def _tilted(folder: Path) -> Path:
    """A tilted gantry as a sheared sform, beside the distance of the slices as their voxel size."""
    image = chest()
    affine = image.grid.affine_ras()
    sheared = affine.copy()
    sheared[1, 2] += np.tan(np.radians(15)) * image.grid.spacing[2]
    made = nibabel.Nifti1Image(image.array.T, sheared)
    made.header.set_zooms(image.grid.spacing)
    nibabel.save(made, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def volume(
    suffix: str, *, packed: bool = False, image: Image | None = None, edit: Callable[[str], str] | None = None
) -> Callable[[Path], Path]:
    """Return a maker of a chest in a format of ITK; ``edit`` changes the text of its header."""

    def make(folder: Path) -> Path:
        path = folder / f"ct{suffix}"
        sitk.WriteImage(to_sitk(image or chest()), str(path), packed)
        if edit is not None:
            content = path.read_bytes().decode("latin-1")
            changed = edit(content)
            assert changed != content
            path.write_bytes(changed.encode("latin-1"))
        return path

    return make


def without(line: str) -> Callable[[str], str]:
    return lambda text: "\n".join(part for part in text.split("\n") if not part.startswith(line))


def _in_ras(text: str) -> str:
    """Write the positions of a NRRD header in RAS; the content stays the same."""
    text = text.replace("left-posterior-superior", "right-anterior-superior")
    text = text.replace("space origin: (-10,20,", "space origin: (10,-20,")
    lines = text.split("\n")
    spot = next(i for i, line in enumerate(lines) if line.startswith("space directions"))
    lines[spot] = "space directions: (-0.7,0,0) (0,-0.8,0) (0,0,2.5)"
    return "\n".join(lines)


def _in_microns(text: str) -> str:
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith("space directions"):
            lines[i] = 'space directions: (700,0,0) (0,800,0) (0,0,2500)\nspace units: "microns" "microns" "microns"'
        if line.startswith("space origin"):
            lines[i] = "space origin: (-10000,20000,-300000)"
    return "\n".join(lines)


def _no_data(folder: Path) -> Path:
    path = volume(".mhd")(folder)
    (folder / "ct.raw").unlink()
    return path


def _no_packed_data(folder: Path) -> Path:
    path = volume(".nhdr", packed=True)(folder)
    (folder / "ct.raw.gz").unlink()
    return path


def _cut(suffix: str, victim: str, packed: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = volume(suffix, packed=packed)(folder)
        content = (folder / victim).read_bytes()
        (folder / victim).write_bytes(content[:-500])
        return path

    return make


def _vectors(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        array = np.stack([chest().array] * 3, axis=-1)
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(folder / f"ct{suffix}"))
        return folder / f"ct{suffix}"

    return make


def _four(folder: Path) -> Path:
    frames = [to_sitk(chest(seed=seed)) for seed in range(2)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(folder / "ct.nrrd"))
    return folder / "ct.nrrd"


def _slices_of_files(folder: Path) -> Path:
    path = volume(".mhd")(folder)
    path.write_text(path.read_text().replace("ct.raw", "LIST\na.raw\nb.raw"))
    return path


def _unit(name: str, unit: str, scale: float, outcome: str = "", source: str = "made up") -> Row:
    return Row("units", name, source, lambda folder: nifti(folder, unit=unit, scale=scale), outcome)


UNITS = (
    _unit("micrometres", "micron", 1e3, source="InsightSoftwareConsortium/ITK 4595"),
    _unit("metres", "meter", 1e-3, source="nipreps/fmriprep 786"),
    _unit("unknown_unit_in_mm", "unknown", 1.0, source="icometrix/dicom2nifti 82"),
    _unit("micrometres_called_mm", "mm", 1e3, "implausible_spacing", "khanlab/zarrnii 180"),
    _unit("micrometres_not_named", "unknown", 1e3, "implausible_spacing", "ANTsX/ANTs 1114"),
    _unit("mm_called_micrometres", "micron", 1.0, "implausible_spacing"),
    _unit("mm_called_metres", "meter", 1.0, "implausible_spacing"),
    _unit("centimetres_called_mm", "mm", 0.1, "implausible_spacing"),
    _unit("metres_called_mm", "mm", 1e-3, "implausible_spacing"),
    # Silent before: other programs read the voxel sizes, as ITK does.
    Row("units", "pixdim_of_another_size", "nipy/nibabel 668", _zooms, "pixdim_disagrees"),
    Row(
        "units",
        "pixdim_and_qform_of_another_size",
        "NIFTI-Imaging/nifti_clib 127",
        lambda folder: _zooms(folder, both=True),
        "sform_qform_disagree",
    ),
    # The sizes were blamed before: with them corrected, the volume would be refused again.
    Row("units", "tilted_gantry_as_shear", "rordenlab/dcm2niix 253", _tilted, "sheared_affine"),
    Row("units", "nrrd_in_microns", "ANTsX/ANTsPy 514", volume(".nrrd", edit=_in_microns)),
    Row(
        "units",
        "nrrd_in_pixels",
        "ANTsX/ANTsPy 514",
        volume(".nrrd", edit=lambda text: _in_microns(text).replace("microns", "pixels")),
        "no_geometry",
    ),
)

PACKED = {
    ".nrrd": "mhe/pynrrd 4",
    ".nhdr": "mhe/pynrrd 12",
    ".mha": "pzaffino/python-mha 2",
    ".mhd": "niivue/niivue 687",
}
"""Reports of compressed voxels that were not read."""

FORMATS = (
    *(
        Row(
            "formats",
            f"{suffix[1:]}{'_packed' * packed}",
            PACKED[suffix] if packed else "made up",
            volume(suffix, packed=packed),
        )
        for suffix in (".nrrd", ".nhdr", ".mha", ".mhd")
        for packed in (False, True)
    ),
    Row("formats", "nrrd_in_ras", "MIC-DKFZ/BodyPartRegression 12", volume(".nrrd", edit=_in_ras)),
    Row("formats", "nrrd_without_space", "Slicer/Slicer 8694", volume(".nrrd", edit=without("space: ")), "no_geometry"),
    Row(
        "formats",
        "nrrd_without_origin",
        "JuliaImages/Images.jl 86",
        volume(".nrrd", edit=without("space origin")),
        "no_geometry",
    ),
    Row(
        "formats",
        "nrrd_with_spacings_only",
        "JuliaImages/Images.jl 86",
        volume(".nrrd", edit=without("space directions")),
        "no_geometry",
    ),
    Row("formats", "mha_without_offset", "made up", volume(".mha", edit=without("Offset")), "no_geometry"),
    Row("formats", "mha_without_spacing", "made up", volume(".mha", edit=without("ElementSpacing")), "no_geometry"),
    Row("formats", "mhd_data_away", "lfz/DSB2017 81", _no_data, "missing_file"),
    Row("formats", "nhdr_data_away", "made up", _no_packed_data, "missing_file"),
    Row("formats", "mhd_data_cut", "made up", _cut(".mhd", "ct.raw"), "truncated_file"),
    Row("formats", "mha_cut", "made up", _cut(".mha", "ct.mha"), "truncated_file"),
    Row("formats", "mha_packed_cut", "made up", _cut(".mha", "ct.mha", packed=True), "truncated_file"),
    Row("formats", "nrrd_cut", "made up", _cut(".nrrd", "ct.nrrd"), "truncated_file"),
    Row(
        "formats",
        "nrrd_packed_cut",
        "AIM-Harvard/pyradiomics 565",
        _cut(".nrrd", "ct.nrrd", packed=True),
        "truncated_file",
    ),
    Row("formats", "nrrd_vectors", "natverse/nat 385", _vectors(".nrrd"), "not_3d"),
    Row("formats", "mha_vectors", "made up", _vectors(".mha"), "not_3d"),
    Row("formats", "nrrd_four_axes", "pnlbwh/conversion 13", _four, "not_3d"),
    Row("formats", "mhd_of_several_files", "made up", _slices_of_files, "several_data_files"),
)


def _raw(before: int, edit: Callable[[str], str] = lambda text: text) -> Callable[[Path], Path]:
    """Return a maker of a MetaImage whose data file begins with bytes of another header."""

    def make(folder: Path) -> Path:
        path = volume(".mhd")(folder)
        (folder / "ct.raw").write_bytes(bytes(before) + (folder / "ct.raw").read_bytes())
        path.write_text(edit(path.read_text()))
        return path

    return make


def _says(line: str) -> Callable[[str], str]:
    return lambda text: text.replace("ElementDataFile", f"{line}\nElementDataFile")


DATA_FILES = (
    Row("data files", "other_header_named", "BioMedIA/deepali 148", _raw(64, _says("HeaderSize = 64"))),
    Row("data files", "other_header_of_any_size", "BioMedIA/deepali 148", _raw(64, _says("HeaderSize = -1"))),
    Row("data files", "other_header_not_named", "made up", _raw(64), "truncated_file"),
    Row(
        "data files",
        "fewer_slices_declared",
        "TIGRLab/admin 349",
        _raw(0, lambda t: t.replace("48 48 24", "48 48 23")),
        "truncated_file",
    ),
    Row(
        "data files",
        "more_slices_declared",
        "made up",
        _raw(0, lambda t: t.replace("48 48 24", "48 48 25")),
        "truncated_file",
    ),
)


def _packed(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Return a maker of a packed NIfTI file whose bytes were changed."""

    def make(folder: Path) -> Path:
        path = nifti(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def _flipped_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]


def _packed_volume(suffix: str, victim: str) -> Callable[[Path], Path]:
    """Return a maker of a packed volume of ITK with a wrong bit near its end."""

    def make(folder: Path) -> Path:
        path = volume(suffix, packed=True)(folder)
        content = bytearray((folder / victim).read_bytes())
        content[9 * len(content) // 10] ^= 0x55
        (folder / victim).write_bytes(content)
        return path

    return make


def _other_sum(content: bytes) -> bytes:
    return content[:-8] + bytes(4) + content[-4:]


def _in_two_parts(content: bytes) -> bytes:
    plain = gzip.decompress(content)
    return gzip.compress(plain[:9999]) + gzip.compress(plain[9999:])


def _were(text: str) -> str:
    return text.replace("endian", "old min: -1024\nold max: 3071\nendian")


def _beside_another(folder: Path) -> Path:
    """The file of the same name that is not packed is another scan."""
    other = nifti(folder, image=chest(1.0, seed=1))
    (folder / "ct.nii").write_bytes(gzip.decompress(other.read_bytes()))
    return nifti(folder)


DAMAGED = (
    # Silent before: the check sum stands after the voxels, and nothing read so far.
    Row("damaged", "bit_of_a_packed_file", "wasserth/TotalSegmentator 24", _packed(_flipped_bit), "truncated_file"),
    Row("damaged", "sum_of_a_packed_file", "nipreps/mriqc 379", _packed(_other_sum), "truncated_file"),
    Row("damaged", "end_of_a_packed_file", "made up", _packed(lambda content: content[:-8]), "truncated_file"),
    # Silent before: ITK printed a line, or nothing, and returned noise.
    Row("damaged", "bit_of_a_nrrd", "made up", _packed_volume(".nrrd", "ct.nrrd"), "truncated_file"),
    Row("damaged", "bit_of_a_mha", "made up", _packed_volume(".mha", "ct.mha"), "truncated_file"),
    Row("damaged", "bit_of_the_data_of_a_mhd", "made up", _packed_volume(".mhd", "ct.zraw"), "truncated_file"),
    Row("damaged", "packed_in_two_parts", "made up", _packed(_in_two_parts)),
    Row("damaged", "padded_with_zeros", "made up", _packed(lambda content: content + bytes(512))),
    Row("damaged", "packed_twice", "made up", _packed(gzip.compress), "truncated_file"),
    Row("damaged", "beside_one_that_is_not_packed", "NIFTI-Imaging/nifti_clib 133", _beside_another),
    Row(
        "values",
        "meta_image_scales_them",
        "made up",
        volume(".mha", edit=_says("ElementToIntensityFunctionSlope = 2")),
        "scaled_values",
    ),
    Row("values", "nrrd_scales_them", "made up", volume(".nrrd", edit=_were), "scaled_values"),
)

VOLUMES = (*DAMAGED, *UNITS, *FORMATS, *DATA_FILES)
