"""Pages of the site that are made: commands and settings from the code, notebooks, and the texts at the top."""

from pathlib import Path
from typing import Any

import jupytext
from click import Command, Context, Group
from mkdocs.structure.files import File, Files

from lcsd.cli.main import COMMANDS, main
from lcsd.config import Config

ROOT = Path(__file__).resolve().parents[1]

TOP = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "reporting.md"}
"""Texts at the top of the checkout and their pages."""

WIDTH = 80
"""Characters of a line of a help text."""


def _help(command: Command, words: str) -> str:
    with Context(command, info_name=words, terminal_width=WIDTH, max_content_width=WIDTH) as context:
        return command.get_help(context)


def commands_page() -> str:
    """Return the help of every command and subcommand."""
    parts = ["# Commands\n\nThe text of `lcsd COMMAND --help`. Exit codes: 0 done, 1 the work failed, 2 bad input.\n"]
    with Context(main, info_name="lcsd") as context:
        found = [(name, main.get_command(context, name)) for name in COMMANDS]
    for name, command in found:
        parts.append(f"## {name}\n\n```text\n{_help(command, f'lcsd {name}')}\n```\n")
        for child, part in sorted(command.commands.items()) if isinstance(command, Group) else []:
            parts.append(f"### {name} {child}\n\n```text\n{_help(part, f'lcsd {name} {child}')}\n```\n")
    return "\n".join(parts)


def _rows(schema: dict[str, Any], part: dict[str, Any], prefix: str) -> list[str]:
    """Return table rows of the settings of a section; nested sections follow with a dotted key."""
    rows = []
    for key, entry in part.get("properties", {}).items():
        target = entry.get("$ref") or next((one["$ref"] for one in entry.get("allOf", []) if "$ref" in one), None)
        inner = schema["$defs"][target.rsplit("/", 1)[1]] if target else {}
        text = " ".join(str(entry.get("description") or inner.get("description") or "").split()).replace("|", "\\|")
        default = entry.get("default", inner.get("default"))
        nested = inner.get("properties") and not isinstance(default, list)
        shown = "" if nested else f"`{str(default).replace('|', chr(92) + '|')[:80]}`"
        rows.append(f"| `{prefix}{key}` | {shown} | {text} |")
        if nested:
            rows += _rows(schema, inner, f"{prefix}{key}.")
    return rows


def settings_page() -> str:
    """Return all settings by section, from the schema."""
    schema = Config.model_json_schema()
    parts = [
        "# Settings\n\n`lcsd config` prints them as a file. Change one with `--set KEY=VALUE`, or in your own file.\n"
    ]
    for name, entry in schema["properties"].items():
        target = entry.get("$ref")
        section = schema["$defs"][target.rsplit("/", 1)[1]] if target else {"properties": {name: entry}}
        text = " ".join(str(section.get("description", "")).split())
        parts.append(f"## {name}\n\n{text}\n\n| key | default | meaning |\n|---|---|---|")
        parts[-1] += "\n" + "\n".join(_rows(schema, section, "")) + "\n"
    return "\n".join(parts)


def notebook_page(path: Path) -> str:
    """Return a notebook as a page: its texts, its code, and the pictures of ``python -m tests.notebooks``."""
    parts = []
    for number, cell in enumerate(jupytext.read(path).cells):
        code = cell.cell_type == "code"
        parts.append(f"```python\n{cell.source}\n```" if code else cell.source)
        picture = path.with_name(f"{path.stem}-{number}.png")
        if picture.exists():
            parts.append(f"![Picture that the cell above draws]({picture.name})")
    parts.append(f"The notebook is `docs/notebooks/{path.name}`; Jupyter opens it with the extension Jupytext.")
    return "\n\n".join(parts) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    made = {"commands.md": commands_page(), "settings.md": settings_page()}
    made |= {f"notebooks/{path.stem}.md": notebook_page(path) for path in (ROOT / "docs" / "notebooks").glob("*.py")}
    made |= {page: (ROOT / name).read_text(encoding="utf-8") for name, page in TOP.items()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to texts at the top of the checkout, and from them into ``docs/``, to their pages."""
    for name, page in TOP.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}").replace(f"]({name}", f"]({page}")
    return markdown.replace("](docs/", "](").replace("](../README.md", "](index.md")
