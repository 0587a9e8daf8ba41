"""The documentation's site: it builds without a warning, and its pages load nothing from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}
"""Elements that make a browser fetch something, and the attribute with its address."""

OUTSIDE = re.compile(r"(?:https?:)?//")


class _Loads(HTMLParser):
    """Collects the addresses of other hosts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADED.get(tag, ""))
        if address and OUTSIDE.match(address):
            self.outside.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import logging

    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    assert config["strict"]  # a warning ends the build
    config["plugins"].on_startup(command="build", dirty=False)
    build(config)
    return folder


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        found = _Loads()
        found.feed(page.read_text(encoding="utf-8"))
        assert found.outside == [], page.name


@pytest.mark.slow
def test_the_reference_has_every_command_every_setting_and_the_public_functions(site: Path) -> None:
    from lcsd import __all__ as public
    from lcsd.cli.main import COMMANDS
    from lcsd.settings.register import RegisterSettings

    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in commands for name in COMMANDS)
    settings = (site / "settings.html").read_text(encoding="utf-8")
    assert all(f"<code>{name}</code>" in settings for name in RegisterSettings.model_fields)
    python = (site / "python.html").read_text(encoding="utf-8")
    assert all(f".{name}" in python for name in public if not name.startswith("_"))


@pytest.mark.slow
def test_every_page_of_the_documentation_is_in_the_menu(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f'href="{page.stem}.html"' not in home]
    assert set(missing) <= {"index.md"}  # the home page may name itself "."
