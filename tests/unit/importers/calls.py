"""Calls of ``lcsd import`` in tests."""

import csv
from pathlib import Path

from click.testing import CliRunner, Result

from lcsd.cli.import_ import command


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def refused(code: str, result: Result, out: Path) -> str:
    """Return the message of a refusal that left nothing behind."""
    assert result.exit_code == 2, result.output
    assert f"[{code}]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()
    assert not list(out.parent.glob(".*"))
    return result.stderr
