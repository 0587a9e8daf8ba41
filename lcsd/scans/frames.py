"""Split a multi-frame file (enhanced CT) into one header per frame.

Elements of single frames are in functional groups, shared or per frame (DICOM PS3.3, C.7.6.16 and C.8.15.3).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pydicom

from lcsd.scans.dicom import ENHANCED_CT, READ_ERRORS, Header, quiet_pydicom, raise_if_system, texts_of, truncated

GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "RescaleType": ("PixelValueTransformationSequence", "RescaleType"),
    "ImageType": ("CTImageFrameTypeSequence", "FrameType"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "GantryDetectorTilt": ("CTAcquisitionDetailsSequence", "GantryDetectorTilt"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionDateTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "TemporalPositionIndex": ("FrameContentSequence", "TemporalPositionIndex"),
    "IrradiationEventUID": ("IrradiationEventIdentificationSequence", "IrradiationEventUID"),
}
"""Keyword of a single-frame image, the functional group that holds it, and its keyword there."""


def frames_of(header: Header) -> list[Header]:
    """Return a header per frame, with the frame's own position, scale and kernel.

    A single-frame file, and a file without functional groups for each of its frames, is returned as it is.
    """
    count = header.text("NumberOfFrames")
    if header.text("SOPClassUID") not in ENHANCED_CT and count in ("", "1"):
        return [header]
    try:
        with quiet_pydicom():
            data = pydicom.dcmread(header.path, stop_before_pixels=True, force=True)
            shared = data.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
            own = data.get("PerFrameFunctionalGroupsSequence") or []
            # The length of the pixels is compared with the number of groups if the header does not give it.
            if not own or count not in ("", str(len(own))):
                return [header]
            return list(_split(header, shared[0], own))
    except READ_ERRORS as error:
        raise_if_system(error)
        raise truncated(header.path, "functional groups that cannot be read") from error


def _split(header: Header, shared: Any, own: Any) -> Iterator[Header]:
    # Compressed frames have no length of their own.
    length = header.pixel_bytes if header.pixel_bytes < 0 else header.pixel_bytes // len(own)
    for index, groups in enumerate(own):
        # A position in the header itself would place all frames at one height.
        values = {name: value for name, value in header.values.items() if name != "ImagePositionPatient"}
        for name, (group, keyword) in GROUPS.items():
            items = groups.get(group) or shared.get(group)
            if items and keyword in items[0]:
                values[name] = texts_of(items[0], keyword)
        yield replace(header, values=values, pixel_bytes=length, frame=index)
