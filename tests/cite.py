"""Write version and date of the release into the files for citing: from pyproject.toml, and from CHANGELOG.md.

Run: python -m tests.cite
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LINES = {
    "CITATION.cff": {"version": "version: {}", "date": 'date-released: "{}"'},
    "codemeta.json": {"version": '  "version": "{}",', "date": '  "datePublished": "{}",'},
    ".zenodo.json": {"version": '  "version": "{}",', "date": '  "publication_date": "{}",'},
}
"""The lines of each file that repeat a fact."""


def facts(root: Path = ROOT) -> dict[str, str]:
    """Return version and date (YYYY-MM-DD) of the release."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.search(rf"^## {re.escape(version)} \((\d{{4}}-\d\d-\d\d)\)$", changes, re.MULTILINE)
    if not dated:
        sys.exit(f"CHANGELOG.md: expected a section '## {version} (YYYY-MM-DD)', the version of pyproject.toml")
    return {"version": version, "date": dated[1]}


def written(text: str, lines: Mapping[str, str], values: Mapping[str, str]) -> str:
    """Return the text of a file with the facts in their lines, each of which must be there once."""
    for name, line in lines.items():
        before, after = map(re.escape, line.split("{}"))
        text, count = re.subn(rf"^{before}.*?{after}$", line.format(values[name]), text, flags=re.MULTILINE)
        if count != 1:
            sys.exit(f"expected one line {line}, found {count}")
    return text


def main() -> None:
    values = facts()
    for name, lines in LINES.items():
        path = ROOT / name
        path.write_text(written(path.read_text(encoding="utf-8"), lines, values), encoding="utf-8")


if __name__ == "__main__":
    main()
