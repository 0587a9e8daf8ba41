"""Try a wheel as a stranger would: an empty environment, no checkout, two tiny phantoms from scans to the report.

Run: python -m tests.wheel WHEEL [--dependencies-here]

The wheel is installed with the versions of constraints.txt into a new environment in a temporary folder; with
--dependencies-here, which is fast, only the wheel is, and its dependencies are those of this environment.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = 2


def environment(folder: Path, wheel: Path, *, dependencies_here: bool) -> Path:
    """Make an environment with the wheel; return the folder of its programs."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if dependencies_here:
        site = sysconfig.get_path("purelib", vars={"base": str(folder)})
        Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        command += ["--no-deps", "--force-reinstall"]
    else:
        command += ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*command, str(wheel)], check=True)
    return python.parent


def build(folder: Path, programs: Path) -> None:
    """Make phantoms and build them in a folder; raise if a step fails or there is no report."""
    own = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "LCSD"))}
    variables = {**own, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONUTF8": "1"}

    def run(*words: str) -> str:
        command = [str(programs / words[0]), *words[1:]]
        return subprocess.run(command, cwd=folder, env=variables, check=True, stdout=subprocess.PIPE, text=True).stdout

    where = run("python", "-c", "import lcsd; print(lcsd.__file__)").strip()
    if not Path(where).is_relative_to(programs.parent):
        sys.exit(f"lcsd comes from {where}, not from the wheel")
    run("lcsd", "phantom", "cohort", "--cases", str(CASES), "--size", "tiny")
    shutil.copyfile(ROOT / "tests" / "workflow" / "micro.yaml", folder / "my.yaml")
    run("lcsd", "run", "--manifest", "cohort/pairs.tsv", "--config", "my.yaml", "--cores", str(os.cpu_count() or 1))
    finished = sorted(path.parent.name for path in folder.glob("results/cases/*/gates.json"))
    if len(finished) != CASES or not (folder / "results" / "report" / "index.html").is_file():
        sys.exit(f"finished {finished}; expected {CASES} cases and a report in {folder}/results")


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("wheel", type=Path)
    made.add_argument("--dependencies-here", action="store_true")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        programs = environment(
            folder / "an environment", arguments.wheel.resolve(), dependencies_here=arguments.dependencies_here
        )
        print(f"{arguments.wheel.name}: installed in {time.monotonic() - begin:.0f} s", flush=True)
        # Spaces, since users of other workflows stumbled over them (snakemake/snakemake 3211 and 2645).
        (folder / "my work").mkdir()
        build(folder / "my work", programs)
    version = arguments.wheel.name.split("-")[1]
    print(f"{CASES} phantoms built, report written")
    print(f"then: git tag --annotate v{version} --message 'lcsd {version}'")


if __name__ == "__main__":
    main()
