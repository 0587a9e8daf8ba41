"""How far off ``lcsd estimate`` is: a build of three times the cases, estimated and real.

Makes tiny phantom cases, builds the first ones, estimates the build of three times as many others
from that, builds them, too, and prints both. Ends with 1 if they differ by more than 30 %.
Run: python -m benchmarks.estimate [CASES]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.tables import write_rows
from lcsd.estimate.estimate import Estimate, estimate
from lcsd.estimate.measures import Measures, read_measures
from lcsd.estimate.profile import WORKSTATION, read_profile
from lcsd.estimate.question import Options, ask
from lcsd.phantom.phantom import write_cases, write_manifest
from lcsd.settings.estimate import EstimateSettings

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "workflow" / "tiny.yaml"
CORES = 2
TIMES = 3
MOST_OFF = 0.3


def build(folder: Path, cases: int, seed: int) -> tuple[float, Path]:
    """Make and build tiny cases; return the seconds of the build and its results."""
    rows = write_cases(folder / "cohort", cases=cases, seed=seed, size="tiny", file_format="nifti")
    manifest = write_manifest(folder / "cohort", list(rows))
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"manifest": str(manifest)}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", str(CORES)]
    command += ["--directory", str(folder), "--profile", str(WORKSTATION), "--configfile", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start, folder / "results"


def predict(measures: Measures, cases: int) -> Estimate:
    """Estimate a build on this machine; its last case has landmarks."""
    settings, profile = EstimateSettings(), read_profile()
    options = Options(cores=CORES, pairs=cases, landmarks=1)
    asked = ask(options, config=None, profile=profile, measures=measures, settings=settings)
    return estimate(measures, asked, profile=profile, settings=settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int, nargs="?", default=4)
    few = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first_s, results = build(folder / "few", few, seed=0)
        measures = read_measures(results)
        found = {cases: predict(measures, cases) for cases in (few, TIMES * few)}
        second_s, many = build(folder / "many", TIMES * few, seed=1)
        bytes_gb = sum(path.stat().st_size for path in many.rglob("*") if path.is_file()) / 1e9
    rows = [
        {
            "cases": cases,
            "estimated_s": 3600 * found[cases].hours.middle,
            "low_s": 3600 * (found[cases].hours.low or float("nan")),
            "high_s": 3600 * (found[cases].hours.high or float("nan")),
            "real_s": real_s,
            "estimated_over_real": 3600 * found[cases].hours.middle / real_s,
            "load": os.getloadavg()[0],
        }
        for cases, real_s in ((few, first_s), (TIMES * few, second_s))
    ]
    write_rows("measurements/estimate", rows)
    disk = found[TIMES * few].disk_gb
    print(f"disk of {TIMES * few} cases: {disk:.4g} GB estimated, {bytes_gb:.4g} GB real")
    if abs(rows[-1]["estimated_over_real"] - 1) > MOST_OFF:
        sys.exit(1)


if __name__ == "__main__":
    main()
