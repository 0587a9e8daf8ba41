"""Rows of media, of multi-frame files, and of what headers lack."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from tests.series import SLICES, SPACING, STEP, Change, shifted, write_series
from tests.world.support import SIDE, Row, chest, in_series, write_chest


def directory(path: Path, *, named: bool = True) -> None:
    """Write a DICOMDIR with one record; ``named``: its file meta name its class."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    data.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage if named else "1.2.840.10008.1.3"
    data.FileSetID = "DISK1"
    data.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 400
    data.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 400
    data.FileSetConsistencyFlag = 0
    record = pydicom.Dataset()
    record.DirectoryRecordType, record.PatientID, record.PatientName = "PATIENT", "HOSPITAL-0815", "Doe^Jane"
    data.DirectoryRecordSequence = Sequence([record])
    data.save_as(path, enforce_file_format=True)


def _directories(name: str, *, named: bool = True) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_chest(folder / "a" / "b")
        for place in (folder, folder / "a", folder / "a" / "b"):
            directory(place / name, named=named)
        return folder

    return make


def _with(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_chest(folder)
        (folder / name).write_bytes(content)
        return folder

    return make


def _litter(folder: Path) -> Path:
    write_chest(folder)
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._ct000.dcm").write_bytes(b"\0\5\26\7" + bytes(200))
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "README", "autorun.inf", "VIEWER.EXE", "notes.pdf"):
        (folder / name).write_bytes(b"\xd0\xcf\x11\xe0 not a slice" * 20)
    return folder


def _only_directory(folder: Path) -> Path:
    directory(folder / "DIRFILE")
    return folder


def _only_thumbs(folder: Path) -> Path:
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 200)
    return folder


JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(400)

MEDIA = (
    Row("media", "directory_called_dirfile", "Slicer/Slicer 3111", _directories("DIRFILE")),
    Row("media", "directory_called_dcm", "ayselafsar/dicomviewer 173", _directories("INDEX.dcm")),
    Row("media", "directory_without_class", "pydicom/pydicom 1597", _directories("DIRFILE", named=False)),
    Row("media", "litter_of_systems", "netstim/leaddbs 870", _litter),
    Row("media", "picture", "marcomusy/vedo 95", _with("key_image.jpg", JPEG)),
    Row("media", "empty_log", "made up", _with("export.log", b"")),
    Row("media", "picture_called_dcm", "marcomusy/vedo 95", _with("key_image.dcm", JPEG), "truncated_file"),
    Row("media", "empty_slice", "made up", _with("IM000099", b""), "truncated_file"),
    Row("media", "only_a_directory", "iOmega8561/DcmVision 7", _only_directory, "no_ct"),
    Row(
        "media",
        "directory_itself",
        "iOmega8561/DcmVision 7",
        lambda f: _only_directory(f) / "DIRFILE",
        "unknown_source",
    ),
    Row("media", "only_thumbnails", "netstim/leaddbs 870", _only_thumbs, "no_dicom"),
)


def _group(**elements: object) -> Sequence:
    item = pydicom.Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return Sequence([item])


def _unchanged(*_: object) -> None:
    """Leave a data set as it is."""


def enhanced(
    order: Iterable[int] = range(SLICES),
    *,
    change: Callable[[pydicom.Dataset], object] = _unchanged,
    frame: Change = _unchanged,
    name: str = "IM1",
) -> Callable[[Path], Path]:
    """Return a maker of a multi-frame file with the slices ``order``; ``frame`` changes the groups of a slice."""

    def make(folder: Path) -> Path:
        write_series(folder, change=in_series(chest()), count=1)
        seed = folder / "ct000.dcm"
        data = pydicom.dcmread(seed)
        seed.unlink()
        for element in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope"):
            delattr(data, element)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.5.{next(iter(order))}"
        del data.RescaleIntercept
        shared = pydicom.Dataset()
        shared.PixelMeasuresSequence = _group(PixelSpacing=list(SPACING), SliceThickness=STEP)
        shared.PlaneOrientationSequence = _group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        shared.PixelValueTransformationSequence = _group(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")
        shared.CTImageFrameTypeSequence = _group(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
        data.SharedFunctionalGroupsSequence = Sequence([shared])
        own = []
        for index in order:
            groups = pydicom.Dataset()
            groups.PlanePositionSequence = _group(ImagePositionPatient=[-10, 20, -300 + index * STEP])
            groups.FrameContentSequence = _group(FrameAcquisitionNumber=1)
            frame(groups, index)
            own.append(groups)
        data.PerFrameFunctionalGroupsSequence = Sequence(own)
        data.NumberOfFrames = len(own)
        stored = chest().array[list(order)].astype(np.int32) + 1024
        data.PixelData = stored.astype(np.uint16).tobytes()
        change(data)
        data.save_as(folder / name, enforce_file_format=True)
        return folder

    return make


def _file(folder: Path) -> Path:
    return enhanced(name="scan.dcm")(folder) / "scan.dcm"


def _concatenation(folder: Path) -> Path:
    enhanced(range(10), name="a")(folder)
    return enhanced(range(10, SLICES), name="b")(folder)


def _by_highdicom(folder: Path) -> Path:
    """A file of another writer."""
    import highdicom

    write_chest(folder)
    parts = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    for path in folder.iterdir():
        path.unlink()
    for part in parts:
        part.StudyDate, part.StudyTime, part.ContentDate, part.ContentTime = "20200101", "101500", "20200101", "101500"
    made = highdicom.legacy.LegacyConvertedEnhancedCTImage(parts, "1.2.3.4.5", 3, "1.2.3.4.5.6", 1)
    made.save_as(folder / "IM1")
    return folder


def _scale_of_a_frame(groups: pydicom.Dataset, index: int) -> None:
    """Frames with the scale of their own; pixels are changed by :func:`_halved`."""
    if index % 2:
        groups.PixelValueTransformationSequence = _group(RescaleIntercept=-1024, RescaleSlope=0.5, RescaleType="HU")


def _halved(data: pydicom.Dataset) -> None:
    pixels = np.frombuffer(data.PixelData, np.uint16).reshape(SLICES, SIDE, SIDE).copy()
    pixels[1::2] *= 2
    data.PixelData = pixels.tobytes()


def _signed(data: pydicom.Dataset) -> None:
    data.PixelRepresentation, data.BitsStored, data.HighBit = 1, 12, 11
    data.PixelData = (chest().array.astype(np.int16) & 0x0FFF).astype(np.uint16).tobytes()
    data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleIntercept = 0


def _without_shared(name: str) -> Callable[[pydicom.Dataset], object]:
    return lambda data: delattr(data.SharedFunctionalGroupsSequence[0], name)


def _own(number: int, name: str) -> Change:
    def frame(groups: pydicom.Dataset, index: int) -> None:
        if index == number:
            delattr(groups, name)

    return frame


def _one_position(data: pydicom.Dataset) -> None:
    place = _group(ImagePositionPatient=[-10, 20, -300])
    data.SharedFunctionalGroupsSequence[0].PlanePositionSequence = place
    for groups in data.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence


def _fewer_groups(data: pydicom.Dataset) -> None:
    data.PerFrameFunctionalGroupsSequence = data.PerFrameFunctionalGroupsSequence[:-1]


def _phases(groups: pydicom.Dataset, index: int) -> None:
    groups.FrameContentSequence = _group(FrameAcquisitionNumber=1, TemporalPositionIndex=1 + index % 2)


def _gap(groups: pydicom.Dataset, index: int) -> None:
    height = -300 + (index + (index > 9)) * STEP
    groups.PlanePositionSequence = _group(ImagePositionPatient=[-10, 20, height])


def _shuffled() -> list[int]:
    return [(7 * index) % SLICES for index in range(SLICES)]


ENHANCED = (
    Row("enhanced", "folder", "DIAGNijmegen/rse-panimg 23", enhanced()),
    Row("enhanced", "file", "Slicer/Slicer 6773", _file),
    Row("enhanced", "frames_shuffled", "horosproject/horos 543", enhanced(_shuffled())),
    Row("enhanced", "frames_reversed", "cornerstonejs/cornerstone3D 2241", enhanced(range(SLICES - 1, -1, -1))),
    Row(
        "enhanced",
        "legacy_converted",
        "InsightSoftwareConsortium/ITKPythonPackage 105",
        enhanced(change=lambda data: setattr(data, "SOPClassUID", LegacyConvertedEnhancedCTImageStorage)),
    ),
    Row("enhanced", "concatenation", "OHIF/Viewers 4388", _concatenation),
    Row("enhanced", "scale_of_each_frame", "rii-mango/Papaya 45", enhanced(change=_halved, frame=_scale_of_a_frame)),
    Row("enhanced", "no_number_of_frames", "made up", enhanced(change=lambda data: delattr(data, "NumberOfFrames"))),
    Row(
        "enhanced",
        "no_number_and_fewer_groups",
        "made up",
        enhanced(change=lambda data: (delattr(data, "NumberOfFrames"), _fewer_groups(data))),
        "bad_pixel_format",
    ),
    Row("enhanced", "one_position_for_all", "made up", enhanced(change=_one_position), "duplicate_slices"),
    Row("enhanced", "signed_12_bits", "made up", enhanced(change=_signed)),
    Row(
        "enhanced",
        "compressed",
        "cornerstonejs/cornerstoneWADOImageLoader 20",
        enhanced(change=lambda data: data.compress(RLELossless)),
    ),
    Row("enhanced", "jpeg_ls", "made up", enhanced(change=lambda data: data.compress(JPEGLSLossless))),
    Row("enhanced", "converted_by_highdicom", "ITKPythonPackage 105", _by_highdicom),
    Row(
        "enhanced",
        "no_groups",
        "dgobbi/vtk-dicom 156",
        enhanced(change=lambda data: delattr(data, "PerFrameFunctionalGroupsSequence")),
        "multiframe",
    ),
    Row("enhanced", "fewer_groups_than_frames", "made up", enhanced(change=_fewer_groups), "multiframe"),
    Row(
        "enhanced",
        "no_position_of_one_frame",
        "Slicer/Slicer 7496",
        enhanced(frame=_own(5, "PlanePositionSequence")),
        "missing_geometry",
    ),
    Row(
        "enhanced",
        "no_orientation",
        "icometrix/dicom2nifti 48",
        enhanced(change=_without_shared("PlaneOrientationSequence")),
        "missing_geometry",
    ),
    Row(
        "enhanced",
        "no_pixel_size",
        "InsightSoftwareConsortium/ITK 4131",
        enhanced(change=_without_shared("PixelMeasuresSequence")),
        "missing_geometry",
    ),
    Row(
        "enhanced",
        "no_scale",
        "made up",
        enhanced(change=_without_shared("PixelValueTransformationSequence")),
        "no_rescale",
    ),
    Row("enhanced", "two_phases", "made up", enhanced(frame=_phases), "mixed_acquisitions"),
    Row("enhanced", "frame_missing", "made up", enhanced(frame=_gap), "missing_slices"),
    Row(
        "enhanced",
        "pixels_cut",
        "made up",
        enhanced(change=lambda data: setattr(data, "PixelData", data.PixelData[: -SIDE * 2])),
        "truncated_file",
    ),
)


def without(*names: str) -> Callable[[Path], Path]:
    """Return a maker of a series whose slices lack elements."""

    def change(part: pydicom.Dataset, index: int) -> None:
        part["PixelData"].VR = "OW"  # pydicom would look for BitsAllocated
        for name in names:
            delattr(part, name)

    return lambda folder: write_chest(folder, change)


def some_without(name: str) -> Callable[[Path], Path]:
    """Return a maker of a series in which every third slice lacks an element."""

    def change(part: pydicom.Dataset, index: int) -> None:
        part.KVP, part.AcquisitionNumber = 120, 1
        if index % 3 == 0:
            delattr(part, name)

    return lambda folder: write_chest(folder, change)


def _bare(folder: Path) -> Path:
    """Slices without preamble, file meta and HighBit."""
    without("HighBit")(folder)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.file_meta, data.preamble = FileMetaDataset(), None
        data.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    return folder


def _unknown_sign(folder: Path) -> Path:
    change = in_series(chest(), shifted("PixelRepresentation", None), intercept=0, signed=True)
    return write_series(folder, change=change)


def _unknown_class(folder: Path) -> Path:
    """A class only in the file meta, as some exporters write it."""
    return without("SOPClassUID", "Modality")(folder)


def _compressed_without_bits(part: pydicom.Dataset, index: int) -> None:
    part.compress(RLELossless, generate_instance_uid=False)
    part["PixelData"].VR = "OB"  # pydicom would look for BitsAllocated
    del part.BitsAllocated


ATTRIBUTES = (
    *(
        Row("attributes", f"no_{name}", source, without(name))
        for name, source in (
            ("HighBit", "JoHof/lungmask, its test data"),
            ("BitsStored", "ivmartel/dwv 30"),
            ("BitsAllocated", "gradienthealth/dicom 8"),
            ("PixelRepresentation", "pydicom/pydicom 1458"),
            ("SamplesPerPixel", "suyashkumar/dicom 131"),
            ("PhotometricInterpretation", "made up"),
            ("SliceThickness", "Slicer/Slicer 354"),
            ("ImageType", "made up"),
            ("Modality", "made up"),
            ("InstanceNumber", "made up"),
            ("SeriesInstanceUID", "made up"),
        )
    ),
    Row("attributes", "no_pixel_elements", "made up", without("HighBit", "BitsStored", "SamplesPerPixel")),
    Row("attributes", "class_in_the_file_meta_only", "made up", _unknown_class),
    *(
        Row("attributes", f"no_{name}", source, without(name), code)
        for name, source, code in (
            ("ImagePositionPatient", "Slicer/Slicer 7496", "missing_geometry"),
            ("ImageOrientationPatient", "made up", "missing_geometry"),
            ("PixelSpacing", "Slicer/Slicer 272", "missing_geometry"),
            ("Rows", "made up", "missing_geometry"),
            ("RescaleIntercept", "made up", "no_rescale"),
        )
    ),
    *(
        Row("attributes", f"some_lack_{name}", "made up", some_without(name))
        for name in ("HighBit", "SliceThickness", "KVP", "AcquisitionNumber", "InstanceNumber")
    ),
    Row("attributes", "no_preamble_no_HighBit", "vtk-dicom 204", _bare),
    Row("attributes", "unknown_sign", "pydicom/pydicom 1458", _unknown_sign, "ambiguous_sign"),
    Row(
        "attributes",
        "compressed_without_bits",
        "fo-dicom/fo-dicom 1992",
        lambda folder: write_chest(folder, _compressed_without_bits),
        "missing_element",
    ),
)

HEADERS = (*MEDIA, *ENHANCED, *ATTRIBUTES)
