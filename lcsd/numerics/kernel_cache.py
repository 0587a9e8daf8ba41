"""Where numba keeps compiled kernels, and Snakemake its copies, on a machine whose home cannot be written.

Numba stores machine code next to the modules, or else in the user's cache folder. Where neither can be written, as in a
read-only container, it raises when a kernel is defined. Then a private folder for temporary files takes their place.
Snakemake stores copies of a workflow's files in the user's cache folder, and cannot start without it.
"""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"

HOME_VARIABLE = "XDG_CACHE_HOME"

PRIVATE_NAME = "lcsd-kernels-"
"""Start of the name of the private folder."""

PACKAGE = Path(__file__).parents[1]


def usual_folders() -> tuple[Path, Path]:
    """Return the folders where numba would store code: the package, and the user's cache."""
    return PACKAGE, _user_cache() / "numba"


def _user_cache() -> Path:
    return Path(os.environ.get(HOME_VARIABLE) or os.path.expanduser("~/.cache"))  # noqa: PTH111 - never raises


def folder() -> Path | None:
    """Return where compiled kernels are stored; None if nowhere, so that no kernel can be defined."""
    chosen = os.environ.get(VARIABLE)
    places = (Path(chosen),) if chosen else usual_folders()
    return next((place for place in places if writable(place)), None)


def writable(folder: Path) -> bool:
    """Return whether a folder can be written, or made in the nearest folder above that exists."""
    try:
        there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    except OSError:  # a folder above may not be entered
        return False
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _private_folder() -> str | None:
    """Return a folder for temporary files that only this user can write; None if there is none.

    Numba runs the code that it finds there, so a folder that another user made is not taken.
    """
    try:
        place = Path(tempfile.gettempdir()) / f"{PRIVATE_NAME}{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        return str(place) if _is_own(place) else tempfile.mkdtemp(prefix=PRIVATE_NAME)
    except OSError:
        return None


def _is_own(place: Path) -> bool:
    """Return whether a folder exists that belongs to this user, and that nobody else may write."""
    try:
        status = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def prepare_user_cache() -> None:
    """Point ``XDG_CACHE_HOME`` to a private folder if the user's cache folder cannot be written."""
    private = None if writable(_user_cache()) else _private_folder()
    if private is not None:
        os.environ[HOME_VARIABLE] = private


def prepare() -> None:
    """Point numba to a private folder if it could store compiled kernels nowhere else; a user's own choice stays.

    Does nothing where the usual folders can be written. Jobs that this process starts inherit the folder, and judge it
    again: they may run on another machine, where it belongs to somebody else.
    """
    inherited = Path(os.environ.get(VARIABLE, ""))
    if inherited.name.startswith(PRIVATE_NAME) and not _is_own(inherited):
        del os.environ[VARIABLE]
    if os.environ.get(VARIABLE) or folder() is not None:
        return
    private = _private_folder()
    if private is None:
        return
    os.environ[VARIABLE] = private
    if "numba" in sys.modules:
        import numba

        numba.config.CACHE_DIR = private  # type: ignore[attr-defined]
