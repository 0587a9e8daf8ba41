"""Export the vessel maps of a build as DICOM segmentations of the source series, for one's own viewer or archive.

A segmentation belongs to the patient and the study of its series, and carries their identifiers (PS3.3, A.51). So it is
no part of a release, whose search for identifiers would refuse it.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.build.jobs import BuildFiles
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.provenance import provenance_path
from lcsd.errors import BadInputError, LcsdError
from lcsd.geometry import RigidTransform
from lcsd.io.files import atomic_path, read_json
from lcsd.io.images import Image, read_image, read_rigid
from lcsd.release.layout import CHECKSUMS_NAME, SCAN_NUMBER
from lcsd.scans.dicom import quiet_pydicom, read_folder
from lcsd.settings.convert import ConvertSettings

VESSELS = (("vessels", "BloodVessel"),)
ARTERIES_VEINS = (("arteries", "PulmonaryArtery"), ("veins", "PulmonaryVein"))
"""Label and SNOMED CT type of each segment: of a map with one value, and of one with two."""

NETWORK = "totalsegmentator"
"""Backend that is a network; the other one is a filter."""

MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
"""Elements of type 2, which DICOM wants in each image, with or without a value."""

NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID")

SAME_SCAN_MM = 1.0
"""Distance of corners; positions of slices are rounded, and a scan may differ by 0.1 mm from each."""

SERIES_NUMBER = 900
"""A high number, so that viewers list the segmentation after the scans."""


def export_dicom_seg(
    results: Path,
    manifest: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    progress: Callable[[list[Pair]], Iterable[Pair]] = lambda pairs: pairs,
) -> list[Path]:
    """Write ``CASE_fixed.dcm`` and ``CASE_moving.dcm`` for each case with vessel maps, or those of ``only``.

    The masks lie on the slices of the source series: each pixel takes the voxel of the map in which its centre is;
    those of the follow-up go through the rigid alignment. Raises ``BadInputError``: ``missing_package``,
    ``unknown_case``, ``inside_release``, ``no_source_series`` (the source is no DICOM series of single images on this
    machine), ``another_scan`` (it is not the scan that was built), and those of :func:`~lcsd.scans.dicom.read_folder`.
    """
    _check_place(out)
    _highdicom()
    pairs = {pair.case: pair for pair in read_pairs(manifest)}
    files = BuildFiles(results)
    wanted = list(only) or [case for case in pairs if files.case(case).vessels("moving").is_file()]
    lacking = [case for case in wanted if case not in pairs or not files.case(case).vessels("moving").is_file()]
    if lacking or not wanted:
        raise BadInputError(
            "no such case with vessel maps", code="unknown_case", file=manifest, found=", ".join(lacking[:5]) or None
        )
    written = []
    for pair in progress([pairs[case] for case in wanted]):
        case = files.case(pair.case)
        for scan in SCAN_NUMBER:
            source, series = (getattr(pair, f"{scan}_{name}") for name in ("source", "series"))
            rigid = read_rigid(case.rigid) if scan == "moving" else RigidTransform.identity()
            path = out / f"{pair.case}_{scan}.dcm"
            images = source_images(Path(source), series, case=pair.case)
            _check_same_scan(images, case.scan(scan), case=pair.case)
            with quiet_pydicom(), atomic_path(path) as temporary:
                vessels = read_image(case.vessels(scan))
                segments = VESSELS if vessels.array.max(initial=0) < 2 else ARTERIES_VEINS
                labels = on_slices(images, vessels, rigid)
                try:
                    data = segmentation(images, labels, segments, backend=_backend(case.vessels(scan)))
                except (AttributeError, TypeError, ValueError) as error:
                    # The text may name the patient.
                    raise _no_series(pair.case, f"headers that highdicom refuses ({type(error).__name__})") from error
                data.save_as(temporary, enforce_file_format=True)
            written.append(path)
    return written


def _check_place(out: Path) -> None:
    release = next((place for place in (out, *out.resolve().parents) if (place / CHECKSUMS_NAME).exists()), None)
    if release is not None:
        raise BadInputError(
            "the folder belongs to a release, and these files name the patient",
            code="inside_release",
            file=out,
            remedy="name a folder elsewhere",
        )


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise BadInputError(
            "the package highdicom is not installed",
            code="missing_package",
            field="highdicom",
            remedy="pip install 'lcsd[dicomseg]'",
        ) from error
    return highdicom


def source_images(source: Path, series: str | None, *, case: str) -> list[Any]:
    """Return the images of a CT series, without pixels, in the order of their positions along the stack."""
    import pydicom

    try:
        found = read_folder(source, series_uid=series, min_slices=ConvertSettings().min_slices)
    except (LcsdError, FileNotFoundError) as error:
        why = error.what if isinstance(error, LcsdError) else "folder not found"
        raise _no_series(case, f"{why} ({source})") from error
    with quiet_pydicom():
        images = [pydicom.dcmread(header.path, stop_before_pixels=True) for header in found.headers]
    if any("ImagePositionPatient" not in image or image.get("NumberOfFrames", 1) != 1 for image in images):
        raise _no_series(case, "images of several frames, or without a position")
    lacking = [name for name in NEEDED if not images[0].get(name)]
    if lacking:
        raise _no_series(case, f"images without {' and '.join(lacking)}")
    normal = np.cross(*np.reshape(np.asarray(images[0].ImageOrientationPatient, float), (2, 3)))
    heights = [float(np.asarray(image.ImagePositionPatient, float) @ normal) for image in images]
    step = float(np.median(np.diff(np.sort(heights)))) if len(images) > 1 else 1.0
    for image in images:
        _complete(image, step_mm=step)
    return [images[index] for index in np.argsort(heights)]


def _complete(image: Any, *, step_mm: float) -> None:
    """Give an image what DICOM wants of it: de-identified and exported files often lack elements."""
    from pydicom.valuerep import DA, TM

    for name in MAY_BE_EMPTY:
        value = image.get(name)
        kind: Callable[[Any], object] = DA if name.endswith("Date") else TM if name.endswith("Time") else str
        try:
            kind(value)
            valid = value is not None and (name != "PatientSex" or value in {"", "M", "F", "O"})
        except ValueError:
            valid = False
        if not valid:
            setattr(image, name, "")
    if not image.get("SliceThickness"):
        image.SliceThickness = f"{step_mm:.6g}"


def _no_series(case: str, found: str) -> BadInputError:
    return BadInputError(
        "a DICOM segmentation needs the DICOM series of the scan",
        code="no_source_series",
        field=case,
        expected="the folder of a CT series with one image for each slice, as source in the manifest",
        found=found,
    )


def _check_same_scan(images: Sequence[Any], scan: Path, *, case: str) -> None:
    """Refuse a series whose corners are not those of the scan that was built: of another manifest, or exchanged."""
    grid = read_image(scan).grid
    corners = []
    for image in (images[0], images[-1]):
        along_row, along_column = np.reshape(np.asarray(image.ImageOrientationPatient, float), (2, 3))
        down, right = (float(value) for value in image.PixelSpacing)
        ends = ((i, j) for i in (0, image.Columns - 1) for j in (0, image.Rows - 1))
        corners += [
            np.asarray(image.ImagePositionPatient, float) + i * right * along_row + j * down * along_column
            for i, j in ends
        ]
    apart = np.linalg.norm(grid.corners()[:, None] - np.array(corners)[None], axis=-1).min(axis=1).max()
    if apart > SAME_SCAN_MM or len(images) != grid.size[2]:
        raise BadInputError(
            "the source is not the scan that was built",
            code="another_scan",
            file=scan,
            field=case,
            expected=f"{grid.size[2]} slices at the places of this volume",
            found=f"{len(images)} slices, corners {apart:.1f} mm apart",
            remedy="name the manifest and the series of the build, or build the case again",
        )


def on_slices(images: Sequence[Any], vessels: Image, rigid: RigidTransform) -> NDArray[np.uint8]:
    """Return a vessel map (z, y, x) on the pixels of images, (image, row, column), uint8; 0 outside the map.

    ``rigid`` maps the map's space to that of the images. A pixel's centre is at ``position + column * spacing * row
    direction + row * spacing * column direction`` (PS3.3, C.7.6.2.1.1).
    """
    back, shape = rigid.inverse(), np.array(vessels.array.shape)
    found = np.zeros((len(images), images[0].Rows, images[0].Columns), np.uint8)
    for number, image in enumerate(images):
        along_row, along_column = np.reshape(np.asarray(image.ImageOrientationPatient, float), (2, 3))
        down, right = (float(value) for value in image.PixelSpacing)
        rows, columns = np.mgrid[: image.Rows, : image.Columns]
        points = np.asarray(image.ImagePositionPatient, float) + (
            columns[..., None] * right * along_row + rows[..., None] * down * along_column
        )
        voxels = np.rint(vessels.grid.world_to_voxel(back.apply(points))).astype(np.int64)[..., ::-1]
        within = ((voxels >= 0) & (voxels < shape)).all(axis=-1)
        found[number][within] = vessels.array[tuple(voxels[within].T)]
    return found


def _backend(vessels: Path) -> str | None:
    """Return the backend that made a vessel map; None for a map of the user's, or without provenance."""
    record = provenance_path(vessels)
    found = read_json(record) if record.exists() else {}
    given = "given" in found.get("inputs", {})
    backend = None if given else found.get("settings", {}).get("backend")
    return None if backend is None else str(backend)


def segmentation(
    images: Sequence[Any], labels: NDArray[np.uint8], segments: Sequence[tuple[str, str]], *, backend: str | None
) -> Any:
    """Return a DICOM SEG of images (binary), with a segment for each label; ``backend`` made the vessel map."""
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    highdicom = _highdicom()
    version = importlib.metadata.version("lcsd")
    family = codes.DCM.ArtificialIntelligence if backend == NETWORK else codes.DCM.NeighborhoodAnalysis
    method = highdicom.AlgorithmIdentificationSequence(f"lcsd {backend}", family, version)
    how = {"algorithm_type": "MANUAL"} if backend is None else {"algorithm_type": "AUTOMATIC"}
    how |= {} if backend is None else {"algorithm_identification": method}
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=np.stack([labels == number for number in range(1, len(segments) + 1)], axis=-1),
        segmentation_type="BINARY",
        segment_descriptions=[
            highdicom.seg.SegmentDescription(
                number, label, codes.SCT.AnatomicalStructure, getattr(codes.SCT, kind), **how
            )
            for number, (label, kind) in enumerate(segments, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="lcsd",
        manufacturer_model_name="lcsd",
        software_versions=version,
        device_serial_number="0",
        series_description="Lung vessels (lcsd)",
    )
