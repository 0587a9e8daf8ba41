"""Seconds and memory of every stage of a build, from its provenance, as a Markdown table.

Run: python benchmarks/stages.py demo/results
"""

import argparse
from pathlib import Path

import pandas as pd

from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.io.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    files = sorted((arguments.results / "cases").rglob(f"*{PROVENANCE_SUFFIX}"))
    records = pd.DataFrame(map(read_json, files))
    print("| stage | jobs | median s | max s | sum s | peak GiB |")
    print("|---|---:|---:|---:|---:|---:|")
    for stage, jobs in records.groupby("stage", sort=False):
        median_s, max_s, sum_s = jobs.wall_s.agg(["median", "max", "sum"])
        memory = jobs.peak_memory_gib.max()
        print(f"| {stage} | {len(jobs)} | {median_s:.1f} | {max_s:.1f} | {sum_s:.0f} | {memory:.2f} |")


if __name__ == "__main__":
    main()
