"""Templates of the pages, their scripts, and the filters that format numbers."""

import base64
import functools
import hashlib
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from lcsd.io.plotting import method_name
from lcsd.io.tables import as_number
from lcsd.report.tables import bounds, plain_figure

LIBRARY = "three-0.180.0.min.js"
"""Library of the 3-D view; see ``lcsd/report/vendor/README.md``."""

MISSING = "\N{EN DASH}"


def _number(value: object, digits: int = 2) -> str:
    number = as_number(value)
    return MISSING if number is None else f"{number:.{digits}f}"


def _percent(value: object, digits: int = 1) -> str:
    """Return a share of 1 in percent."""
    share = as_number(value)
    return MISSING if share is None else f"{100 * share:.{digits}f}"


def _count(value: object) -> str:
    number = as_number(value)
    return MISSING if number is None else f"{round(number):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _duration(value: object) -> str:
    """Return seconds as ``0.31 s``, ``12.4 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    seconds = as_number(value)
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class Script:
    """A script of a page, and its hash: the page's policy allows no other script."""

    text: Markup
    policy: str


def viewer_scripts() -> list[Script]:
    """Return the library of the 3-D view, and the view."""
    return [_script("vendor", LIBRARY), _script("templates", "viewer.js")]


def _script(*path: str) -> Script:
    text = resource(*path)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(Markup(text), f"'sha256-{digest}'")  # noqa: S704 - our own files


def resource(*path: str) -> str:
    """Return the text of a file of this package."""
    return resources.files("lcsd.report").joinpath(*path).read_text(encoding="utf-8")


@functools.cache
def environment(*more: str) -> jinja2.Environment:
    """Return the environment of the templates with its filters; ``more`` names packages with further templates.

    It keeps the templates that it has compiled, 0.15 s of work, for the next page. Nobody may change it.
    All values are escaped, because names, messages and settings come from files that others wrote.
    """
    templates = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in ("lcsd.report", *more)]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters.update(
        number=_number,
        percent=_percent,
        count=_count,
        duration=_duration,
        method_name=method_name,
        plain_figure=plain_figure,
    )
    templates.globals.update(bounds=bounds)
    return templates
