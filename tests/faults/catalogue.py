"""The catalogue of faults, and its table for ``docs/faults.md``."""

from tests.faults.fault import Fault
from tests.faults.hostile import HOSTILE
from tests.faults.scans import SCANS
from tests.faults.stages import STAGES
from tests.faults.system import SYSTEM

KINDS = ("DICOM", "NIfTI", "geometry", "stage", "system", "hostile")

FAULTS: tuple[Fault, ...] = tuple(
    sorted((*SCANS, *STAGES, *SYSTEM, *HOSTILE), key=lambda fault: KINDS.index(fault.kind))
)


def markdown() -> str:
    """Return the catalogue as a table of Markdown."""
    rows = [("class", "fault", "cause", "command", "exit", "reason code")]
    rows.append(("---",) * len(rows[0]))
    for fault in FAULTS:
        code = f"`{fault.code}`" if fault.code else "none"
        command = f"`lcsd {fault.command}`"
        rows.append((fault.kind, f"`{fault.name}`", fault.how, command, str(fault.exit_code), code))
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines) + "\n"
