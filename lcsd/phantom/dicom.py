"""Write a scan as a valid DICOM study: a localizer and a series per kernel, described as in NLST."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lcsd.errors import unwritable
from lcsd.phantom.scanner import Kernel, Scan

# NLST replaces study dates by codes: time point 0 is 1999-01-02, time point 1 is 2000-01-02.
STUDY_DATES = ("19990102", "20000102")
RESCALE_INTERCEPT = -1024
BITS_STORED = 12
KILOVOLT, TUBE_CURRENT_MA, EXPOSURE_MAS, PITCH = 120, 80, 53.3, 1.5
MANUFACTURER, MODEL, MODEL_CODE = "GE MEDICAL SYSTEMS", "LightSpeed QX/i", "LSQX"
LOCALIZER = "localizer"
# A projection of soft tissue over the body's width, mapped to a printable range.
LOCALIZER_GAIN = 4.0


def _uid(*parts: object) -> UID:
    """Return a UID that depends on the parts only."""
    return generate_uid(entropy_srcs=["lcsd phantom", *map(str, parts)])


def _decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters, as the standard requires."""
    return f"{value:.9f}"[:16]


def _common(patient: str, time: int, *, feet_first: bool) -> Dataset:
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.Modality = "CT"
    header.PatientID = patient
    header.PatientName = patient
    header.PatientBirthDate = ""
    header.PatientSex = "O"
    header.StudyInstanceUID = _uid(patient, time, "study")
    header.FrameOfReferenceUID = _uid(patient, time, "frame")
    header.PositionReferenceIndicator = ""
    header.StudyDate = STUDY_DATES[time]
    header.StudyTime = ""
    header.StudyID = str(time)
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.StudyDescription = "NLST-LSS"
    header.Manufacturer = MANUFACTURER
    header.ManufacturerModelName = MODEL
    header.PatientPosition = "FFS" if feet_first else "HFS"
    header.KVP = str(KILOVOLT)
    header.XRayTubeCurrent = str(TUBE_CURRENT_MA)
    header.Exposure = str(round(EXPOSURE_MAS))
    header.GantryDetectorTilt = "0"
    header.AcquisitionNumber = "1"
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = BITS_STORED
    header.HighBit = BITS_STORED - 1
    header.PixelRepresentation = 0
    header.RescaleIntercept = str(RESCALE_INTERCEPT)
    header.RescaleSlope = "1"
    header.RescaleType = "HU"
    header.WindowCenter = "-600"
    header.WindowWidth = "1500"
    return header


def _series(header: Dataset, number: int, kind: str, *, kernel: str, scan: Scan, time: int) -> None:
    """Set the series' attributes.

    The description lists time, kind, maker, model, kernel, field of view and thickness in mm, kVp,
    and three more numbers of the exposure, the pitch last.
    """
    field = round(float(scan.size_xyz[0] * scan.spacing[0]))
    header.SeriesNumber = str(number)
    header.SeriesInstanceUID = _uid(header.PatientID, time, "series", number)
    header.SeriesDescription = (
        f"{time},{kind},GE,{MODEL_CODE},{kernel},{field},{scan.thickness:g},"
        f"{KILOVOLT},{TUBE_CURRENT_MA},{EXPOSURE_MAS},{PITCH}"
    )
    header.ConvolutionKernel = kernel
    header.ReconstructionDiameter = str(field)
    header.SliceThickness = _decimal(scan.thickness)


def _save(
    path: Path,
    header: Dataset,
    hu: NDArray[np.int16],
    *,
    instance: int,
    position: NDArray[np.float64],
    orientation: NDArray[np.float64],
    spacing: tuple[float, float],
) -> None:
    """Write one image; `orientation` (6,) is the direction along a row, then along a column."""
    image = Dataset()
    image.update(header)
    image.SOPInstanceUID = _uid(header.SeriesInstanceUID, instance)
    image.InstanceNumber = str(instance)
    image.ImagePositionPatient = [_decimal(v) for v in position]
    image.ImageOrientationPatient = [_decimal(v) for v in orientation]
    image.SliceLocation = _decimal(float(position[2]))
    image.PixelSpacing = [_decimal(v) for v in spacing]
    image.Rows, image.Columns = hu.shape
    stored = (hu.astype(np.int32) - RESCALE_INTERCEPT).astype("<u2")
    image.PixelData = stored.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)


def _write_axial(folder: Path, header: Dataset, hu: NDArray[np.int16], scan: Scan) -> None:
    folder.mkdir()
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SpacingBetweenSlices = _decimal(float(scan.spacing[2]))
    upwards = scan.direction[2, 2] > 0
    for k in range(len(hu)):
        # Like scanners, number images from head to feet, whatever the order of the array.
        instance = len(hu) - k if upwards else k + 1
        _save(
            folder / f"{instance:04d}.dcm",
            header,
            hu[k],
            instance=instance,
            position=scan.to_world(np.array([[0.0, 0.0, float(k)]]))[0],
            orientation=np.concatenate([scan.direction[:, 0], scan.direction[:, 1]]),
            spacing=(float(scan.spacing[1]), float(scan.spacing[0])),
        )


def _write_localizer(folder: Path, header: Dataset, hu: NDArray[np.int16], scan: Scan) -> None:
    """Write a frontal and a lateral projection, the head at the top."""
    folder.mkdir()
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    upwards = scan.direction[2, 2] > 0
    down = -scan.direction[:, 2] if upwards else scan.direction[:, 2]
    first = float(scan.size_xyz[2] - 1) if upwards else 0.0
    for instance, (array_axis, world_axis) in enumerate(((1, 0), (2, 1)), start=1):
        water = np.clip(hu, -1000, None).mean(axis=array_axis, dtype=np.float64)
        projection = np.clip(LOCALIZER_GAIN * (water + 700.0), RESCALE_INTERCEPT, 3071)
        rows = projection[::-1] if upwards else projection
        across = np.array(scan.size_xyz, dtype=np.float64) / 2.0
        across[world_axis] = 0.0
        _save(
            folder / f"{instance:04d}.dcm",
            header,
            np.rint(rows).astype(np.int16),
            instance=instance,
            position=scan.to_world(np.array([[across[0], across[1], first]]))[0],
            orientation=np.concatenate([scan.direction[:, world_axis], down]),
            spacing=(float(scan.spacing[2]), float(scan.spacing[world_axis])),
        )


def write_study(
    folder: Path, series: Mapping[Kernel, NDArray[np.int16]], scan: Scan, *, patient: str, time: int
) -> Path:
    """Write one scan as a study folder, atomically; return the folder of the first series.

    ``folder`` gets a subfolder `localizer` and one for each kernel (its name in lower case) with its
    reconstruction: (z, y, x) in HU, int16, on the scan's grid. ``time`` is the time point, 0 or 1. Raises
    ``WorkError`` if the folder cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        header = _common(patient, time, feet_first=scan.direction[0, 0] < 0)
        names = []
        _series(header, 1, "OPL", kernel="STANDARD", scan=scan, time=time)
        _write_localizer(temporary / LOCALIZER, header, next(iter(series.values())), scan)
        for number, (kernel, hu) in enumerate(series.items(), start=2):
            names.append(kernel.name.lower())
            _series(header, number, "OPA", kernel=kernel.name, scan=scan, time=time)
            _write_axial(temporary / names[-1], header, hu, scan)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / names[0]
