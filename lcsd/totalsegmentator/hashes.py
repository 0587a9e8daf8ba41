"""SHA-256 of weight files: recorded by the user, checked before a run, computed once per file.

lcsd contains no hashes of weights: the user records the hashes of weights that they trust, by ``lcsd weights check
--record`` or, for archives without a published one, by the first ``lcsd weights fetch``.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.io.files import read_json, sha256, user_folder, write_json
from lcsd.totalsegmentator.models import Model

RECORD_NAME = "weights.json"
CACHE_NAME = "weights_sha256.json"


def default_record() -> Path:
    """Return the default file of recorded hashes."""
    return user_folder("XDG_CONFIG_HOME", ".config") / RECORD_NAME


def _cache_file() -> Path:
    return user_folder("XDG_CACHE_HOME", ".cache") / CACHE_NAME


def _read_cache() -> dict[str, Any]:
    try:
        return read_json(_cache_file())
    except (LcsdError, OSError):
        return {}  # a missing or broken cache is rebuilt


def file_hashes(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return files' SHA-256 by relative path. They are gigabytes, so hashes are cached with size and time."""
    cache = _read_cache()
    found, news = {}, False
    for name in files:
        path = (folder / name).resolve()
        facts = path.stat()
        stamp = [facts.st_size, facts.st_mtime_ns]
        known = cache.get(str(path))
        if not isinstance(known, dict) or known.get("stamp") != stamp:
            known = {"stamp": stamp, "sha256": sha256(path)}
            cache[str(path)] = known
            news = True
        found[name.as_posix()] = str(known["sha256"])
    if news:
        # Without a cache, the next run only takes longer.
        with contextlib.suppress(LcsdError, OSError):
            write_json(_cache_file(), {**_read_cache(), **cache})
    return found


def record_hashes(
    folder: Path, models: Iterable[Model], record: Path | None = None, *, also: Mapping[str, str] | None = None
) -> Path:
    """Write the hashes of the models' files to the record, and those ``also``; keep those of other models."""
    path = record or default_record()
    known = (read_record(path) if path.exists() else {}) | dict(also or {})
    for model in models:
        known |= file_hashes(folder, model.files)
    write_json(path, {"sha256": known})
    return path


def read_record(path: Path) -> dict[str, str]:
    """Return the recorded hashes by relative path; raise ``BadInputError`` if the file is missing or not a record."""
    content = read_json(path).get("sha256")
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise BadInputError(
            "not a record of hashes",
            code="bad_json",
            file=path,
            field="sha256",
            expected="file name: SHA-256",
            remedy="write it with 'lcsd weights check DIR --record'",
        )
    return content


def check_hashes(folder: Path, models: Iterable[Model], record: Path | None) -> dict[str, str]:
    """Return the SHA-256 of all files of the models, after comparing them with the record.

    ``record`` is the one named by a setting; None takes the default one, which may be missing. Raises
    ``WorkError`` (``weights_changed``) if a file differs from its recorded hash.
    """
    path = default_record() if record is None else record.expanduser()
    expected = read_record(path) if record is not None or path.exists() else {}
    found = file_hashes(folder, [name for model in models for name in model.files])
    for name, value in found.items():
        if expected.get(name, value) != value:
            raise WorkError(
                "the file differs from the recorded one",
                code="weights_changed",
                file=folder / name,
                field="SHA-256",
                expected=expected[name],
                found=value,
                remedy=f"get the weights again, or record these: lcsd weights check {folder} --record (record: {path})",
            )
    return found
