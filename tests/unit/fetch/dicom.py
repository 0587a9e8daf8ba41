"""Small DICOM series of one patient."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

PATIENT = "PATIENT-4711"
SIZE = 200

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
)


def image_bytes(uid: str, number: int, *, syntax: str = ExplicitVRLittleEndian, **changed: Any) -> bytes:
    """Return one image of a series as a file's content."""
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{uid}.{number}"
    image.SeriesInstanceUID = uid
    image.StudyInstanceUID = "1.2.840.99"
    image.PatientID = PATIENT
    image.PatientName = PATIENT
    image.Modality = "CT"
    image.StudyDate = "19990102"
    image.SeriesDescription = "0,OPA,GE,X,STANDARD,300,2.5,120,60,40,1"
    image.Manufacturer = "GE"
    image.Rows = image.Columns = SIZE
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.SamplesPerPixel = 1
    image.PixelRepresentation = 0
    image.PhotometricInterpretation = "MONOCHROME2"
    pixels = np.random.default_rng(number).integers(0, 4096, (SIZE, SIZE), np.uint16).tobytes()
    packed = syntax == JPEG2000Lossless
    image.PixelData = encapsulate([pixels]) if packed else pixels
    image["PixelData"].VR = "OB" if packed else "OW"
    image["PixelData"].is_undefined_length = packed
    for name, value in changed.items():
        setattr(image, name, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
    image.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_series(folder: Path, uid: str, *, files: int) -> None:
    """Write a series as ``0001.dcm`` and so on."""
    folder.mkdir(parents=True)
    for number in range(1, files + 1):
        (folder / f"{number:04d}.dcm").write_bytes(image_bytes(uid, number))
