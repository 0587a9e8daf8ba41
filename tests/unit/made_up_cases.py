"""Cases of a build with all their files, as the stages leave them, but with texts in them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from lcsd import __version__
from lcsd.build.jobs import Job, case_jobs
from lcsd.build.plan import Build
from lcsd.build.provenance import Recorder
from lcsd.io.files import written_files
from lcsd.names import SCANS
from tests.unit.build.test_pairs import ROW
from tests.unit.build.test_pairs import write as write_pairs

BEGIN_S = 1_000_000_000
"""When the first job wrote its files; each next one did so a minute later."""


def make_build(folder: Path, *, cases: Iterable[str] = ("a", "b")) -> Build:
    """Write the sources and a manifest; the case ``b`` has landmarks. Nothing is built."""
    rows = []
    for case in cases:
        row = {**ROW, "case": case, "landmarks": "", "landmarks_frame": ""}
        for scan in SCANS:
            source = folder / f"{case}_{scan}.nii"
            source.write_text(f"{case} {scan}")
            os.utime(source, (0, 0))
            row[f"{scan}_source"] = source.name
        if case == "b":
            (folder / "b.csv").write_text("marks")
            os.utime(folder / "b.csv", (0, 0))
            row |= {"landmarks": "b.csv", "landmarks_frame": "native"}
        rows.append(row)
    manifest = write_pairs(folder / "pairs.tsv", *rows)
    (folder / "results").mkdir(exist_ok=True)
    return Build.from_config({"manifest": str(manifest), "results": str(folder / "results")})


def jobs_of(build: Build, case: str) -> list[Job]:
    return case_jobs(case, scored=build.pair(case).landmarks is not None)


def make_job(build: Build, job: Job, *, at_s: float = BEGIN_S, text: str = "made") -> None:
    """Write the files of a job and its provenance, as its command would."""
    results = Path(build.results)
    pair = build.pair(job.case)
    section = getattr(build.config, job.stage).model_dump(mode="json")
    settings = {**section, "threads": 2, "device": "cpu", "seed": 0}
    for number, record in enumerate(job.records):
        scan = SCANS[number]
        inputs = {path.replace("/", "_"): results / path for path in job.inputs}
        if job.stage == "convert":
            inputs = {"source": Path(getattr(pair, f"{scan}_source"))}
            settings["fetch"] = {"retries": 4}
        if job.stage == "evaluate":
            assert pair.landmarks is not None
            inputs["landmarks"] = pair.landmarks
        own = (record,) if len(job.records) > 1 else job.outputs
        with written_files() as written:
            for path in own:
                (results / path).parent.mkdir(parents=True, exist_ok=True)
                # The state of a case depends on what these hold.
                judged = {"gates": [], "tre_mean_mm": 1.0, "text": text}
                (results / path).write_text(json.dumps(judged) if path.endswith(".json") else f"{text} {path}")
                written.append(results / path)
            recorder = Recorder(job.stage, settings, written=written)
            if job.stage == "evaluate":
                recorder.fact("landmarks", {"frame": pair.landmarks_frame})
            if job.stage in ("correspond", "register"):
                recorder.fact("field", {"spacing_mm": build.config.workflow.field_mm})
            recorder.write(results / record, inputs=inputs)
    for path in job.outputs:
        os.utime(results / path, (at_s, at_s))
    log = results / job.log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"done {job.name}\n")


def make_case(build: Build, case: str) -> list[Job]:
    """Write all files of a case and return its jobs."""
    jobs = jobs_of(build, case)
    # 16 syncs and searches for versions of packages take a second, and change nothing here.
    with (
        mock.patch("lcsd.io.files.os.fsync"),
        mock.patch("lcsd.build.provenance._versions", return_value={"lcsd": __version__}),
    ):
        for number, job in enumerate(jobs):
            make_job(build, job, at_s=BEGIN_S + 60 * number)
    return jobs
