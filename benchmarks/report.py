"""Seconds of ``lcsd report`` and the size of its overview for many cases: those of a build under many names.

The files of the new cases are hard links, or copies where there can be none; the folder of the build is left as it is.
Run: python -m benchmarks.report RESULTS [CASES ...] [--pages PAGES]
"""

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import cost_of

LCSD = (sys.executable, "-c", "from lcsd.cli.main import main; main()")


def linked(source: str, target: str) -> None:
    """Link a file, or copy it to another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def multiplied(results: Path, folder: Path, count: int) -> Path:
    """Write the results of a build with ``count`` cases, those of ``results`` in turn, into a new folder."""
    found = sorted(path for path in (results / "cases").iterdir() if path.is_dir())
    for number, case in enumerate(itertools.islice(itertools.cycle(found), count)):
        shutil.copytree(case, folder / "cases" / f"case-{number:04d}", copy_function=linked)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("cases", type=int, nargs="*", default=[550])
    parser.add_argument("--pages", type=int, help="pages of cases; default: that of the setting")
    arguments = parser.parse_args()
    pages = [] if arguments.pages is None else ["--pages", str(arguments.pages)]
    for count in arguments.cases:
        # Beside the build, so that links are possible.
        with tempfile.TemporaryDirectory(dir=arguments.results.parent) as name:
            made = multiplied(arguments.results, Path(name), count)
            cost = cost_of([*LCSD, "report", str(made), *pages])
            overview = (made / "report" / "index.html").stat().st_size / 1e6
            print(
                f"{count} cases: {cost.seconds:.0f} s, {cost.cpu_s:.0f} CPU s, {cost.mib:.0f} MiB, "
                f"overview {overview:.2f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
