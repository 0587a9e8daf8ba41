"""Read files of torch: plain values only, never code."""

import io
import re
from pathlib import Path
from typing import Any

from lcsd.io.files import require_file

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Colours of a terminal, which torch puts into its errors."""

NEEDS_CODE = "GLOBAL"
"""Word of torch's errors on files that only code can read."""


def load_tensors(path: Path) -> Any:
    """Return the content of a ``.pth`` or ``.pt`` file: tensors, numbers, texts, and lists and dictionaries of them.

    Raises ``ValueError`` with the complaint of torch if the file is damaged, or needs pickled code, which could do
    anything; ``BadInputError`` if it is missing or empty.
    """
    import torch

    # From memory: torch reports some damage by the error of a failing disk.
    content = io.BytesIO(require_file(path).read_bytes())
    try:
        return torch.load(content, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes raise what the unpickler happens to meet; none is swallowed
        text = " ".join(COLOURS.sub("", str(error)).split())
        raise ValueError(text or type(error).__name__) from error
