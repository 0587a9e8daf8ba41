"""The package keeps its shape: floors, no circles, and a module named like each command."""

from lcsd.cli.main import COMMANDS, MODULES
from tests.structure import PACKAGE, measure

MOST_ENTRIES = 36
MOST_FLOORS = 9

PACKAGES = {"config": "config.py", "import": "importers", "landmarks": "landmarks", "transform": "transforms"}
"""Commands whose library is a package or a module at the top, not one module in a package."""


def test_units_form_floors_without_a_knot() -> None:
    # Raises CycleError and names the units if two of them import each other, lazily too.
    assert max(measure().floors().values()) < MOST_FLOORS


def test_no_module_imports_itself_through_others() -> None:
    assert measure().circle() == []


def test_the_top_of_the_package_can_be_read_at_a_glance() -> None:
    assert measure().entries <= MOST_ENTRIES


def test_each_command_has_a_module_of_its_name() -> None:
    for command in COMMANDS:
        assert (PACKAGE / "cli" / f"{MODULES.get(command, command)}.py").is_file()
        if command in PACKAGES:
            assert (PACKAGE / PACKAGES[command]).exists()
        else:
            assert [
                p
                for p in PACKAGE.glob(f"*/{MODULES.get(command, command)}.py")
                if p.parent.name not in ("cli", "settings")
            ], command
