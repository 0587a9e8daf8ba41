"""Seconds of ``lcsd status`` beside the number of cases, of which seven in ten have begun.

The files of the cases are empty but for their provenance, which is a real one.
Run: python -m benchmarks.status [CASES ...]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.planning import write_manifest
from benchmarks.tables import cost_of, write_rows
from lcsd.build.jobs import INSIDE, METHODS
from lcsd.build.plan import Build
from lcsd.build.provenance import Recorder, provenance_path

BEGUN = 0.7

CONTENTS = {INSIDE.gates.name: '{"gates": []}'} | {
    INSIDE.evaluation(method).name: '{"tre_mean_mm": 1.0}' for method in METHODS
}
"""Content of the files that are read."""


def write_build(folder: Path, cases: int) -> Path:
    """Write the manifest and the files of a build that is under way; return its configuration."""
    manifest, results = folder / "pairs.tsv", folder / "results"
    write_manifest(manifest, cases)
    build = Build.from_config({"manifest": str(manifest), "results": str(results)})
    jobs = [job for job in build.jobs() if job.case]
    template = folder / "template.json"
    Recorder("convert", {}).write(template, inputs={})
    record = provenance_path(template).read_bytes()
    for job in jobs[: int(BEGUN * len(jobs))]:
        for name in (*job.outputs, job.log):
            path = results / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(CONTENTS.get(path.name, ""))
        for name in job.provenance():
            (results / name).write_bytes(record)
    config = folder / "config.yaml"
    config.write_text(f"manifest: {manifest}\nresults: {results}\n")
    return config


def measure(cases: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        config = write_build(Path(name), cases)
        files = sum(len(names) for _, _, names in os.walk(name))
        code = "from lcsd.cli.main import main; main()"
        command = [sys.executable, "-c", code, "status", "--config", str(config)]
        cost = min(cost_of(command) for _ in range(3))
    return {"cases": cases, "files": files, **cost._asdict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int, nargs="*", default=[500, 5000])
    write_rows("measurements/status", [measure(cases) for cases in parser.parse_args().cases])


if __name__ == "__main__":
    main()
