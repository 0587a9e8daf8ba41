"""A new folder, whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import leftovers_of, temporary_path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` if the block succeeds.

    Raises
    ------
    BadInputError
        If ``path`` is there and not an empty folder (``not_empty``), or ``.`` or ``..``, which
        cannot be renamed (``bad_destination``).
    WorkError
        If the folder cannot be written.
    """
    path = Path(path)
    if path.name in {"", ".."}:
        raise BadInputError(
            "the destination has no name of its own",
            code="bad_destination",
            file=path,
            expected="a new or empty folder, by its name",
            remedy="name another one",
        )
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise BadInputError(
            "the destination is there already",
            code="not_empty",
            file=path,
            expected="a new or empty folder",
            remedy="name another one, or remove it",
        )
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A killed import could not remove its own.
        for left in leftovers_of(path):
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise WorkError(
            f"cannot write: {error.strerror or error}",
            code="cannot_write",
            file=path,
            field=None if error.filename is None else str(error.filename),
            remedy="check the folder's permissions and free space",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
