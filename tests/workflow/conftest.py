"""A tiny phantom cohort and a way to build it as a user would."""

import csv
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from lcsd.build.plan import Build
from lcsd.monitor.states import snapshot
from lcsd.monitor.why import why
from lcsd.phantom.phantom import write_cases
from lcsd.phantom.phantom import write_manifest as write_cohort_manifest
from tests import planner

if TYPE_CHECKING:
    from benchmarks.reliability.small import Undisturbed

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "workflow" / "profiles" / "workstation"
TINY = ROOT / "tests" / "workflow" / "tiny.yaml"
MICRO = ROOT / "tests" / "workflow" / "micro.yaml"
TIMED = (".provenance.json",)
"""Files that may hold times and hosts."""


@dataclass(frozen=True)
class Workspace:
    """A folder with a manifest, in which builds run.

    Parameters
    ----------
    folder
        Working folder of snakemake.
    manifest
        Its pairs.tsv.
    base
        Configuration that the build starts from.
    profile
        Folder of the profile of Snakemake.
    """

    folder: Path
    manifest: Path
    base: Path = TINY
    profile: Path = PROFILE

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def command(self, *arguments: str, settings: dict[str, object] | None = None) -> list[str]:
        return [sys.executable, "-m", "snakemake", *self.words(*arguments, settings=settings)]

    def words(self, *arguments: str, settings: dict[str, object] | None = None) -> list[str]:
        """Write the configuration and return the arguments of snakemake."""
        config = self.folder / "config.yaml"
        content = yaml.safe_load(self.base.read_text()) | {"manifest": str(self.manifest)}
        config.write_text(yaml.safe_dump(content | (settings or {})))
        return [
            *arguments,
            "--snakefile",
            str(ROOT / "Snakefile"),
            "--directory",
            str(self.folder),
            "--profile",
            str(self.profile),
            "--configfile",
            str(config),
        ]

    def snakemake(self, *arguments: str, code: int = 0, settings: dict[str, object] | None = None) -> str:
        """Run snakemake, check its exit code and return all it printed."""
        if not {"--dry-run", "--unlock"}.isdisjoint(arguments):
            found, printed = planner.snakemake(*self.words(*arguments, settings=settings))
            assert found == code, printed
            return printed
        done = subprocess.run(
            self.command(*arguments, settings=settings),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == code, printed + self.logs()
        return printed

    def build(self) -> Build:
        """Return the build with the settings of the last command."""
        return Build.from_file(self.folder / "config.yaml", results=self.results)

    def said_to_run(self) -> dict[str, int]:
        """Return what ``lcsd case --why`` says that a build would run, with the number of jobs."""
        build, now = self.build(), snapshot(self.results, self.folder)
        return Counter(
            job.stage
            for case in build.pairs
            for job, causes in why(build, case, now).items()
            if any(cause.runs for cause in causes)
        )

    def case_again(self, case: str, stage: str) -> str:
        """Make a case again by ``lcsd case --from`` and return all it printed."""
        command = [
            sys.executable,
            "-c",
            "from lcsd.cli.main import main; main()",
            "case",
            case,
            "--from",
            stage,
            "--config",
            "config.yaml",
            "--profile",
            str(PROFILE),
            "--",
            "--snakefile",
            str(ROOT / "Snakefile"),
        ]
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout + done.stderr

    def planned(self, settings: dict[str, object] | None = None) -> dict[str, int]:
        """Return the rules that a build would run now, with the number of jobs."""
        printed = self.snakemake("--dry-run", settings=settings)
        stats = printed.split("Job stats:")[-1] if "Job stats:" in printed else ""
        return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}

    def logs(self) -> str:
        logs = sorted((self.results / "logs").rglob("*.log"))
        return "\n".join(f"== {p.name}\n{p.read_text()[-2000:]}" for p in logs)

    def rejected(self) -> dict[str, dict[str, str]]:
        """Return the rows of report/rejected.tsv by case."""
        with (self.results / "report" / "rejected.tsv").open(newline="") as handle:
            return {row["case"]: row for row in csv.DictReader(handle, delimiter="\t")}

    def hashes(self, case: str) -> dict[str, str]:
        """Return the SHA-256 of every file of a case but provenance."""
        root = self.results / "cases" / case
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.endswith(TIMED)
        }


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, delimiter="\t", lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_cohort(folder: Path, *, cases: int, seed: int) -> Path:
    """Write tiny phantom cases, the last one with landmarks, and return their manifest."""
    return write_cohort_manifest(folder, list(write_cases(folder, cases=cases, seed=seed, size="tiny")))


def own_data(folder: Path) -> dict[str, str]:
    """Write a tiny phantom case as a user's own data: DICOM series with masks of lungs and vessels; return its row."""
    (row,) = write_cases(folder, cases=1, seed=3, size="tiny", file_format="dicom", test_cases=0)
    for scan in ("fixed", "moving"):
        for part, column in (("lungs", "mask"), ("vessels", "vessels")):
            row[f"{scan}_{column}"] = f"{row['case']}/truth/{scan}_{part}.nii.gz"
    return row


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of two tiny phantom cases: a user's own data, and a test case of NIfTI files with landmarks."""
    folder = tmp_path_factory.mktemp("cohort")
    own = own_data(folder)
    (last,) = write_cases(folder, cases=1, seed=0, size="tiny")
    return write_manifest(folder / "pairs.tsv", [own, last])


@pytest.fixture(scope="session")
def built(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An undisturbed build of the tiny cohort."""
    workspace = Workspace(tmp_path_factory.mktemp("built"), cohort)
    workspace.snakemake()
    return workspace


@pytest.fixture(scope="session")
def small(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> "Undisturbed":
    """An undisturbed build of the case with landmarks alone, with little work: for campaigns."""
    from benchmarks.reliability.isolation import good_rows
    from benchmarks.reliability.small import undisturbed_build

    folder = tmp_path_factory.mktemp("small")
    alone = write_manifest(cohort.with_name("alone.tsv"), rows_of(cohort)[-1:])
    return undisturbed_build(folder / "build", write_manifest(folder / "pairs.tsv", good_rows(alone, 1)))
