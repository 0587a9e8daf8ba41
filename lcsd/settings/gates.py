"""Settings of the gates: which scans, lungs, alignments, vessel masks and registrations of a pair are plausible."""

from typing import ClassVar

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

LCSD500 = {"dense": (25_400, 132_300, 72_600), "sparse": (9_000, 22_000, 11_300), "corrfield": (1_100, 3_600, 2_100)}
"""Points per cloud, minimum, maximum and mean: Heinrich et al., ICCV 2023, supplement, Table 1."""


class Limits(Settings):
    """Limits of one figure; null is no limit."""

    one_line: ClassVar[bool] = True

    min: float | None = Field(None, description="the pair is discarded below this")
    warn_below: float | None = Field(None, description="the pair is flagged for review below this")
    warn_above: float | None = Field(None, description="the pair is flagged for review above this")
    max: float | None = Field(None, description="the pair is discarded above this")

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        given = [value for value in (self.min, self.warn_below, self.warn_above, self.max) if value is not None]
        if given != sorted(given):
            raise ValueError("limits must rise: min <= warn_below <= warn_above <= max")
        return self


class ScanGates(Settings):
    """Scans of one person, each of one acquisition with its slices in order."""

    person: Limits = Field(
        Limits(warn_above=0.0, max=1.0),
        description="elements of both DICOM headers that name different people (PatientID, PatientSex, "
        "PatientBirthDate), count; a number alone may have been issued anew",
    )
    seam: Limits = Field(
        Limits(warn_above=2.0),
        description="largest difference of two neighbouring slices over the usual one around them, ratio; two chests "
        "1.4, phantoms 1.3, put together 18 mm off 2.3 and more",
    )
    slice_order: Limits = Field(
        Limits(warn_above=1.1),
        description="largest difference of two neighbouring slices over that of one of them to the next but one, "
        "ratio; five scans of 2 to 3 mm at most 0.7, phantoms 0.8, two chests at 1 mm with noise of 60 HU 0.9; with "
        "two slices exchanged, near or far, at least 1.3, 1.1 and 1.1",
    )
    repeated_slices: Limits = Field(
        Limits(warn_above=0.0),
        description="slices with the very values of the slice before them, count; noise makes any two slices differ",
    )


class LungGates(Settings):
    """Plausible lungs, in the native scans."""

    lungs: Limits = Field(Limits(min=1, max=2), description="lungs in the mask of a scan, count")
    lung_volume_l: Limits = Field(
        Limits(min=1.0, warn_below=1.5, warn_above=9.0, max=10.0),
        description="volume of the lungs of a scan, litres; adults have 2 to 8",
    )
    lung_change: Limits = Field(
        Limits(min=0.25, warn_below=0.4),
        description="volume of a lung in the two scans, smaller to larger, of 1; 0 if one scan lacks it; full "
        "inspiration and expiration differ by about 0.5",
    )
    lung_balance_change: Limits = Field(
        Limits(min=0.6, warn_below=0.75),
        description="agreement of the two scans' ratios of right to left lung, smaller to larger, of 1; both lungs "
        "breathe alike, so less means that a part of one is missing",
    )
    lung_hu: Limits = Field(
        Limits(min=-980, warn_below=-950, warn_above=-600, max=-400),
        description="median of the scan inside the lungs, HU; about -850 in inspiration, -700 in expiration",
    )
    lung_sides_cm2: Limits = Field(
        Limits(warn_above=20.0, max=100.0),
        description="area of lung at the sides, front and back of the reconstructed field, square cm; a lung ends "
        "inside the body, a table's mat at the edge",
    )
    lung_ends_cm2: Limits = Field(
        Limits(warn_above=20.0),
        description="larger area of lung on the first or last slice, square cm; more means that a lung is cut off",
    )
    lung_level: Limits = Field(
        Limits(warn_below=0.8),
        description="height that both lungs of a scan have in common, of the height of both, of 1; two patients: 0.97 "
        "and 0.96, phantoms 0.86 to 0.98; less means that the upper or lower part of a lung is missing",
    )
    lung_outside: Limits = Field(
        Limits(warn_above=0.05, max=0.25),
        description="share of the lungs without body on both sides, of 1; two patients: 0, phantoms up to 0.02",
    )
    mask_misfit: Limits = Field(
        Limits(warn_above=0.03, max=0.12),
        description="given masks: share that is outside the lungs found in the scan while as much of these is next to "
        "it, of 1; experts' masks of four scans at most 0.02, shifted by 5 mm 0.03 to 0.07, by 20 mm 0.13 and more",
    )
    mask_excess: Limits = Field(
        Limits(warn_above=0.25),
        description="given masks: share outside the lungs found in the scan, of 1; experts' masks of four scans at "
        "most 0.05; dense parts of ill lungs are outside, too",
    )
    mask_missed: Limits = Field(
        Limits(warn_above=0.25),
        description="given masks: share of the lungs found in the scan that is outside the mask, of 1; experts' masks "
        "of four scans at most 0.02",
    )


class AlignmentGates(Settings):
    """A plausible rigid alignment."""

    rotation_deg: Limits = Field(
        Limits(warn_above=15.0, max=25.0), description="rotation of the follow-up, degrees; patients lie within 10"
    )
    shift_mm: Limits = Field(
        Limits(warn_above=30.0, max=60.0),
        description="distance between the centres of both lung masks after the alignment, mm",
    )
    dice: Limits = Field(
        Limits(min=0.4, warn_below=0.55),
        description="Dice coefficient of the aligned lung masks, of 1; 0.62 with a motion of 20 mm on average",
    )
    dice_change: Limits = Field(
        Limits(min=-0.1, warn_below=-0.02),
        description="what the alignment adds to the Dice coefficient of the centred lung masks, of 1; a fall means "
        "that the scans do not match",
    )
    matched: Limits = Field(
        Limits(min=0.2, warn_below=0.5),
        description="matches between the images that agree with one rigid motion, of 1; few do in scans of two people",
    )
    residual_mm: Limits = Field(
        Limits(warn_above=15.0, max=25.0), description="mean distance of the matches that the alignment leaves, mm"
    )


class VesselGates(Settings):
    """Plausible vessel masks."""

    points: Limits = Field(
        Limits(min=12_700, warn_below=LCSD500["dense"][0], warn_above=LCSD500["dense"][1], max=200_000),
        description="vessel voxels of a scan, count; the warnings are the range of LCSD500's dense clouds",
    )
    share: Limits = Field(
        Limits(min=0.01, warn_below=0.02, warn_above=0.1, max=0.2),
        description="volume of the vessels in each lung, of 1 (the lung's volume)",
    )
    balance: Limits = Field(
        Limits(min=0.4, warn_below=0.6), description="ratio of the smaller to the larger share of the two lungs, of 1"
    )
    inside: Limits = Field(Limits(min=0.8, warn_below=0.95), description="vessel voxels inside the lung mask, of 1")
    vessel_contrast_hu: Limits = Field(
        Limits(min=60.0, warn_below=150.0),
        description="median of the scan in the vessels less that in the lungs, HU; two public scans 271 and 369, tiny "
        "phantoms 600 and more; the same vessels shifted by 3 mm 104 to 216, by 10 mm at most 21",
    )
    largest: Limits = Field(
        Limits(min=0.02, warn_below=0.1),
        description="largest connected piece of the vessels, of 1; many small pieces are noise",
    )
    border: Limits = Field(
        Limits(warn_above=0.001, max=0.01),
        description="vessel voxels in the outermost layer of the grid, of 1; many mean that a lung is cut off",
    )
    ratio: Limits = Field(
        Limits(min=0.3, warn_below=0.4), description="ratio of the vessel voxels of the two scans, fewer to more, of 1"
    )


class RegistrationGates(Settings):
    """Plausible registrations by corrfield and by the clouds."""

    correspondences: Limits = Field(
        Limits(min=300, warn_below=800, warn_above=6_000),
        description="correspondences of corrfield, count; LCSD500 has 1,100 to 3,600",
    )
    survival: Limits = Field(
        Limits(min=0.6, warn_below=0.8),
        description="keypoints of corrfield's last stage that its check in both directions keeps, of 1",
    )
    folds: Limits = Field(
        Limits(warn_above=1.0, max=5.0), description="voxels of a field in the lungs that fold, percent"
    )
    disagreement_mm: Limits = Field(
        Limits(warn_above=3.0, max=6.0),
        description="mean distance between the fields of corrfield and of the clouds in the lungs, mm",
    )


class ResultGates(Settings):
    """A plausible result, where there are landmarks."""

    tre_change_mm: Limits = Field(
        Limits(warn_above=0.0, max=1.0),
        description="what a registration adds to the mean error at the landmarks, mm; above 0 it did harm",
    )


class GatesSettings(ResultGates, RegistrationGates, VesselGates, AlignmentGates, LungGates, ScanGates):
    """Plausible pairs: beyond min and max a case is discarded, beyond the warnings flagged; {} is off."""

    keep_flagged: bool = Field(
        False, description="keep flagged cases in statistics and release; failed ones are always left out"
    )


GATE_PARTS: dict[str, type[Settings]] = {
    "scans": ScanGates,
    "lungs": LungGates,
    "alignment": AlignmentGates,
    "vessel masks": VesselGates,
    "registration": RegistrationGates,
    "result": ResultGates,
}
"""What the gates judge, in the order of the pipeline, and the settings of each."""
