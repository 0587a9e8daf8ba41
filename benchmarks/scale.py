"""The build of 26,000 pairs on 100 nodes, simulated in several settings (docs/scale.md).

The stages' seconds are those of ``benchmarks/measures/phantom.json``.
Run: python -m benchmarks.scale
"""

import math
from dataclasses import replace
from pathlib import Path

from benchmarks.tables import write_rows
from lcsd.estimate.estimate import estimate
from lcsd.estimate.measures import read_measures
from lcsd.estimate.profile import read_profile
from lcsd.estimate.question import Options, ask
from lcsd.settings.estimate import EstimateSettings

MEASURES = Path(__file__).resolve().parent / "measures" / "phantom.json"
PAIRS, NODES, CORES, MEMORY_GB = 26_000, 100, 16, 64.0
ILP = "--scheduler ilp"
ROWS: tuple[tuple[str, dict[str, float], int, int], ...] = (
    (ILP, {}, 1, 0),
    ("the profile as it is (greedy)", {}, 1, 0),
    ("6 parts", {}, 6, 0),
    ("26 parts", {}, 26, 0),
    ("6 parts, groups of 1 case", {}, 6, 1),
    ("the same, 20 submissions/s", {"submit_per_s": 20}, 6, 1),
    ("the same, 0.5 submissions/s", {"submit_per_s": 0.5}, 6, 1),
    ("the same, 100 jobs submitted", {"most_submitted": 100}, 6, 1),
    ("6 parts, groups of 4 cases", {}, 6, 4),
)
"""What is done, settings, parts, cases of a group."""


def main() -> None:
    measures, workstation = read_measures(MEASURES), read_profile()
    rows: list[dict[str, object]] = []
    for name, changed, batches, group in ROWS:
        settings = EstimateSettings(**changed)
        profile = replace(workstation, scheduler="ilp") if name == ILP else workstation
        options = Options(
            cores=CORES,
            memory_gb=MEMORY_GB,
            nodes=NODES,
            pairs=PAIRS,
            landmarks=0,
            basis="cpu",
            batches=batches,
            group=group,
            resamples=1,
        )
        asked = ask(options, config=None, profile=profile, measures=measures, settings=settings)
        found = estimate(measures, asked, profile=profile, settings=settings)
        least_h = found.work_hours / (NODES * CORES)
        rows.append(
            {
                "setting": name,
                "hours": found.hours.middle,
                "least_hours": least_h,
                "loop_percent": math.floor(100 * found.loop_busy),
                "most_ready": found.most_ready,
                "most_submitted": found.most_submitted,
                "submissions": found.submissions,
                "files_per_s": found.stats_per_s,
                "plan_gib": found.plan_gib,
                "cores_percent": 100 * found.busy,
            }
        )
    write_rows("scale", rows)


if __name__ == "__main__":
    main()
