"""Build broken cases among good ones: good ones must not change, broken ones must be reported.

The good cases are a few phantom cases under many names. First the few are built alone, then
all are built together with cases that have one fault each. The last line is the tally; the exit
code is 1 if there are faults.
Run: python -m benchmarks.reliability.isolation [CASES] [--broken N] [--folder FOLDER]
"""

import argparse
import hashlib
import itertools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability.broken import FAULTS, Fault, Row, broken_rows
from benchmarks.reliability.small import (
    OPTIONS,
    absolute,
    add_folder,
    leftovers,
    run_campaign,
    small_build,
    small_cohort,
    undisturbed_build,
)
from lcsd.monitor.verify import verify
from tests.workflow.conftest import Workspace, rows_of, write_manifest

DISTINCT = 2  # number of different phantom cases; the second has landmarks


@dataclass(frozen=True)
class Outcome:
    """What a campaign found: ``good`` cases with unchanged hashes, ``named`` ones with their reason."""

    cases: int
    good: int
    named: int
    faults: list[str]

    def line(self) -> str:
        """Return the tally as one line."""
        end = f"{len(self.faults)} faults" if self.faults else "0 faults"
        return (
            f"{self.cases} cases: {self.good} good ones with unchanged hashes, "
            f"{self.named} broken ones rejected with case, stage, reason and file: {end}"
        )


def good_rows(manifest: Path, count: int) -> list[Row]:
    """Return ``count`` rows, made from the rows of a manifest in turn, with new names."""
    rows = itertools.islice(itertools.cycle(rows_of(manifest)), count)
    return [
        {**absolute(manifest, row), "case": f"good-{number:03d}", "patient_id": f"g{number}"}
        for number, row in enumerate(rows)
    ]


def nameless(build: Workspace, case: str) -> dict[str, str]:
    """Return the hashes of a case's files without its name, which its clouds contain."""
    found = build.hashes(case)
    for path in found:
        if path.endswith(".npz"):
            digest = hashlib.sha256()
            with zipfile.ZipFile(build.results / "cases" / case / path) as archive:
                for member in archive.namelist():
                    # numpy stores four bytes per letter.
                    digest.update(archive.read(member).replace(case.encode("utf-32-le"), b""))
            found[path] = digest.hexdigest()
    return found


def unlike(build: Workspace, good: list[Row], alone: Workspace) -> list[str]:
    """Return the good cases whose hashes differ from those of the first ones, built alone, that they repeat."""
    expected = [nameless(alone, row["case"]) for row in rows_of(alone.manifest)]
    return [
        row["case"]
        for row, hashes in zip(good, itertools.cycle(expected), strict=False)
        if nameless(build, row["case"]) != hashes
    ]


def misnamed(build: Workspace, faults: tuple[Fault, ...]) -> list[str]:
    """Return what is wrong in the table and on the page of the rejected cases."""
    rejected = build.rejected()
    page = (build.results / "report" / "index.html").read_text()
    wrong = [f"{case}: rejected without a fault" for case in rejected.keys() - {f.code for f in faults}]
    for fault in faults:
        row = rejected.get(fault.code)
        if row is None:
            wrong.append(f"{fault.code}: not rejected")
        elif (row["code"], row["stage"]) != (fault.code, fault.stage):
            wrong.append(f"{fault.code}: rejected by {row['stage']} as {row['code']}")
        elif not row["file"] or not row["message"]:
            wrong.append(f"{fault.code}: without a file or a message")
        elif fault.code not in page or row["stage"] not in page:
            wrong.append(f"{fault.code}: missing on the page of the report")
    return sorted(wrong)


def campaign(
    folder: Path, alone: Workspace, *, cases: int, broken: int, say: Callable[[str], object] = lambda _: None
) -> Outcome:
    """Build ``cases`` cases, those of the build ``alone`` in turn, ``broken`` of them with a fault; return the tally.

    The cases of ``alone`` have the names that ``good_rows`` gives.
    """
    faults = FAULTS[:broken]
    good = good_rows(alone.manifest, cases - len(faults))
    say(f"{len(rows_of(alone.manifest))} good cases are built alone")
    # Broken cases before and after the good ones.
    bad = list(broken_rows(good[0], folder / "broken", faults))
    rows = [*bad[::2], *good, *bad[1::2]]
    build = small_build(folder / "among", write_manifest(folder / "pairs.tsv", rows))
    printed = build.snakemake(*OPTIONS, code=1)
    changed = unlike(build, good, alone)
    wrong = misnamed(build, faults)
    found = [f"{case}: differs from the build alone" for case in changed] + wrong
    summary = f"{len(faults)} of {len(rows)} cases were rejected; see results/report/rejected.tsv"
    if printed.count(summary) != 1:
        found.append(f"the summary must be printed once: {summary}")
    found += [f"{one.file}: {one.why}" for one in verify(build.results).differences]
    found += leftovers(build.results)
    return Outcome(len(rows), len(good) - len(changed), len(faults) - len(wrong), found)


def built_alone(folder: Path) -> Workspace:
    """Return a build of the different phantom cases."""
    cohort = small_cohort(folder / "cohort", cases=DISTINCT)
    manifest = write_manifest(folder / "good.tsv", good_rows(cohort, DISTINCT))
    return undisturbed_build(folder / "alone", manifest).build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int, nargs="?", default=100)
    parser.add_argument("--broken", type=int, default=len(FAULTS), help=f"at most {len(FAULTS)}")
    add_folder(parser)
    arguments = parser.parse_args()
    if not 1 <= arguments.broken <= len(FAULTS) or arguments.cases <= arguments.broken:
        parser.error(f"1 to {len(FAULTS)} broken cases, and at least one good one")
    run_campaign(
        lambda folder, say: campaign(
            folder, built_alone(folder), cases=arguments.cases, broken=arguments.broken, say=say
        ),
        arguments.folder,
    )


if __name__ == "__main__":
    main()
