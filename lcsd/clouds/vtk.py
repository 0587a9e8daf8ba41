"""What VTK itself does not say: that a file could not be read, and what a legacy file holds."""

import re
from pathlib import Path
from typing import Any

from lcsd.io.files import HEADER_BYTES


def updated(reader: Any) -> str:
    """Update a VTK reader; return the last error, or an empty text.

    VTK prints errors and raises none. Warnings of a reader (a newer version of the format) do not count.
    """
    from vtkmodules.vtkCommonCore import vtkLogger, vtkObject, vtkOutputWindow, vtkStringOutputWindow

    errors: list[str] = []
    reader.AddObserver("ErrorEvent", lambda *_: errors.append("damaged"))
    reader.AddObserver("WarningEvent", lambda *_: None)
    before, window = vtkOutputWindow.GetInstance(), vtkStringOutputWindow()
    displayed = vtkObject.GetGlobalWarningDisplay()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    vtkOutputWindow.SetInstance(window)
    vtkObject.GlobalWarningDisplayOn()
    try:
        reader.Update()
    finally:
        vtkObject.SetGlobalWarningDisplay(displayed)
        vtkOutputWindow.SetInstance(before)
    printed = window.GetOutput().strip().splitlines()
    return printed[-1] if printed else "".join(errors[:1])


def check_kind(path: Path) -> None:
    """Raise ``ValueError`` for a legacy VTK file of a grid: VTK's reader of clouds would call it damaged."""
    with path.open("rb") as handle:
        kind = re.search(rb"(?im)^\s*DATASET\s+(\w+)", handle.read(HEADER_BYTES))
    if kind is not None and kind[1].upper() != b"POLYDATA":
        raise ValueError(f"it holds a {kind[1].decode()}: save its points as PolyData")
