"""``lcsd export``: results of a build in the form that others take."""

from pathlib import Path

import click

from lcsd.build.jobs import METHODS
from lcsd.cli.common import Shown, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE
from lcsd.numerics.device import progress_bar


def _names(cases: str | None) -> list[str]:
    return [] if cases is None else [name.strip() for name in cases.split(",")]


@click.group(epilog="Example: lcsd export learn2reg results submission.zip")
def command() -> None:
    """Write results of a build for a challenge, or for a DICOM viewer (docs/release.md)."""


@command.command(epilog="Example: lcsd export learn2reg results submission.zip --method corrfield")
@click.argument("results", type=FILE)
@click.argument("out", type=FILE)
@click.option(
    "--method", type=click.Choice([*METHODS]), default="divroc", show_default=True, help="Method whose fields to take."
)
@click.option("--cases", help="Cases to export, separated by commas.  [default: all with the role test]")
@click.option("--manifest", type=FILE, help="Manifest of the build.  [default: the one with which it was built]")
@tool("export")
def learn2reg(*, results: Path, out: Path, method: str, cases: str | None, manifest: Path | None) -> Shown:
    """Write the fields of the build RESULTS as a submission to Learn2Reg, the zip OUT.

    It holds disp_FFFF_MMMM.nii.gz for each test case of a build of `lcsd import learn2reg`: displacements in
    voxels, float32, from the fixed to the moving image as they were imported.
    """
    from lcsd.release.choice import manifest_of
    from lcsd.release.export import export_learn2reg

    done = export_learn2reg(
        results,
        manifest_of(results, manifest),
        out,
        method=method,
        only=_names(cases),
        progress=lambda names: progress_bar(names, label="export", total=len(names), unit="case"),
    )
    text = f"{out}: {done['cases']} cases, {done['size_bytes'] / 1e6:.1f} MB"
    return Shown(text, {"output": str(out), "method": method, **done})


@command.command("dicom-seg", epilog="Example: lcsd export dicom-seg results segmentations --cases case-0001")
@click.argument("results", type=FILE)
@click.argument("out", type=FILE)
@click.option("--cases", help="Cases to export, separated by commas.  [default: all with vessel maps]")
@click.option("--manifest", type=FILE, help="Manifest of the build.  [default: the one with which it was built]")
@tool("export")
def dicom_seg(*, results: Path, out: Path, cases: str | None, manifest: Path | None) -> Shown:
    """Write the vessel maps of the build RESULTS as DICOM segmentations into the folder OUT.

    CASE_fixed.dcm and CASE_moving.dcm lie on the slices of the source series, which must be DICOM. They
    carry its patient and study, so a release never has them. Needs pip install 'lcsd[dicomseg]'.
    """
    from lcsd.release.choice import manifest_of
    from lcsd.release.dicom_seg import export_dicom_seg

    say("lcsd export: these files name the patient and the study of the source series; do not publish them")
    written = export_dicom_seg(
        results,
        manifest_of(results, manifest),
        out,
        only=_names(cases),
        progress=lambda pairs: progress_bar(pairs, label="export", total=len(pairs), unit="case"),
    )
    return Shown("\n".join(map(str, written)), {"output": [str(path) for path in written]})
