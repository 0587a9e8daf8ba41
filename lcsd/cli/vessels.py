"""``lcsd vessels``: vessel mask of a scan in the common grid, or of many."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, setting
from lcsd.errors import BadInputError, WorkError
from lcsd.settings.gates import GatesSettings
from lcsd.settings.vessels import VesselsSettings

if TYPE_CHECKING:
    from lcsd.vessels.vessels import VesselMaker


@click.command(epilog="Example: lcsd vessels fixed.nii.gz vessels.nii.gz --lungs fixed_mask.nii.gz")
@click.argument("image", type=FILE, required=False)
@click.argument("output", type=FILE, required=False)
@click.option("--lungs", type=FILE, help="Lung mask on the grid of IMAGE; required.")
@setting("--backend", VesselsSettings, "Method of the segmentation.")
@click.option(
    "--given",
    type=FILE,
    help="Resample this vessel map, in the scan's native space, to the grid instead of segmenting.",
)
@click.option("--rigid", type=FILE, help="With --given for a follow-up scan: rigid.tfm of the pre-alignment.")
@click.option(
    "--batch",
    type=FILE,
    help="Table (.tsv) of many scans, instead of IMAGE and OUTPUT: columns image, lungs, output and, optionally, "
    "rejected (record a failure of this scan in that file). Paths are relative to the table.",
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

    The backend totalsegmentator needs weights on this machine (see lcsd weights list). Only this
    backend uses --device. With --set 'totalsegmentator={task: lung_vessels}' OUTPUT holds arteries
    (1) and veins (2).

    With --batch LIST.tsv one process segments many scans and loads a model once. A scan that fails
    is reported and left out, and the exit code is 1. Outputs of the same files and settings are
    kept, so the same command resumes a batch. A failure that would stop every scan (weights, GPU,
    full disk) ends the batch.
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
                remedy=f"leave {name} out, or leave --batch out",
            )
        if batch is None and value is None and name in needed:
            raise BadInputError(
                "a file is missing from the call",
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
            remedy="also pass --given, or leave --rigid out",
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
    with vessel_maker(run.settings, on=run.compute) as maker:
        facts = {"backend": maker.known_facts}
        for number, job in enumerate(jobs, 1):
            with run.part(job.output, rejected=job.rejected):
                made = run.recorder.made(job.output, inputs={"image": job.image, "lungs": job.lungs}, facts=facts)
                run.say(f"{number} of {len(jobs)}: {job.output}{' exists already' if made else ''}")
                if not made:
                    _make(run, maker, job.image, job.lungs, job.output)
    if run.failed_parts:
        raise WorkError(
            "some scans failed, the others are done",
            code="batch_incomplete",
            file=batch,
            expected=f"{len(jobs)} scans",
            found=f"{len(jobs) - run.failed_parts}",
            remedy="see the lines above; the same command tries the failed scans again",
        )


def _put_on_grid(
    run: Run[VesselsSettings], image: Path, lungs: Path, output: Path, *, given: Path, rigid: Path | None
) -> None:
    from lcsd.io.images import read_image, read_mask, read_rigid, write_mask
    from lcsd.vessels.vessels import check_contrast, contrast_hu, given_vessels

    transform = read_rigid(rigid) if rigid is not None else None
    scan = read_image(image)
    mask = given_vessels(given, scan.grid, rigid=transform)
    contrast = contrast_hu(scan, mask, read_mask(lungs, like=scan.grid))
    check_contrast(contrast, file=given)
    usual = GatesSettings().vessel_contrast_hu.warn_below
    if usual is not None and contrast < usual:
        run.warn(
            f"{given} is only {contrast:.0f} HU denser than the lungs, usual are {usual:g} or more: it may be "
            "shifted by a few millimetres; the gate vessel_contrast_hu judges it"
        )
    write_mask(output, mask)
    inputs = {"image": image, "lungs": lungs, "given": given, "rigid": rigid}
    run.done(output, inputs=inputs, result={"given": str(given), "voxels": int((mask.array != 0).sum())})
