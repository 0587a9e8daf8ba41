"""``lcsd gates``: plausibility of a pair of vessel masks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.settings.gates import GatesSettings


@click.command(
    epilog="Example: lcsd gates vessels/fixed.nii.gz vessels/moving.nii.gz "
    "--fixed-lungs fixed_mask.nii.gz --moving-lungs moving_mask.nii.gz --out gates.json"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@click.option("--fixed-lungs", type=FILE, required=True, help="Lung mask of the baseline.")
@click.option("--moving-lungs", type=FILE, required=True, help="Lung mask of the follow-up.")
@click.option("--out", type=FILE, required=True, help="Write the verdicts to this file (.json).")
@stage("gates", GatesSettings)
def command(run: Run[GatesSettings], *, out: Path, **inputs: Path) -> None:
    """Judge the vessel masks FIXED and MOVING of a pair (.nii.gz, each on the grid of its lung mask).

    A failed gate is a verdict, not an error: the exit code is 0, and statistics and releases leave
    the pair out.
    """
    from lcsd.io.files import write_json
    from lcsd.io.images import read_mask
    from lcsd.vessels.gates import judge, scan_figures

    figures = {
        name: scan_figures(read_mask(inputs[name], kind="vessels"), read_mask(inputs[f"{name}_lungs"]))
        for name in ("fixed", "moving")
    }
    gates = judge(figures, run.settings)
    write_json(out, {"stage": "gates", "figures": figures, "gates": gates})
    result: dict[str, object] = {f"{scan}_points": figures[scan]["points"] for scan in figures}
    result["failed"] = _named(gate for gate in gates if not gate["passed"])
    result["flagged"] = _named(gate for gate in gates if gate["flagged"])
    run.done(out, inputs=inputs, result=result)


def _named(gates: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{gate['name']} of {gate['of']}" for gate in gates) or "none"
