"""Run the notebooks of docs/notebooks in order, in one folder; later ones use the first one's build.

Run: python -m tests.notebooks        writes their pictures next to them, for the site
"""

import base64
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
ORDER = ("own_pair", "own_method", "training")
LIMIT_S = 600


def run(name: str, folder: Path) -> Any:
    """Return the notebook after it has run in ``folder``; a cell that fails raises."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    place = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources=place).execute()


def pictures(notebook: Any) -> dict[int, bytes]:
    """Return the pictures that a notebook drew, by the number of their cell."""
    return {
        number: base64.b64decode(output["data"]["image/png"])
        for number, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in ORDER:
            begin = time.monotonic()
            for number, picture in pictures(run(name, Path(place))).items():
                (FOLDER / f"{name}-{number}.png").write_bytes(picture)
            print(f"{name}: {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
