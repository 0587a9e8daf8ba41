"""Gates on single images, and on what the images of a series share."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from lcsd.scans.convert import read_scan
from lcsd.settings.convert import ConvertSettings
from tests.series import COLUMNS, INTERCEPT, PATIENT, ROWS, Change, refused, shifted, values, write_series

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"


def lossy(part: pydicom.Dataset, index: int) -> None:
    part.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    part.PixelData = pydicom.encaps.encapsulate([bytes(8)])
    part["PixelData"].is_undefined_length = True


def doubled(part: pydicom.Dataset, index: int) -> None:
    part.PixelData = part.PixelData * 2


def odd_bits(part: pydicom.Dataset, index: int) -> None:
    part.BitsStored, part.HighBit = 12, 12


def colour(part: pydicom.Dataset, index: int) -> None:
    part.SamplesPerPixel = 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (shifted("PatientID", "P2", 3), "mixed_patient"),
        (shifted("PatientID", None, 3), "mixed_patient"),
        (shifted("StudyInstanceUID", "1.2.4", 3), "mixed_study"),
        (shifted("FrameOfReferenceUID", "1.2.8", 3), "mixed_frame"),
        (shifted("FrameOfReferenceUID", None, 3), "mixed_frame"),
        (shifted("ConvolutionKernel", "LUNG", 3), "mixed_kernel"),
        (shifted("ConvolutionKernel", ["STANDARD", "3"], 3), "mixed_kernel"),
        (shifted("SOPClassUID", SECONDARY_CAPTURE, 3), "derived_image"),
        (shifted("ImageType", ["DERIVED", "SECONDARY", "MPR"]), "derived_image"),
        (shifted("SOPClassUID", ENHANCED), "multiframe"),
        (shifted("RescaleType", "US"), "rescale_type"),
        (shifted("RescaleType", "EFF_ATOM", 3), "rescale_type"),
        (shifted("RescaleSlope", None, 3), "no_rescale"),
        (shifted("RescaleIntercept", None), "no_rescale"),
        (shifted("RescaleSlope", 0, 3), "bad_geometry"),
        (lossy, "lossy_compression"),
        (shifted("LossyImageCompression", "01"), "lossy_compression"),
        (shifted("PhotometricInterpretation", "MONOCHROME1"), "bad_pixel_format"),
        (shifted("BitsAllocated", 8), "bad_pixel_format"),
        (shifted("BitsStored", 17, 3), "bad_pixel_format"),
        (shifted("PixelRepresentation", 2, 3), "bad_pixel_format"),
        (odd_bits, "bad_pixel_format"),
        (colour, "bad_pixel_format"),
        (doubled, "bad_pixel_format"),
        (shifted("PixelData", None, 3), "truncated_file"),
        (shifted("Rows", None, 3), "missing_geometry"),
    ],
)
def test_defective_image_is_refused(tmp_path: Path, change: Change, code: str) -> None:
    assert refused(write_series(tmp_path / "s", change=change)) == code


def numbered(part: pydicom.Dataset, index: int) -> None:
    part.PatientID = "100002" if index < 3 else "100012"


def test_identifiers_that_are_nearly_the_same_number_differ(tmp_path: Path) -> None:
    assert refused(write_series(tmp_path / "s", change=numbered)) == "mixed_patient"


def test_message_holds_nothing_of_the_patient(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=shifted("PatientID", "SECRET-7", 3))
    with pytest.raises(Exception, match=r"\[mixed_patient\]") as caught:
        read_scan(folder)
    assert "SECRET" not in str(caught.value)
    assert PATIENT not in str(caught.value)


def test_derived_images_can_be_allowed(tmp_path: Path) -> None:
    change = shifted("ImageType", ["DERIVED", "PRIMARY", "AXIAL"])
    folder = write_series(tmp_path / "s", change=change)
    assert read_scan(folder, ConvertSettings(accept_derived=True)).image.array.shape[0] > 0
    capture = shifted("SOPClassUID", SECONDARY_CAPTURE)
    assert refused(write_series(tmp_path / "c", change=capture), accept_derived=True) == "derived_image"


def test_all_without_optional_elements(tmp_path: Path) -> None:
    def plain(part: pydicom.Dataset, index: int) -> None:
        for name in ("PatientID", "PatientName", "FrameOfReferenceUID", "ConvolutionKernel"):
            delattr(part, name)
        part.GantryDetectorTilt = ""
        part.ImageType = "AXIAL"

    assert read_scan(write_series(tmp_path / "s", change=plain)).image.array.min() == -950


def test_signed_and_short_values_are_read_as_the_standard_says(tmp_path: Path) -> None:
    """Twelve bits, two's complement; bits above are not part of the value (PS3.5, 8.1.1)."""
    raw = np.full((ROWS, COLUMNS), 0x0FFF - 899, np.uint16)  # -900
    raw[0, :3] = [0x0FFF, 0x07FF, 0xF00A]

    def signed(part: pydicom.Dataset, index: int) -> None:
        part.BitsStored, part.HighBit, part.PixelRepresentation = 12, 11, 1
        part.RescaleIntercept = 0
        part.PixelData = raw.tobytes()

    array = read_scan(write_series(tmp_path / "s", change=signed)).image.array
    assert array[7, 0, :3].tolist() == [-1, 2047, 10]
    assert (array[7, 1:] == -900).all()


def test_compressed_pixels_are_read(tmp_path: Path) -> None:
    def packed(part: pydicom.Dataset, index: int) -> None:
        part.compress(RLELossless, generate_instance_uid=False)

    folder = write_series(tmp_path / "s", change=packed)
    array = read_scan(folder).image.array
    assert (array[4] == values(4).astype(int) + INTERCEPT).all()
    victim = sorted(folder.iterdir())[5]
    victim.write_bytes(victim.read_bytes()[:-60])
    assert refused(folder) == "truncated_file"
