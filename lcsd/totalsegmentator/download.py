"""Download TotalSegmentator's weights, after saying what they are; never inside a job of a build."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any

from lcsd.errors import BadInputError, WorkError, unwritable
from lcsd.io.orphans import BUILD_VARIABLE
from lcsd.totalsegmentator.hashes import check_hashes, default_record, read_record, record_hashes
from lcsd.totalsegmentator.models import Model
from lcsd.totalsegmentator.weights import check_weights

SOURCE = "https://github.com/wasserth/TotalSegmentator/releases/download"
"""Where the package itself downloads weights from: SOURCE/RELEASE/FOLDER.zip."""

FACTS = "https://api.github.com/repos/wasserth/TotalSegmentator/releases/tags"
"""What GitHub says about the files of a release: size and, of newer files, SHA-256.

GitHub's changelog of 3 June 2025 ("Releases now expose digests for release assets") announced the hashes; files
uploaded before have none (PyGithub, issue 3324).
"""

LICENCE = "openly available for any usage (TotalSegmentator's README); the package is under Apache-2.0"

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0  # without a byte from the server
MOST_BYTES = 8 << 30  # of an unpacked archive; the models have some 0.1 to 0.5 GB


@dataclass(frozen=True)
class Offer:
    """The archive of a model on a server; ``sha256`` is None if the server publishes none."""

    model: Model
    address: str
    size: int
    sha256: str | None

    @property
    def record(self) -> dict[str, object]:
        """Facts for a table, in JSON's types."""
        return {
            "model": self.model.folder,
            "source": self.address,
            "size": self.size,
            "licence": LICENCE,
            "sha256": self.sha256,
        }

    @property
    def text(self) -> str:
        """Facts as lines of text."""
        published = self.sha256 or "not published; the one found is recorded"
        return (
            f"{self.model.folder}\n  source   {self.address}\n  size     {self.size / 1e6:.1f} MB\n"
            f"  licence  {LICENCE}\n  SHA-256  {published}"
        )


def refuse_in_a_job() -> None:
    """Raise ``BadInputError`` (``bad_usage``) inside a job of a build."""
    if os.environ.get(BUILD_VARIABLE):
        raise BadInputError(
            "weights are not downloaded in a job of a build",
            code="bad_usage",
            field=BUILD_VARIABLE,
            remedy="run lcsd weights fetch by hand before the build",
        )


def offer(model: Model, mirror: str | None = None) -> Offer:
    """Ask the server for the archive of a model.

    ``mirror`` replaces ``SOURCE``; a mirror is asked for the size alone. Raises ``WorkError`` (``server_unreachable``,
    ``not_offered``) or ``BadInputError`` (``bad_value``) for a mirror that is no address.
    """
    name = f"{model.folder}.zip"
    address = f"{(mirror or SOURCE).rstrip('/')}/{model.release}/{name}"
    if mirror is None:
        with _answer(f"{FACTS}/{model.release}") as answer:
            facts = _facts_of(answer, name)
        if facts is None:
            raise WorkError(
                "the release has no such file", code="not_offered", file=f"{FACTS}/{model.release}", field=name
            )
        return Offer(model, address, *facts)
    with _answer(address, method="HEAD") as answer:
        size = answer.headers.get("Content-Length", "")
    if not size.isdecimal():
        raise WorkError("the server does not say the size", code="not_offered", file=address, field="Content-Length")
    return Offer(model, address, int(size), None)


def _facts_of(answer: HTTPResponse, name: str) -> tuple[int, str | None] | None:
    """Return size and SHA-256 (None if unknown) of a file in GitHub's description of a release."""
    try:
        assets: list[dict[str, Any]] = json.load(answer)["assets"]
        facts = next((asset for asset in assets if asset["name"] == name), None)
        if facts is None:
            return None
        kind, _, value = (facts.get("digest") or "").partition(":")
        return int(facts["size"]), value.lower() if kind == "sha256" else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkError(
            "not GitHub's description of a release",
            code="not_offered",
            file=answer.url,
            found=f"{type(error).__name__}",
        ) from error


@contextlib.contextmanager
def _answer(address: str, *, method: str = "GET") -> Iterator[HTTPResponse]:
    """Yield the answer of a server; raise ``WorkError`` (``server_unreachable``, ``not_offered``) without one."""
    if urllib.parse.urlsplit(address).scheme not in {"https", "http"}:
        raise BadInputError("not an address", code="bad_value", file=address, expected="https://... or http://...")
    request = urllib.request.Request(address, method=method, headers={"User-Agent": "lcsd"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the scheme is checked above
            if address.startswith("https:") and not answer.url.startswith("https:"):
                raise WorkError("the server leads to an address without TLS", code="not_offered", file=answer.url)
            yield answer
    except urllib.error.HTTPError as error:
        raise WorkError(
            "the server refused", code="not_offered", file=address, found=f"{error.code} {error.reason}"
        ) from error
    except (OSError, HTTPException) as error:
        raise WorkError(
            "the server cannot be reached",
            code="server_unreachable",
            file=address,
            found=str(getattr(error, "reason", error)) or type(error).__name__,
            remedy="check the network, or name a copy of these files with --mirror",
        ) from error


def fetch(offers: Sequence[Offer], folder: Path, *, progress: Callable[[int], object] = lambda _: None) -> Path:
    """Download, verify and unpack models into ``folder``; return the file in which their SHA-256 are recorded.

    A model is in its folder completely or not at all. Raises ``WorkError``: ``size_mismatch``, ``checksum_mismatch``
    (of the published SHA-256, or the one recorded earlier), ``bad_archive``, and the codes of
    :func:`~lcsd.totalsegmentator.weights.check_weights`. ``progress`` is called with the bytes that arrived.
    """
    record = default_record()
    for chosen in offers:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".lcsd_weights_", dir=folder) as name:
                _fetch_one(chosen, folder, Path(name), progress)
        except OSError as error:
            raise unwritable(folder, error) from error
    return record


def _fetch_one(chosen: Offer, folder: Path, place: Path, progress: Callable[[int], object]) -> None:
    archive, record, model = place / "archive.zip", default_record(), chosen.model
    found = _download(chosen, archive, progress)
    key = f"{model.release}/{model.folder}.zip"
    known = read_record(record).get(key) if record.exists() else None
    for expected, origin in ((chosen.sha256, chosen.address), (known, str(record))):
        if expected is not None and found != expected:
            raise WorkError(
                "the archive is not the one that is known",
                code="checksum_mismatch",
                file=chosen.address,
                field=f"SHA-256, from {origin}",
                expected=expected,
                found=found,
                remedy="download it again, or ask TotalSegmentator's authors",
            )
    _unpack(archive, place / "unpacked", model)
    check_weights(place / "unpacked", [model])
    check_hashes(place / "unpacked", [model], None)
    if (folder / model.folder).exists():
        shutil.rmtree(folder / model.folder)  # incomplete: complete ones are not fetched
    (place / "unpacked" / model.folder).rename(folder / model.folder)
    record_hashes(folder, [model], also={key: found})


def _download(chosen: Offer, path: Path, progress: Callable[[int], object]) -> str:
    """Write the archive to ``path``; return its SHA-256. Raises ``WorkError`` (``size_mismatch``)."""
    digest, size = hashlib.sha256(), 0
    with _answer(chosen.address) as answer, path.open("wb") as handle:
        while size <= chosen.size and (part := answer.read(CHUNK_BYTES)):
            handle.write(part)
            digest.update(part)
            size += len(part)
            progress(len(part))
    if size != chosen.size:
        raise WorkError(
            "the download ended early" if size < chosen.size else "the download is longer than announced",
            code="size_mismatch",
            file=chosen.address,
            expected=f"{chosen.size} bytes",
            found=f"{size} bytes",
            remedy="run the command again",
        )
    return digest.hexdigest()


def _unpack(archive: Path, into: Path, model: Model) -> None:
    """Unpack the files of a model; raise ``WorkError`` (``bad_archive``) if they are not in the archive.

    Only plain files below the model's folder are written, so no archive can write elsewhere.
    """
    problem = None
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir() and _inside(m.filename, model.folder)]
            if sum(m.file_size for m in members) > MOST_BYTES:
                problem = f"more than {MOST_BYTES >> 30} GiB"
            elif missing := {n.as_posix() for n in model.files} - {m.filename for m in members}:
                problem = f"no {sorted(missing)[0]}"
            for member in members if problem is None else ():
                target = into / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("wb") as handle:
                    shutil.copyfileobj(source, handle, CHUNK_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        problem = str(error)
    if problem is not None:
        raise WorkError(
            "not an archive of this model", code="bad_archive", file=archive.name, field=model.folder, found=problem
        )


def _inside(name: str, folder: str) -> bool:
    """Return whether a member of an archive is below the folder; names with ``..`` or a root are not."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0] == folder and ".." not in parts and "\\" not in name
