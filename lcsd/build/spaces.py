"""Which spaces the transforms of a build join, by the records next to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lcsd.build.provenance import OWN_DIGEST, PROVENANCE_SUFFIX, own_digest
from lcsd.errors import BadInputError, LcsdError
from lcsd.io.files import read_json, sha256

MOST_RECORDS = 50
"""Records in a folder that are read; a case has up to four in each."""

GRID_OF = {"register": "grid", "correspond": "fixed"}
"""Stages that write a field, and their input whose grid the field covers: the fixed scan on the common grid."""


class Step(NamedTuple):
    """What a record says of a transform."""

    file: Path
    kind: Literal["field", "rigid"]
    space: str  # SHA-256 of the fixed scan on the common grid, at which the transform begins
    images: Mapping[str, str]  # SHA-256 of all that the rigid step wrote


def _record_of(file: Path) -> dict[str, Any] | None:
    """Return the sound record that lists a file with its bytes; None without one."""
    digest = ""
    for path in sorted(file.parent.glob(f"*{PROVENANCE_SUFFIX}"))[:MOST_RECORDS]:
        try:
            content = read_json(path)
        except (LcsdError, OSError):
            continue
        outputs = content.get("outputs")
        if not isinstance(outputs, dict) or file.name not in outputs:
            continue
        digest = digest or sha256(file)
        if outputs[file.name] == digest and content.get(OWN_DIGEST) == own_digest(content):
            return content
    return None


def _step(file: Path) -> Step | None:
    record = _record_of(file)
    if record is None:
        return None
    outputs = record["outputs"]
    if record.get("stage") == "prealign" and "fixed.nii.gz" in outputs:
        return Step(file, "rigid", outputs["fixed.nii.gz"], outputs)
    grid = record.get("inputs", {}).get(GRID_OF.get(str(record.get("stage")), ""))
    return Step(file, "field", grid["sha256"], {}) if isinstance(grid, dict) and "sha256" in grid else None


def check_spaces(files: Sequence[Path], source: Path) -> None:
    """Refuse transforms of a build that do not lead from one to the next, as their records tell.

    ``files`` are in the order in which they move a point of the fixed scan: a field leads from the fixed to the moving
    scan on the common grid, the rigid step from there to the moving scan's own space. ``source`` is what is warped.
    Transforms without a record may lead from and to anywhere. Raises ``BadInputError``: ``wrong_order``,
    ``repeated_transform``, ``mixed_cases``, or ``warped_already`` for the moving scan on the common grid with the rigid
    step, which made it.
    """
    before: Step | None = None
    for file in files:
        step = _step(file)
        if step is not None and before is not None:
            _check_pair(before, step)
        if step is not None and step.kind == "rigid" and source.name in {"moving.nii.gz", "moving_mask.nii.gz"}:
            _check_source(step, source)
        before = step


def _check_pair(before: Step, step: Step) -> None:
    if before.space != step.space:
        if (before.kind, step.kind) == ("field", "rigid"):
            raise BadInputError(
                "the transforms belong to different cases",
                code="mixed_cases",
                file=step.file,
                field="--transform",
                expected=f"the rigid step of the case of {before.file}",
                remedy="give images/rigid.tfm of the same case",
            )
        return
    if (before.kind, step.kind) == ("rigid", "field"):
        raise BadInputError(
            "the field begins in the common space, which the rigid step before it leaves",
            code="wrong_order",
            file=step.file,
            field="--transform",
            expected=f"{step.file.name}, then {before.file.name}",
            found=f"{before.file.name}, then {step.file.name}",
            remedy="give the field first",
        )
    if before.kind == step.kind:
        raise BadInputError(
            f"both transforms are the {'motion' if step.kind == 'field' else 'rigid step'} of one case",
            code="repeated_transform",
            file=step.file,
            field="--transform",
            found=f"also {before.file}",
            remedy="give one of them",
        )


def _check_source(step: Step, source: Path) -> None:
    if source.is_file() and sha256(source) == step.images.get(source.name):
        raise BadInputError(
            "the image has gone through the rigid step already",
            code="warped_already",
            file=source,
            expected="the moving scan in its own space",
            found="the one on the common grid",
            remedy=f"leave out {step.file}",
        )
