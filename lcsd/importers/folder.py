"""Write a new folder atomically."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from lcsd.errors import BadInputError, unwritable
from lcsd.io.files import leftovers_of, temporary_path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``path``; rename it to ``path`` if the block succeeds.

    Raises ``BadInputError`` if ``path`` exists and is not an empty folder (``not_empty``), or is ``.`` or
    ``..``, which cannot be renamed (``bad_destination``); ``WorkError`` if the folder cannot be written.
    """
    path = Path(path)
    if path.name in {"", ".."}:
        raise BadInputError(
            "the destination cannot be renamed",
            code="bad_destination",
            file=path,
            expected="the name of a new or empty folder",
            remedy="give another folder",
        )
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise BadInputError(
            "the destination exists",
            code="not_empty",
            file=path,
            expected="a new or empty folder",
            remedy="give another folder, or remove it",
        )
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Leftovers of killed imports.
        for left in leftovers_of(path):
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise unwritable(path, error, field=None if error.filename is None else str(error.filename)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
