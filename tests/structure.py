"""The structure of the package, measured from its imports: ``python -m tests.structure`` prints it.

A unit is a package or a loose module of ``lcsd``. Its floor is one above the highest unit that it imports.
"""

import ast
import functools
from collections import defaultdict
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lcsd"

CODE = {".py", ".j2", ".css", ".js"}


@dataclass
class Structure:
    """Files that import each other, and the floors of the units that they make."""

    entries: int
    lines: int
    imports: dict[str, set[str]] = field(default_factory=dict)

    def units(self) -> dict[str, set[str]]:
        """Return which units each unit imports, function-level imports included; ``lcsd`` itself is no unit."""
        found: dict[str, set[str]] = {unit: set() for unit in map(_unit, self.imports) if unit}
        for module, targets in self.imports.items():
            for target in targets:
                if _unit(module) and _unit(target) and _unit(module) != _unit(target):
                    found[_unit(module)].add(_unit(target))
        return found

    def floors(self) -> dict[str, int]:
        """Return the floor of each unit; raise ``CycleError`` where units import each other in a circle."""
        units = self.units()
        floors: dict[str, int] = {}
        for unit in TopologicalSorter(units).static_order():
            floors[unit] = max((floors[other] + 1 for other in units[unit]), default=0)
        return floors

    def circle(self) -> list[str]:
        """Return modules that import each other in a circle, or nothing."""
        try:
            TopologicalSorter(self.imports).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []


def _unit(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def measure() -> Structure:
    """Return the structure of the package as it was at the first call."""
    files = [path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts]
    modules = {_module(path): path for path in files}
    imports: dict[str, set[str]] = defaultdict(set)
    for module, path in modules.items():
        imports[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                # 'from package import module' needs the module; its package is only passed through.
                if any(name in modules for name in names[1:]):
                    names = names[1:]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            imports[module].update(name for name in names if name in modules and name != module)
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    counted = [*PACKAGE.rglob("*"), *(ROOT / "benchmarks").rglob("*")]
    lines = sum(
        len(path.read_text(encoding="utf-8").splitlines())
        for path in counted
        if path.suffix in CODE and "vendor" not in path.parts
    )
    return Structure(len(entries), lines, dict(imports))


def main() -> None:
    found = measure()
    floors = found.floors()
    print(f"entries in lcsd/          {found.entries}")
    print(f"floors                    {max(floors.values()) + 1}")
    print(f"modules in a circle       {len(found.circle())}")
    print(f"lines, lcsd + benchmarks  {found.lines}")
    for floor in sorted(set(floors.values())):
        print(f"{floor}: {' '.join(sorted(unit for unit, at in floors.items() if at == floor))}")


if __name__ == "__main__":
    main()
