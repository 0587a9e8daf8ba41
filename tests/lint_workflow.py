"""Snakemake's linter, without one of its wishes: lcsd's rules name no conda environment and no container.

All commands come from the environment that runs Snakemake (docs/container.md). No channel of conda has lcsd and no
registry an image of it, so a rule that named one would promise a deployment that does not work.

Run: python -m tests.lint_workflow CONFIGURATION
"""

import re
import subprocess
import sys

NOT_WANTED = "Specify a conda environment or container for each rule."


def wishes(text: str) -> list[str]:
    """Return the linter's wishes that are not ``NOT_WANTED``, each with the rule or file that it is about."""
    found = []
    for part in text.split("Lints for ")[1:]:
        where, *items = re.split(r"^    \* ", part, flags=re.MULTILINE)
        found += [f"{where.strip()} {item.strip()}" for item in items if not item.startswith(NOT_WANTED)]
    return found


def main() -> int:
    command = [sys.executable, "-m", "snakemake", "--lint", "--configfile", sys.argv[1]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    # Its exit code is 1 for any wish, and for a workflow that cannot be read.
    left = wishes(run.stderr) if "Lints for " in run.stderr else [run.stderr] * run.returncode
    sys.stderr.write("\n".join(left))
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
