"""``lcsd vessels``: vessel mask of a scan in the common grid, or of many."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import FILE, Run, clear_rejection, record_rejection, say, stage
from lcsd.cli.failures import failures_named
from lcsd.errors import MACHINE_FAULTS, BadInputError, LcsdError, WorkError
from lcsd.settings.vessels import VesselsSettings

if TYPE_CHECKING:
    from lcsd.vessels.vessels import VesselMaker


@click.command(epilog="Example: lcsd vessels fixed.nii.gz vessels.nii.gz --lungs fixed_mask.nii.gz")
@click.argument("image", type=FILE, required=False)
@click.argument("output", type=FILE, required=False)
@click.option("--lungs", type=FILE, default=None, help="Lung mask on the grid of IMAGE; required.")
@click.option(
    "--backend",
    type=click.Choice(["objectness", "totalsegmentator"]),
    default=None,
    help="What segments; overrides the setting backend.",
)
@click.option(
    "--given",
    type=FILE,
    default=None,
    help="Your own vessel map in the scan's native space; it is put on the grid instead.",
)
@click.option(
    "--rigid", type=FILE, default=None, help="With --given for a follow-up scan: rigid.tfm of the pre-alignment."
)
@click.option(
    "--batch",
    type=FILE,
    default=None,
    help="Table (.tsv) with the columns image, lungs, output and, if wanted, rejected (where a "
    "failure of this scan is recorded); paths are relative to it. Instead of IMAGE and OUTPUT.",
)
@stage("vessels", VesselsSettings, on_device=True, shortcuts={"backend": "backend={}"})
def command(
    run: Run[VesselsSettings],
    *,
    image: Path | None,
    output: Path | None,
    lungs: Path | None,
    given: Path | None,
    rigid: Path | None,
    batch: Path | None,
) -> None:
    """Segment the vessels inside the lungs of IMAGE (.nii.gz, HU, common grid) into OUTPUT.

    The backend totalsegmentator needs weights on this machine (see lcsd weights list); --device
    is for it. With --set 'totalsegmentator={task: lung_vessels}' OUTPUT holds arteries (1) and
    veins (2).

    With --batch LIST.tsv one process does many scans and loads a model once. A scan that fails is
    named and left out, the others are made, and the command ends with 1. What was made of the same
    files and settings before is kept, so the same command goes on where it was ended. What would
    stop every scan (weights, the GPU, a full disk) ends the batch.
    """
    needed = {"IMAGE": image, "OUTPUT": output, "--lungs": lungs}
    _check_usage(batch, needed, {"--given": given, "--rigid": rigid})
    if batch is not None:
        _make_all(run, batch)
    elif image is not None and output is not None and lungs is not None:
        if given is None:
            from lcsd.vessels.vessels import vessel_maker

            with vessel_maker(run.settings, on=run.compute) as maker:
                _make(run, maker, image, lungs, output)
        else:
            _put_on_grid(run, image, lungs, output, given=given, rigid=rigid)


def _check_usage(batch: Path | None, needed: Mapping[str, Path | None], optional: Mapping[str, Path | None]) -> None:
    """Refuse options that do not go together; ``optional``: --given and --rigid."""
    for name, value in {**needed, **optional}.items():
        if batch is not None and value is not None:
            raise BadInputError(
                "--batch names all files itself",
                code="bad_usage",
                field=name,
                remedy="leave it out, or leave --batch out",
            )
        if batch is None and value is None and name in needed:
            raise BadInputError(
                "no file is named",
                code="bad_usage",
                field=name,
                expected="IMAGE OUTPUT --lungs MASK, or --batch LIST",
                remedy="see lcsd vessels --help",
            )
    if optional["--rigid"] is not None and optional["--given"] is None:
        raise BadInputError(
            "--rigid moves a given vessel map",
            code="bad_usage",
            field="--rigid",
            remedy="give --given too, or leave --rigid out",
        )


def _make(run: Run[VesselsSettings], maker: "VesselMaker", image: Path, lungs: Path, output: Path) -> None:
    from lcsd.io.images import read_image, read_mask, write_mask

    scan = read_image(image)
    found = maker.make(scan, read_mask(lungs, like=scan.grid), file=image)
    write_mask(output, found.mask)
    run.recorder.fact("backend", found.facts)
    result = {
        "backend": run.settings.backend,
        "cut_voxels": found.cut_voxels,
        "voxels": int((found.mask.array != 0).sum()),
    }
    run.done(output, inputs={"image": image, "lungs": lungs}, result=result)


def _make_all(run: Run[VesselsSettings], batch: Path) -> None:
    from lcsd.vessels.batch import read_list
    from lcsd.vessels.vessels import vessel_maker

    jobs = read_list(batch)
    failed = 0
    with vessel_maker(run.settings, on=run.compute) as maker:
        facts = {"backend": maker.known_facts}
        for number, job in enumerate(jobs, 1):
            run.begin()
            inputs = {"image": job.image, "lungs": job.lungs}
            try:
                with failures_named():
                    made = run.recorder.made(job.output, inputs=inputs, facts=facts)
                    there = " is there already" if made else ""
                    say(f"lcsd vessels: {number} of {len(jobs)}: {job.output}{there}")
                    if not made:
                        _make(run, maker, job.image, job.lungs, job.output)
            except LcsdError as error:
                if error.code in MACHINE_FAULTS:
                    raise
                failed += 1
                say(f"lcsd vessels: error: {error.message}")
                record_rejection(job.rejected, stage=run.stage, target=job.output, error=error)
            else:
                clear_rejection(job.rejected, stage=run.stage, target=job.output)
    if failed:
        raise WorkError(
            "some scans failed, the others are made",
            code="batch_incomplete",
            file=batch,
            expected=f"{len(jobs)} scans",
            found=f"{len(jobs) - failed}",
            remedy="see the lines above; the same command goes on with those",
        )


def _put_on_grid(
    run: Run[VesselsSettings], image: Path, lungs: Path, output: Path, *, given: Path, rigid: Path | None
) -> None:
    from lcsd.io.images import read_image, read_rigid, write_mask
    from lcsd.vessels.vessels import given_vessels

    transform = read_rigid(rigid) if rigid is not None else None
    mask = given_vessels(given, read_image(image).grid, rigid=transform)
    write_mask(output, mask)
    inputs = {"image": image, "lungs": lungs, "given": given}
    inputs |= {"rigid": rigid} if rigid is not None else {}
    voxels = int((mask.array != 0).sum())
    run.done(output, inputs=inputs, result={"given": str(given), "voxels": voxels})
