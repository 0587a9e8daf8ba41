# Validated configuration and manifest, and the helpers that rules share.
import gc
import shlex
import sys
from pathlib import Path

from lcsd.build.plan import Build
from lcsd.build.recorded import record
from lcsd.errors import LcsdError
from lcsd.names import CASE_PATTERN, SCANS

# Planning makes millions of objects that live to its end; the collector of cycles would walk them
# again and again, for a quarter of the time. It starts with the first job.
gc.disable()

try:
    BUILD = Build.from_config(config)
except LcsdError as error:
    print(f"snakemake: error: {error.message}", file=sys.stderr)
    sys.exit(error.exit_code)

RESULTS = BUILD.results
CASE = f"{RESULTS}/cases/{{case}}"
LOGS = f"{RESULTS}/logs"

# Jobs call the lcsd of the very environment that runs snakemake, activated or not. How series are
# fetched changes no byte of them, so it is no parameter of a rule, for which jobs would run again.
# A job whose parent, this process, was killed must not write into the build that goes on.
ENVIRONMENT = (
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH LCSD_BUILD=$PPID;"
    f" FETCH=({shlex.join(BUILD.fetch_options())}); set -euo pipefail; "
)
# Snakemake formats the prefix, so the braces of JSON are doubled.
shell.prefix(ENVIRONMENT.replace("{", "{{").replace("}", "}}"))


def case_job(*commands):
    """Return the shell command of a job of a case, which does `commands` one after the other.

    The path of `rejected.json` is no parameter of the rules, which Snakemake would
    expand for every job: most of the planning goes by in such small things.
    """
    rejected = f"{shlex.quote(RESULTS)}/cases/{{wildcards.case}}/rejected.json"
    options = f"--threads {{threads}} --rejected {rejected}"
    steps = " && ".join(f"{command} {options}" for command in commands)
    return f"{{{{ {steps}; }}}} > {{log:q}} 2>&1"


def both_scans(command):
    """Return the shell command of a job that does `command` for SCAN = fixed, then moving.

    Both scans of a case are one job: planning time and memory grow with the number of jobs.
    """
    return case_job(*(command.replace("SCAN", scan) for scan in SCANS))


def if_given(columns, function):
    """Return `function` of the wildcards if any case has one of `columns`, else nothing.

    Snakemake asks each function for each case, so planning is faster without idle ones.
    """
    return function if BUILD.gives(*columns) else []


def selected():
    """Let an input function wait for the selection, if this build has one."""
    if BUILD.candidates:
        checkpoints.select.get()


wildcard_constraints:
    case=CASE_PATTERN.pattern,
    method="|".join(BUILD.methods),
