"""``lcsd config``: the default configuration, and the schemas of what users write."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

import click
import yaml

from lcsd.build.pairs import Pair
from lcsd.cli.common import Shown, tool
from lcsd.config import Config
from lcsd.settings.base import Settings


def commented_yaml() -> str:
    """Return the default configuration as YAML, every key with its description and unit."""
    lines = [
        "# Every key with its default. Written by 'lcsd config'. Your own configuration needs only",
        "# the keys that differ.",
    ]
    for name, field in Config.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Settings):
            summary = (annotation.__doc__ or "").splitlines()[0]
            lines += ["", f"# {summary}", f"{name}:", *_section_lines(annotation, annotation().model_dump(mode="json"))]
        elif not field.is_required():
            value = None if field.default is None else str(field.default)
            lines += ["", f"# {field.description}", f"{name}: {_scalar(value)}"]
    return "\n".join(lines) + "\n"


def json_schema(name: str) -> str:
    """Return the JSON schema of the ``config`` file or of one row of the ``pairs`` manifest."""
    schema = (Config if name == "config" else Pair).model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _section_lines(model: type[Settings], values: Mapping[str, Any], indent: str = "  ") -> list[str]:
    if not values:
        return [f"{indent}{{}}"]
    lines = []
    for name, field in model.model_fields.items():
        lines += textwrap.wrap(
            field.description or "", width=96, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings) and not inner.one_line:
            lines += [f"{indent}{name}:", *_section_lines(inner, values[name], indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_scalar(values[name])}")
    return lines


def _scalar(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1 << 16, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


@click.command(epilog="Example: lcsd config > my.yaml")
@click.option(
    "--schema",
    type=click.Choice(["config", "pairs"]),
    help="Print the JSON schema of the configuration, or of a row of the pairs manifest, instead.",
)
@tool("config", json_option=False)
def command(schema: str | None) -> Shown:
    """Print every key of the configuration with its default, description and unit."""
    return Shown((commented_yaml() if schema is None else json_schema(schema)).removesuffix("\n"))
