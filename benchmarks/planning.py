"""Seconds and memory of planning a build (``snakemake -n``), against a bare chain of ten rules.

Sources are series of the IDC, so no input file exists yet: every job of every case is planned.
Run: python -m benchmarks.planning [PAIRS ...]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import Cost, cost_of, write_rows
from lcsd.build.pairs import REQUIRED

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"
CHAIN_LENGTH = 10
MIB_PER_GIB = 1024


def write_manifest(path: Path, pairs: int) -> None:
    """Write a manifest of pairs of series that need not exist."""
    rows = [
        [f"case{n:05d}", f"p{n}", "train", f"1.2.826.0.1.{n}.1", f"1.2.826.0.1.{n}.2", "T0", "T1"] for n in range(pairs)
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in [REQUIRED, *rows]))


def write_chain(path: Path, cases: int) -> None:
    """Write a workflow of ten rules with one input and one output each: the least to be had."""
    rules = [f'rule all:\n    input: expand("c{{n}}/{CHAIN_LENGTH}", n=range({cases}))\n']
    for step in range(1, CHAIN_LENGTH + 1):
        source = f'    input: "c{{n}}/{step - 1}"\n' if step > 1 else ""
        rules.append(f'rule step{step}:\n{source}    output: "c{{n}}/{step}"\n    shell: "true"\n')
    path.write_text("\n".join(rules))


def plan(folder: Path, *arguments: str) -> Cost:
    """Return what a dry run that prints no job took."""
    return cost_of([sys.executable, "-m", "snakemake", "--dry-run", *arguments, "--quiet"], folder)


def measure(pairs: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder / "pairs.tsv", pairs)
        write_chain(folder / "chain.smk", pairs)
        chain_s = plan(folder, "--snakefile", "chain.smk").seconds
        config = ("--config", "manifest=pairs.tsv")
        seconds, _, mib = plan(folder, "--snakefile", str(SNAKEFILE), *config)
    return {
        "pairs": pairs,
        "seconds": seconds,
        "gib": mib / MIB_PER_GIB,
        "chain_seconds": chain_s,
        "ratio": seconds / chain_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=int, nargs="*", default=[550, 5000])
    write_rows("measurements/planning", [measure(pairs) for pairs in parser.parse_args().pairs])


if __name__ == "__main__":
    main()
