"""What tests of commands that hand over to Snakemake share."""

import pytest

from lcsd.cli import failures


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have taken the place of the process."""
    calls: list[list[str]] = []

    def execute(program: str, words: list[str]) -> None:
        assert program == words[0]
        calls.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(failures.os, "execv", execute)
    return calls
