"""Our methods and other programs on the same scored cases: the tables of docs/benchmarks.md.

Run: python -m benchmarks.field [NAME=RESULTS ...] [--method elastix ...]

RESULTS is the folder of a finished build whose cases have landmarks. Without any, the demo's is taken, and builds of
real lungs are made if the environment variable LCSD_REAL_DATA names their folder. Each method registers the prealigned
scans of each case (lcsd register-images), is scored at its landmarks (lcsd evaluate), and all are compared (lcsd
compare). What is there already is not made again; a method that fails is named and left out. The page says how each
build is made.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from benchmarks.divroc.real_motion import DATA_VARIABLE
from benchmarks.field_builds import real_builds
from lcsd.build.jobs import METHODS, BuildFiles, CaseFiles
from lcsd.evaluation.compare import compare_rows, markdown
from lcsd.evaluation.runs import common_cases, read_rows
from lcsd.io.files import read_json, write_text
from lcsd.names import ImageMethod
from lcsd.settings.compare import CompareSettings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
MARK = "<!-- python -m benchmarks.field writes what follows -->\n"
PRESENT = ("convexadam", "elastix", "ants")
"""Methods that PyPI serves; the others need a program of their own."""


def run(*words: object) -> bool:
    """Run a command of lcsd; print why it failed and return False if it did."""
    done = subprocess.run(
        [sys.executable, "-c", "from lcsd.cli.main import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"  {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}", flush=True)
    return done.returncode == 0


def scored_cases(results: Path) -> Iterator[CaseFiles]:
    """Yield the cases that both of our methods are scored on."""
    for folder in sorted(BuildFiles(results).cases.iterdir()):
        files = CaseFiles(folder)
        if all(files.evaluation(method).is_file() for method in METHODS):
            yield files


def add(files: CaseFiles, method: str) -> None:
    """Register and score a case by another method, unless that is done already."""
    if files.evaluation(method).exists():
        return
    print(f"{files.folder.name}: {method}", flush=True)
    out = files.folder / "methods" / method
    masks = ["--fixed-mask", files.mask("fixed"), "--moving-mask", files.mask("moving")]
    scans = [files.image("fixed"), files.image("moving")]
    if not run("register-images", *scans, "--method", method, *masks, "--field-mm", 3, "--out-dir", out):
        return
    ours = read_json(files.evaluation("divroc").with_name("divroc.provenance.json"))["inputs"]
    frame = read_json(files.evaluation("divroc"))["landmarks_frame"]
    run(
        *("evaluate", "--landmarks", ours["landmarks"]["path"], "--landmarks-frame", frame, "--rigid", files.rigid),
        *("--field", out / "field.nii.gz", "--mask", files.mask("fixed")),
        *("--out", files.evaluation(method), "--table", files.landmark_errors(method)),
    )


def table(name: str, results: Path) -> str:
    """Return the comparison of all methods of a build as Markdown."""
    settings = CompareSettings()
    rows = read_rows({name: results})
    common, dropped = common_cases(rows)
    return markdown(compare_rows(rows, common, dropped, settings), settings)


def named(texts: list[str]) -> dict[str, Path]:
    """Return builds by name, from ``NAME=RESULTS``."""
    return {name: Path(path) for name, _, path in (text.partition("=") for text in texts)}


def present(work: Path) -> dict[str, Path]:
    """Return the builds that can be had here by name."""
    found = {"phantoms": ROOT / "demo" / "results"} if (ROOT / "demo" / "results").is_dir() else {}
    data = os.environ.get(DATA_VARIABLE)
    return found if data is None else {**found, **real_builds(work, Path(data))}


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("builds", nargs="*", metavar="NAME=RESULTS")
    made.add_argument("--work", type=Path, default=ROOT / "demo" / "field", help="folder of the builds of real lungs")
    made.add_argument("--method", action="append", choices=get_args(ImageMethod), help="default: those of PyPI")
    arguments = made.parse_args()
    parts = []
    for name, results in (named(arguments.builds) or present(arguments.work)).items():
        for files in list(scored_cases(results)):
            for method in arguments.method or PRESENT:
                add(files, method)
        parts.append(f"### {name}\n\n{table(name, results)}")
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    write_text(PAGE, head + MARK + "\n" + "\n".join(parts))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
