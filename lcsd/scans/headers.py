"""Allow-list of the technical fields of a DICOM header that may be written to outputs.

No other field is written. None of the listed attributes is in the table of attributes to remove,
replace or clean (DICOM PS3.15, table E.1-1). Fields with words are limited in length and characters
nevertheless, because a site can type a name into any of them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

POSITIONS = frozenset({"HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"})
"""Defined terms of PatientPosition for CT (DICOM PS3.3, C.7.3.1.1.2)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+-]{0,31}")
"""A maker, model or kernel; the caret and comma of a person's name are not allowed."""

LONG_NUMBER = re.compile(r"\d{5}")
"""So many digits may be a date, a record number or a serial number; models have fewer."""

SHORTEST_WORD = 3  # shorter parts of a patient's name or number occur in any text

PATIENT_FIELDS = ("PatientName", "PatientID")

PERSON_FIELDS = (
    *("PatientID", "PatientSex", "PatientBirthDate"),
    *("IssuerOfPatientID", "OtherPatientIDs", "PatientIdentityRemoved"),
)
"""Elements that tell whether two scans are of one person; they are compared and never written."""

Values = Mapping[str, tuple[str, ...] | None]  # texts of elements by keyword; None if they cannot be read


@dataclass(frozen=True)
class Field:
    """One attribute that may be written."""

    attribute: str  # DICOM keyword
    key: str  # key in the JSON file, with the unit
    terms: frozenset[str] | None = None  # values that are allowed; None: a number, or a name if ``is_name``
    is_name: bool = False


FIELDS = (
    Field("Modality", "modality", frozenset({"CT"})),
    Field("RescaleType", "rescale_type", frozenset({"HU"})),
    Field("PatientPosition", "patient_position", POSITIONS),
    Field("Manufacturer", "manufacturer", is_name=True),
    Field("ManufacturerModelName", "manufacturer_model", is_name=True),
    Field("ConvolutionKernel", "convolution_kernel", is_name=True),
    Field("FilterType", "filter_type", is_name=True),
    Field("SliceThickness", "slice_thickness_mm"),
    Field("SpacingBetweenSlices", "spacing_between_slices_mm"),
    Field("ReconstructionDiameter", "reconstruction_diameter_mm"),
    Field("DataCollectionDiameter", "data_collection_diameter_mm"),
    Field("SingleCollimationWidth", "single_collimation_width_mm"),
    Field("TotalCollimationWidth", "total_collimation_width_mm"),
    Field("GantryDetectorTilt", "gantry_tilt_deg"),
    Field("KVP", "tube_voltage_kv"),
    Field("XRayTubeCurrent", "tube_current_ma"),
    Field("ExposureTime", "exposure_time_ms"),
    Field("Exposure", "exposure_mas"),
    Field("SpiralPitchFactor", "spiral_pitch_factor"),
    Field("BitsStored", "bits_stored"),
)
"""The allow-list: no dates, no UIDs, nothing about the patient, the site or the device's identity."""


def technical_fields(headers: Sequence[Values]) -> dict[str, object]:
    """Return the allow-listed fields on which all images of a series agree.

    ``headers`` holds the texts of the elements of each image, by keyword. The result has a value per key of
    :data:`FIELDS`, absent ones left out; ``varying`` and ``withheld`` name the keys whose values differ between
    images, and those whose value is not allowed.
    """
    patient = _patient_words(headers[0])
    found: dict[str, object] = {}
    varying, withheld = [], []
    for field in FIELDS:
        texts = {_text(header, field.attribute) for header in headers}
        if texts == {""}:
            continue
        if len(texts) > 1:
            varying.append(field.key)
            continue
        value = _allowed(field, texts.pop(), patient)
        if value is None:
            withheld.append(field.key)
        else:
            found[field.key] = value
    return {**found, "varying": sorted(varying), "withheld": sorted(withheld)}


def plain_name(header: Values, attribute: str) -> str:
    """Return a maker, model or kernel if it may be shown; empty if missing or not allowed."""
    value = _allowed(Field(attribute, "", is_name=True), _text(header, attribute), _patient_words(header))
    return "" if value is None else str(value)


def _text(values: Values, attribute: str) -> str:
    """Return the value, several joined by a slash; a broken one counts as missing."""
    return "/".join(values.get(attribute) or ())


def _allowed(field: Field, text: str, patient: frozenset[str]) -> str | float | None:
    if field.terms is not None:
        return text if text in field.terms else None
    if field.is_name:
        plain = NAME.fullmatch(text) and not LONG_NUMBER.search(text)
        return text if plain and not any(word in text.lower() for word in patient) else None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _patient_words(header: Values) -> frozenset[str]:
    words = " ".join(_text(header, name) for name in PATIENT_FIELDS).lower()
    return frozenset(w for w in re.findall(r"[^\W_]+", words) if len(w) >= SHORTEST_WORD)
