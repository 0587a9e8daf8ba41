# Validated configuration and manifest, and the helpers that rules share.
import shlex
import sys
from pathlib import Path

from lcsd.build import Build
from lcsd.errors import LcsdError
from lcsd.pairs import CASE_PATTERN

try:
    BUILD = Build.from_config(config)
except LcsdError as error:
    print(f"snakemake: error: {error.message}", file=sys.stderr)
    sys.exit(error.exit_code)

RESULTS = BUILD.results
CASE = f"{RESULTS}/cases/{{case}}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
REJECTED = f"{CASE}/rejected.json"

# Jobs call the lcsd of the very environment that runs snakemake, activated or not.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; set -euo pipefail; "
)


wildcard_constraints:
    case=CASE_PATTERN.pattern,
    scan="fixed|moving",
    method="|".join(BUILD.methods),
