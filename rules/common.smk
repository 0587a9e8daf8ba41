# Validated configuration and manifest, and the helpers that rules share.
import gc
import shlex
import sys
from pathlib import Path

from lcsd.build import SCANS, Build
from lcsd.errors import LcsdError
from lcsd.pairs import CASE_PATTERN

# Planning makes millions of objects that live to its end; by default the collector of cycles walks
# them again and again, for a quarter of the time.
gc.set_threshold(1_000_000, 100, 100)

try:
    BUILD = Build.from_config(config)
except LcsdError as error:
    print(f"snakemake: error: {error.message}", file=sys.stderr)
    sys.exit(error.exit_code)

RESULTS = BUILD.results
CASE = f"{RESULTS}/cases/{{case}}"
LOGS = f"{RESULTS}/logs"
REJECTED = f"{CASE}/rejected.json"

# Jobs call the lcsd of the very environment that runs snakemake, activated or not. How series are
# fetched changes no byte of them, so it is no parameter of a rule, for which jobs would run again.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH;"
    f" FETCH=({shlex.join(BUILD.fetch_options())}); set -euo pipefail; "
)


def both_scans(command):
    """Return the shell command that does `command` for SCAN = fixed, then moving.

    Both scans of a case are one job: planning time and memory grow with the number of jobs.
    """
    steps = " && ".join(command.replace("SCAN", scan) for scan in SCANS)
    return f"{{{{ {steps}; }}}} > {{log:q}} 2>&1"


def selected():
    """Let an input function wait for the selection, if this build has one."""
    if BUILD.candidates:
        checkpoints.select.get()


wildcard_constraints:
    case=CASE_PATTERN.pattern,
    method="|".join(BUILD.methods),
