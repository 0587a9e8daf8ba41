"""``lcsd release``: the publishable dataset of a build."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.settings.release import ReleaseSettings


@click.command(epilog="Example: lcsd release results --set source=nlst")
@click.argument("results", type=FILE)
@click.argument("out", type=FILE, required=False)
@click.option("--manifest", type=FILE, help="Manifest of the build.  [default: the one with which it was built]")
@click.option("--images", is_flag=True, help="Also publish the CT scans; short for --set images=true.")
@click.option(
    "--replace", is_flag=True, help="Replace an earlier release OUT and OUT.zip once the new one is complete."
)
@stage("release", ReleaseSettings, seeded=True, shortcuts={"images": "images=true"})
def command(run: Run[ReleaseSettings], results: Path, out: Path | None, manifest: Path | None, replace: bool) -> None:
    """Write the publishable dataset of the build RESULTS into the folder OUT and OUT.zip.

    OUT is RESULTS/release by default and must be absent or empty. Cases that were rejected,
    discarded or flagged by a gate, or are not finished are left out and counted. Every file is searched for
    identifiers; if one is found, nothing is published.
    """
    from lcsd.release.choice import manifest_of
    from lcsd.release.release import write_release

    out = out or results / "release"
    manifest = manifest_of(results, manifest)
    done = write_release(
        results,
        manifest,
        out,
        run.settings,
        seed=run.seed,
        replace=replace,
        progress=lambda cases: run.progress(cases, label="cases", total=len(cases), unit="case"),
    )
    for problem in done.problems:
        run.warn(f"{problem.line()}; the case is left out")
    if done.gates:
        run.warn(done.gates)
    if done.too_short:
        run.warn(f"{done.too_short} names of cases or patients are too short to search for; check them yourself")
    run.done(
        out,
        inputs={"manifest": manifest},
        result={
            "archive": str(done.archive) if done.archive else "none",
            "train": done.train,
            "test": done.test,
            "left_out": done.left_out,
            "files": done.files,
            "size_mb": round(done.size_bytes / 1e6, 3),
            "identifiers_searched": done.identifiers,
        },
    )
