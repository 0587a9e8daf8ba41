"""No module runs what a file or a user says: no eval, no pickles, no shell, no unsafe loader."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "lcsd").rglob("*.py"))

FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "dill.load",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "tempfile.mktemp",
    "shutil.unpack_archive",
    "tarfile.open",
    "extractall",
    "ET.parse",
    "ET.fromstring",
    "torch.hub.load",
    "torch.jit.load",
}
"""Calls by the name that stands in the source; names without a dot also as methods."""

NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""Calls and the argument without which they may run code from a file."""

ALLOWED = {"lcsd/release/vtp.py": {"ET.fromstring"}}
"""Calls by module: XML that the release wrote itself a moment ago is searched for identifiers."""

TABLE_WRITERS = {"lcsd/io/files.py", "lcsd/io/points.py", "lcsd/io/text_tables.py", "lcsd/landmarks/slicer.py"}
"""Modules that may write tables by themselves: the first two make every text a safe cell, the third gives a user's
table back with other coordinates, the fourth writes a format of 3D Slicer's."""


def name_of(node: ast.expr) -> str:
    """Return the dotted name of what is called."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


@functools.cache
def calls() -> list[tuple[str, str]]:
    """Return each call of a name in the sources: the file, relative to the checkout, and the name."""
    return [
        (str(path.relative_to(ROOT)), name_of(node.func))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def faults_of(source: str, *, allowed: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what must not stand in a source."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        short = name.rpartition(".")[2]
        arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in FORBIDDEN - allowed or (short in FORBIDDEN and short == "extractall"):
            yield f"{name} in line {node.lineno}"
        if arguments.get("shell", "False") != "False":
            yield f"a shell in line {node.lineno}"
        if name in NEEDED:
            argument, value = NEEDED[name]
            if arguments.get(argument) != str(value):
                yield f"{name} without {argument}={value} in line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_a_file_says(path: Path) -> None:
    allowed = frozenset(ALLOWED.get(str(path.relative_to(ROOT)), ()))
    source = path.read_text(encoding="utf-8")
    assert list(faults_of(source, allowed=allowed)) == []


def test_tables_are_written_where_cells_are_made_safe() -> None:
    assert {file for file, name in calls() if name in {"csv.writer", "csv.DictWriter"}} == TABLE_WRITERS


def test_tables_are_read_in_one_module() -> None:
    readers = {"reader", "DictReader", "read_csv", "read_table", "loadtxt", "genfromtxt"}
    named = [(file, *name.rpartition(".")) for file, name in calls()]
    found = {file for file, owner, _, name in named if name in readers and owner in {"csv", "pd", "np"}}
    assert found == {"lcsd/io/tables.py"}


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "os.system(x)",
        "yaml.load(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=y)",
        "z.extractall(x)",
        "pickle.loads(x)",
    ],
)
def test_each_forbidden_call_is_seen(source: str) -> None:
    assert len(list(faults_of(source))) == 1
