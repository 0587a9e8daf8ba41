"""Nothing of a header but the allow-list leaves a conversion, wherever a name was typed."""

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from nibabel.nifti1 import Nifti1Extension
from pydicom.datadict import DicomDictionary, keyword_dict
from pydicom.sequence import Sequence

from lcsd.cli.main import main
from lcsd.scans.headers import FIELDS, technical_fields
from tests.series import UID, shifted, write_series

SENTINEL = "ZQXSENTINEL"
NEEDED = {
    "ImageType",
    "Modality",
    "PhotometricInterpretation",
    "SpecificCharacterSet",
    "LossyImageCompression",
    "RescaleType",
    "PatientPosition",
}
ALLOWED = {field.attribute for field in FIELDS}
TEXTS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT", "CS", "AE"}


def every_text(part: pydicom.Dataset, index: int) -> None:
    """Put the sentinel into every element that holds text, also private and nested ones."""
    for keyword, tag in keyword_dict.items():
        vr = DicomDictionary[tag][0]
        if vr in TEXTS and tag >> 16 > 8 - 1 and keyword not in NEEDED | ALLOWED:
            setattr(part, keyword, f"{SENTINEL}" if vr != "PN" else f"{SENTINEL}^Jane")
    part.Manufacturer = f"ACME {SENTINEL}"
    part.ManufacturerModelName = f"{SENTINEL.title()} 64"
    part.ConvolutionKernel = f"{SENTINEL}^Jane"
    part.FilterType = "born 19500101"
    inner = pydicom.Dataset()
    inner.PatientName, inner.TextValue = SENTINEL, SENTINEL
    part.RequestAttributesSequence = Sequence([inner])
    block = part.private_block(0x0019, SENTINEL, create=True)
    block.add_new(0x01, "LO", SENTINEL)
    block.add_new(0x02, "UN", SENTINEL.encode())


@pytest.mark.slow
@pytest.mark.parametrize("defect", [False, True])
def test_sentinel_is_in_no_output(tmp_path: Path, defect: bool) -> None:
    def change(part: pydicom.Dataset, index: int) -> None:
        every_text(part, index)
        if defect and index == 3:
            part.PatientID = f"{SENTINEL}2"

    folder = write_series(tmp_path / "in", change=change)
    assert all(SENTINEL.encode() in path.read_bytes() for path in folder.iterdir())
    out = tmp_path / "out"
    call = ["convert", str(folder), str(out / "ct.nii.gz"), "--header", str(out / "h.json")]
    found = CliRunner().invoke(main, [*call, "--rejected", str(out / "rejected.json")])
    assert found.exit_code == (2 if defect else 0), found.output
    written = sorted(path.name for path in out.iterdir())
    assert written == (["rejected.json"] if defect else ["ct.nii.gz", "ct.provenance.json", "h.json"])
    stored = b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in out.iterdir()
    )
    assert SENTINEL.lower().encode() not in stored.lower()
    assert SENTINEL.lower() not in found.output.lower()
    assert UID.encode() not in stored
    if not defect:
        header = json.loads((out / "h.json").read_text())
        assert header["withheld"] == ["convolution_kernel", "filter_type", "manufacturer", "manufacturer_model"]


def test_header_file_has_units_and_only_what_all_images_share(tmp_path: Path) -> None:
    def change(part: pydicom.Dataset, index: int) -> None:
        part.Manufacturer, part.ManufacturerModelName = "GE MEDICAL SYSTEMS", "LightSpeed QX/i"
        part.ConvolutionKernel = ["B30f", "2"]
        part.KVP, part.XRayTubeCurrent, part.PatientPosition = "120", str(80 + index), "FFS"
        part.DeviceSerialNumber, part.StudyDate = "4711", "19990102"

    folder = write_series(tmp_path / "in", change=change)
    out = tmp_path / "h.json"
    call = ["convert", str(folder), str(tmp_path / "ct.nii.gz"), "--header", str(out)]
    assert CliRunner().invoke(main, call).exit_code == 0
    assert json.loads(out.read_text()) == {
        "bits_stored": 16.0,
        "convolution_kernel": "B30f/2",
        "manufacturer": "GE MEDICAL SYSTEMS",
        "manufacturer_model": "LightSpeed QX/i",
        "modality": "CT",
        "patient_position": "FFS",
        "slice_thickness_mm": 2.5,
        "tube_voltage_kv": 120.0,
        "varying": ["tube_current_ma"],
        "withheld": [],
    }


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("Manufacturer", "SIEMENS", True),
        ("Manufacturer", "Doe, Jane", False),
        ("Manufacturer", "Doe^Jane", False),
        ("Manufacturer", "Jane's scanner", False),
        ("Manufacturer", "seen by jane", False),
        ("Manufacturer", "A" * 33, False),
        ("ManufacturerModelName", "Aquilion 64", True),
        ("ManufacturerModelName", "unit 48213", False),
        ("PatientPosition", "HFS", True),
        ("PatientPosition", "Jane", False),
        ("KVP", "120", True),
        ("KVP", "nan", False),
        ("KVP", "jane", False),
    ],
)
def test_values_that_are_not_plain_are_withheld(name: str, text: str, kept: bool) -> None:
    key = next(field.key for field in FIELDS if field.attribute == name)
    found = technical_fields([{"PatientName": ("Doe^Jane",), name: (text,)}])
    assert (key in found) == kept
    assert (key in found["withheld"]) != kept  # type: ignore[operator]


def test_no_dates_no_uids_nothing_of_patient_site_or_device() -> None:
    for field in FIELDS:
        vr = DicomDictionary[keyword_dict[field.attribute]][0]
        assert vr in {"CS", "LO", "SH", "DS", "IS", "FD", "US"}, field
        assert field.terms or field.is_name or vr in {"DS", "IS", "FD", "US"}, field
        assert keyword_dict[field.attribute] >> 16 != 0x0010, field


def test_text_of_a_nifti_does_not_survive(tmp_path: Path) -> None:
    hu = np.full((24, 24, 24), -900, np.int16)
    volume = nibabel.Nifti1Image(hu, np.eye(4))
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        volume.header[name] = SENTINEL.encode()
    volume.header.extensions.append(Nifti1Extension("comment", SENTINEL.encode()))
    nibabel.save(volume, tmp_path / "in.nii.gz")
    assert SENTINEL.encode() in gzip.decompress((tmp_path / "in.nii.gz").read_bytes())
    out = tmp_path / "ct.nii.gz"
    call = ["convert", str(tmp_path / "in.nii.gz"), str(out)]
    found = CliRunner().invoke(main, call)
    assert found.exit_code == 0, found.output
    assert SENTINEL.encode() not in gzip.decompress(out.read_bytes())
    assert SENTINEL not in found.output
    header = nibabel.load(out).header
    assert header.extensions == []
    assert {bytes(header[n].tobytes()).strip(b"\0") for n in ("descrip", "aux_file")} == {b""}
    result = CliRunner().invoke(main, [*call, "--header", str(tmp_path / "h.json")])
    assert (result.exit_code, "no_header" in result.stderr) == (2, True)


def test_derived_series_is_named_by_nothing_of_its_text(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=shifted("RescaleType", SENTINEL))
    found = CliRunner().invoke(main, ["convert", str(folder), str(tmp_path / "ct.nii.gz")])
    assert found.exit_code == 2
    assert SENTINEL not in found.output
