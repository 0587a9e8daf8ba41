"""Seconds and memory of every stage of a build, from its provenance, as a Markdown table.

Run: python benchmarks/stages.py demo/results
"""

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.io.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    found = defaultdict(list)
    for path in sorted((arguments.results / "cases").rglob(f"*{PROVENANCE_SUFFIX}")):
        record = read_json(path)
        found[record["stage"]].append((record["wall_s"], record["peak_memory_gib"]))
    print("| stage | jobs | median s | max s | sum s | peak GiB |")
    print("|---|---:|---:|---:|---:|---:|")
    for stage, figures in found.items():
        seconds = [s for s, _ in figures]
        memory = max(m for _, m in figures)
        print(
            f"| {stage} | {len(figures)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} "
            f"| {sum(seconds):.0f} | {memory:.2f} |"
        )


if __name__ == "__main__":
    main()
