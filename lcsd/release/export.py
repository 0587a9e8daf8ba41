"""Export the fields of a build as a submission to the Learn2Reg challenge: a zip of displacements in voxels."""

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lcsd.build.jobs import BuildFiles, CaseFiles
from lcsd.build.pairs import Pair, read_pairs
from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_field
from lcsd.io.files import atomic_path
from lcsd.io.images import is_image, read_image, read_rigid
from lcsd.release.archive import write_archive
from lcsd.transforms.learn2reg import VoxelDisplacements, disp_of, read_disp, write_disp

SHOWN = 5
"""Most cases in an error."""

_CASE = re.compile(r"[A-Za-z]\w*?((?:_\d{4})+)")


def submission_name(case: str) -> str:
    """Return the name of a case's file, such as ``disp_0001_0001.nii.gz`` for ``NLST_0001``.

    A case whose name has four numbers (patient and scan, fixed and moving) keeps all of them, unless both scans have
    the same number or are 0000 and 0001: so the challenge expects it. Raises ``BadInputError`` (``bad_case_name``) for
    other names.
    """
    found = _CASE.fullmatch(case)
    numbers = [] if found is None else found[1].split("_")[1:]
    if len(numbers) == 1:
        return f"disp_{numbers[0]}_{numbers[0]}.nii.gz"
    if len(numbers) != 4:
        raise BadInputError(
            "the challenge names files by four digits of each scan, which the name of the case does not give",
            code="bad_case_name",
            field=case,
            expected="a name such as NLST_0001 (lcsd import learn2reg)",
        )
    fixed, fixed_scan, moving, moving_scan = numbers
    if fixed_scan == moving_scan or (fixed_scan, moving_scan) == ("0000", "0001"):
        return f"disp_{fixed}_{moving}.nii.gz"
    return f"disp_{fixed}_{fixed_scan}_{moving}_{moving_scan}.nii.gz"


def chosen_pairs(results: Path, manifest: Path, method: str, *, only: Sequence[str] = ()) -> dict[str, Pair]:
    """Return the pairs of a submission by the name of their file: those of ``only``, or all with the role ``test``.

    Raises ``BadInputError`` if there is none or a name is unknown (``unknown_case``), two cases have the same file
    (``duplicate_name``), a name fits no file (``bad_case_name``), or cases have no field (``incomplete_submission``).
    """
    pairs = {pair.case: pair for pair in read_pairs(manifest)}
    wanted = list(only) or [case for case, pair in pairs.items() if pair.role == "test"]
    unknown = [case for case in wanted if case not in pairs]
    if unknown or not wanted:
        raise BadInputError(
            "no such case in the manifest" if unknown else "the manifest has no test case",
            code="unknown_case",
            file=manifest,
            found=", ".join(unknown[:SHOWN]) or None,
            remedy="name cases of the build with --cases",
        )
    chosen: dict[str, Pair] = {}
    for case in wanted:
        name = submission_name(case)
        if name in chosen:
            raise BadInputError(
                "two cases have the same file",
                code="duplicate_name",
                field=name,
                found=f"{chosen[name].case} and {case}",
                remedy="export one task at a time (--cases)",
            )
        chosen[name] = pairs[case]
    files = BuildFiles(results)
    lacking = [pair.case for pair in chosen.values() if not _is_done(files.case(pair.case), method)]
    if lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        raise BadInputError(
            "a submission needs every case, and some have no result",
            code="incomplete_submission",
            field=f"--method {method}",
            found=f"no field of {', '.join(lacking[:SHOWN])}{more}",
            remedy="finish the build (lcsd status), or name cases with --cases",
        )
    return chosen


def _is_done(files: CaseFiles, method: str) -> bool:
    return files.rigid.is_file() and files.field(method).is_file()


def voxel_displacements(pair: Pair, files: CaseFiles, method: str) -> VoxelDisplacements:
    """Return a case's motion from voxels of its fixed image to voxels of its moving image, as both were given.

    The field and then the rigid transform carry a voxel of the fixed image. Beyond the field, its value at the nearest
    face. Raises ``BadInputError`` (``not_a_volume``) if a source is no volume, and for broken files.
    """
    fixed, moving = (_grid_of(source, pair.case) for source in (pair.fixed_source, pair.moving_source))
    field, rigid = read_field(files.field(method)).on(fixed), read_rigid(files.rigid)
    vectors = np.empty_like(field.vectors)
    for z, points in fixed.planes():
        vectors[z] = rigid.apply(points + field.vectors[z]) - points
    return disp_of(DisplacementField(vectors, fixed), moving)


def _grid_of(source: str, case: str) -> Grid:
    if not is_image(Path(source)):
        raise BadInputError(
            "the challenge counts voxels of an image, and the source of the case is none",
            code="not_a_volume",
            file=Path(source),
            field=case,
            expected="a volume (.nii.gz)",
        )
    return read_image(Path(source)).grid


def export_learn2reg(
    results: Path,
    manifest: Path,
    out: Path,
    *,
    method: str,
    only: Sequence[str] = (),
    progress: Callable[[list[str]], Iterable[str]] = lambda names: names,
) -> dict[str, int]:
    """Write the fields of a build as one zip; return the number of cases and of bytes.

    Every file is read back and compared before it is packed. Equal builds give equal bytes. Raises ``BadInputError`` as
    :func:`chosen_pairs` and :func:`voxel_displacements`.
    """
    if out.suffix.lower() != ".zip":
        raise BadInputError("a submission is a zip", code="bad_suffix", file=out, expected="a name ending in .zip")
    chosen = chosen_pairs(results, manifest, method, only=only)
    with atomic_path(out) as temporary, tempfile.TemporaryDirectory(dir=out.parent, prefix=".lcsd-") as scratch:
        for name in progress(sorted(chosen)):
            pair = chosen[name]
            disp = voxel_displacements(pair, BuildFiles(results).case(pair.case), method)
            write_disp(Path(scratch) / name, disp)
            _check_same(Path(scratch) / name, disp)
        write_archive(temporary, Path(scratch), chosen, root=None)
    return {"cases": len(chosen), "size_bytes": out.stat().st_size}


def _check_same(path: Path, disp: VoxelDisplacements) -> None:
    """Read a written field back, as ``lcsd evaluate --disp`` does; raise ``WorkError`` if it is another one."""
    again = read_disp(path)
    if not (again.fixed.same_as(disp.fixed) and np.array_equal(again.vectors, disp.vectors)):
        raise WorkError("the written field reads as another one", code="bad_output", file=path)
