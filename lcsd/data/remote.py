"""A release elsewhere: what a dataset needs of it is copied to this machine and verified."""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import atomic_path, sha256, user_folder
from lcsd.release.archive import read_checksums
from lcsd.release.layout import CHECKSUMS_NAME

SEPARATOR = "://"


class Remote:
    """A release at an address of fsspec, such as ``hf://datasets/owner/name``, and its copy on this machine.

    ``folder`` is the copy, below ``cache``, or else ``XDG_CACHE_HOME/lcsd/releases``. Its name depends on the address
    and on the release's checksums, so a changed release gets another copy.

    Raises ``BadInputError``: ``missing_package`` (fsspec, or what it needs for the address), ``bad_value`` (an unknown
    protocol), ``missing_file`` (no release there); ``WorkError`` (``server_unreachable``).
    """

    def __init__(self, address: str, cache: Path | None = None) -> None:
        self.address = address.rstrip("/")
        self._files, self._path = _file_system(self.address)
        cache = cache or user_folder("XDG_CACHE_HOME", ".cache") / "releases"
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as place:
            sums = Path(place) / CHECKSUMS_NAME
            self._get([CHECKSUMS_NAME], Path(place))
            self._hashes = read_checksums(sums)
            name = hashlib.sha256(self.address.encode() + b"\0" + sums.read_bytes()).hexdigest()[:24]
            self.folder = cache / name
            with atomic_path(self.folder / CHECKSUMS_NAME) as temporary:
                sums.replace(temporary)

    def copy(self, names: Iterable[str]) -> None:
        """Copy files of the release that are not here yet; names the release does not list are left out.

        Raises ``WorkError`` (``checksum_mismatch``, ``server_unreachable``) or ``BadInputError`` (``missing_file``).
        """
        absent = [name for name in dict.fromkeys(names) if name in self._hashes and not (self.folder / name).exists()]
        if not absent:
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            self._get(absent, Path(place))
            for name in absent:
                found = sha256(Path(place, name))
                if found != self._hashes[name]:
                    raise WorkError(
                        "the file is not the one that the release lists",
                        code="checksum_mismatch",
                        file=f"{self.address}/{name}",
                        field="SHA-256",
                        expected=self._hashes[name],
                        found=found,
                        remedy="copy it again; if it stays, tell the release's authors",
                    )
                with atomic_path(self.folder / name) as temporary:
                    Path(place, name).replace(temporary)

    def _get(self, names: list[str], into: Path) -> None:
        """Write files of the release to a folder."""
        for name in names:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._files.get([f"{self._path}/{name}" for name in names], [str(into / name) for name in names])
        except FileNotFoundError as error:
            raise BadInputError(
                "no release there, or a file of it is missing",
                code="missing_file",
                file=self.address,
                expected=f"the files that {CHECKSUMS_NAME} lists, and itself",
                found=str(error),
            ) from error
        except (OSError, ValueError) as error:
            raise WorkError(
                "the files cannot be copied",
                code="server_unreachable",
                file=self.address,
                found=f"{type(error).__name__}: {error}",
                remedy="check the network and your permissions, or copy the release by hand",
            ) from error


def _file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(address)
    except ImportError as error:
        needed = "fsspec huggingface_hub" if address.startswith("hf:") else "fsspec"
        raise BadInputError(
            "a package for this address is not installed",
            code="missing_package",
            field=address.partition(SEPARATOR)[0],
            found=str(error),
            remedy=f"pip install {needed}, or give the folder of a copy",
        ) from error
    except ValueError as error:
        raise BadInputError(
            "not an address that fsspec knows",
            code="bad_value",
            field="root",
            expected="a folder, or an address such as hf://datasets/owner/name",
            found=f"{address} ({error})",
        ) from error
    return files, path.rstrip("/")
