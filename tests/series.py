"""DICOM series of a small scan, whole or with one defect."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lcsd.errors import BadInputError
from lcsd.scans.convert import read_scan
from lcsd.settings.convert import ConvertSettings

ROWS, COLUMNS, SLICES, STEP = 12, 10, 24, 2.5
SPACING = (0.8, 0.7)  # between rows, between columns
INTERCEPT = -1024.0
UID = "1.2.3.4"
PATIENT = "HOSPITAL-0815"
Change = Callable[[pydicom.Dataset, int], None]


def values(index: int) -> np.ndarray:
    """Raw pixels of a slice: air, some tissue, and the slice's number."""
    raw = np.full((ROWS, COLUMNS), 74, np.uint16)
    raw[3:9, 2:8] = 1064
    raw[0, 0] = 500 + index
    return raw


def write_series(
    folder: Path,
    *,
    direction: np.ndarray | None = None,
    change: Change | None = None,
    count: int = SLICES,
    uid: str = UID,
    prefix: str = "ct",
) -> Path:
    """Write a CT series whose file names are not in the order of its slices."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = np.eye(3) if direction is None else direction
    for index in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(index)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = pydicom.Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.SeriesInstanceUID, slice_.StudyInstanceUID = "CT", uid, "1.2.3"
        slice_.PatientID, slice_.PatientName = PATIENT, "Doe^Jane"
        slice_.FrameOfReferenceUID, slice_.InstanceNumber = "1.2.7", str((index * 5) % count)
        slice_.Manufacturer, slice_.ConvolutionKernel = "ACME", "STANDARD"
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.SeriesDescription = "0,OPA,GE,LSQX,STANDARD,390,2.5,120,80,53.3,1.5"
        slice_.SliceThickness = STEP
        slice_.StudyDate = slice_.StudyTime = slice_.StudyID = slice_.AccessionNumber = ""
        slice_.PatientBirthDate = slice_.PatientSex = slice_.ReferringPhysicianName = ""
        slice_.Rows, slice_.Columns = ROWS, COLUMNS
        slice_.PixelSpacing = list(SPACING)
        slice_.ImageOrientationPatient = [round(float(v), 8) for v in axes[:, :2].T.ravel()]
        place = np.array([-10.0, 20.0, -300.0]) + index * STEP * axes[:, 2]
        slice_.ImagePositionPatient = [round(float(v), 6) for v in place]
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelRepresentation, slice_.SamplesPerPixel = 0, 1
        slice_.PhotometricInterpretation = "MONOCHROME2"
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, INTERCEPT
        slice_.PixelData = values(index).tobytes()
        if change is not None:
            change(slice_, index)
        name = f"{prefix}{(index * 7) % count:03d}.dcm"
        slice_.save_as(folder / name, enforce_file_format=True)
    return folder


def refused(source: Path, **settings: object) -> str:
    with pytest.raises(BadInputError) as caught:
        read_scan(source, ConvertSettings.model_validate(settings))
    assert "\n" not in caught.value.message
    return caught.value.code


def shifted(name: str, value: object, only: int | None = None) -> Change:
    def change(part: pydicom.Dataset, index: int) -> None:
        if only is None or index == only:
            if value is None:
                delattr(part, name)
            else:
                setattr(part, name, value)

    return change


def moved(offsets: dict[int, float]) -> Change:
    def change(part: pydicom.Dataset, index: int) -> None:
        part.ImagePositionPatient = [-10, 20, -300 + index * STEP + offsets.get(index, 0.0)]

    return change


def missing(part: pydicom.Dataset, index: int) -> None:
    part.ImagePositionPatient = [-10, 20, -300 + (index + (index > 9)) * STEP]


def tilted(part: pydicom.Dataset, index: int) -> None:
    part.ImagePositionPatient = [-10, 20 + index * 0.3, -300 + index * STEP]


def drifting(part: pydicom.Dataset, index: int) -> None:
    """Each step is within the tolerance, but the second half's are longer by 0.06 mm."""
    part.ImagePositionPatient = [-10, 20, -300 + index * STEP + max(0, index - 12) * 0.06]


def sideways(part: pydicom.Dataset, index: int) -> None:
    part.ImagePositionPatient = [-10 + (index == 12) * 0.3, 20, -300 + index * STEP]


def tiny(part: pydicom.Dataset, index: int) -> None:
    if index == 3:
        part.Rows, part.PixelData = 4, values(0)[:4].tobytes()


def compressed(part: pydicom.Dataset, index: int) -> None:
    part.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    part.PixelData = pydicom.encaps.encapsulate([bytes(8)])
    part["PixelData"].is_undefined_length = True


def short(part: pydicom.Dataset, index: int) -> None:
    if index == 3:
        part.PixelData = part.PixelData[:-20]
