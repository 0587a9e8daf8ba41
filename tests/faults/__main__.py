"""``python -m tests.faults`` prints the table of ``docs/faults.md``."""

import sys

from tests.faults.catalogue import markdown

sys.stdout.write(markdown())
