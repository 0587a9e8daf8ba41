"""Releases elsewhere: copied by fsspec, verified, copied once."""

import sys
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from lcsd.data import LCSDataset
from lcsd.errors import BadInputError, WorkError
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import make_build

ADDRESS = "hf://datasets/owner/name"


class Hub(MemoryFileSystem):  # type: ignore[misc]
    """A Hub in memory; ``copied`` names what was read."""

    protocol = "hf"
    copied: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("hf://").strip("/")

    def get_file(self, rpath: str, lpath: str, **rest: Any) -> None:
        Hub.copied.append(rpath)
        super().get_file(rpath, lpath, **rest)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    results, manifest = make_build(folder)
    write_release(results, manifest, results / "release", ReleaseSettings(images=True))
    return results / "release"


@pytest.fixture
def hub(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Hub, "store", {})
    monkeypatch.setattr(Hub, "copied", [])
    monkeypatch.setitem(_registry, "hf", Hub)
    made = Hub(skip_instance_cache=True)
    for path in release.rglob("*"):
        if path.is_file():
            made.pipe(f"/datasets/owner/name/{path.relative_to(release).as_posix()}", path.read_bytes())
    return made


def copied_parts() -> set[str]:
    return {path.split("/")[4] for path in Hub.copied}


@pytest.mark.slow
def test_a_release_elsewhere_gives_the_same_samples(release: Path, hub: Hub) -> None:
    near, far = (LCSDataset(root, "train", vessels=True, normalise=True) for root in (release, ADDRESS + "/"))
    assert len(near) == len(far) == 2
    for ours, theirs in zip(near, far, strict=True):
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["fixed"], theirs["fixed"])
        assert torch.equal(ours["moving_vessels"], theirs["moving_vessels"])


def test_only_what_is_needed_is_copied_and_only_once(hub: Hub, tmp_path: Path) -> None:
    LCSDataset(ADDRESS, "train")
    assert copied_parts() == {"SHA256SUMS", "cases.tsv", "cloudsTr", "correspondencesTr", "rigidTr"}
    assert not any("dense" in path for path in Hub.copied)
    Hub.copied.clear()
    LCSDataset(ADDRESS, "train")
    assert copied_parts() == {"SHA256SUMS"}
    LCSDataset(ADDRESS, "test", images=True)
    assert copied_parts() == {
        "SHA256SUMS",
        "cloudsTs",
        "correspondencesTs",
        "rigidTs",
        "imagesTs",
        "labelsTs",
        "landmarksTs",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["lcsd"]
    Hub.copied.clear()
    LCSDataset(ADDRESS, "train", cache=tmp_path / "own")
    assert "cloudsTr" in copied_parts()


def test_fsspec_own_addresses(release: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(release), "/made", recursive=True)
    try:
        for address in ("memory://made", f"local://{release}", release.as_uri()):
            assert len(LCSDataset(address, "test", cache=tmp_path)) == 1
    finally:
        memory.rm("/made", recursive=True)


def test_a_changed_file_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    name = next(path for path in hub.find("/datasets/owner/name/cloudsTr") if path.endswith("_sparse.npz"))
    good = hub.cat(name)
    hub.pipe(name, good + b"x")
    with pytest.raises(WorkError) as caught:
        LCSDataset(ADDRESS, "train")
    assert caught.value.code == "checksum_mismatch"
    assert name.rsplit("/", 1)[1] in caught.value.message
    hub.pipe(name, good)
    assert len(LCSDataset(ADDRESS, "train")) == 2


def test_what_is_not_there(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        LCSDataset("hf://datasets/owner/other", "train")
    assert caught.value.code == "missing_file"
    with pytest.raises(BadInputError) as caught:
        LCSDataset("nowhere://x", "train")
    assert caught.value.code == "bad_value"

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hub, "get_file", refuse)
        with pytest.raises(WorkError) as failed:
            LCSDataset(ADDRESS, "train")
    assert failed.value.code == "server_unreachable"


@pytest.mark.parametrize(
    ("address", "line"), [(ADDRESS, "pip install fsspec huggingface_hub"), ("s3://a", "pip install fsspec,")]
)
def test_a_missing_package_is_named(address: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(BadInputError) as caught:
        LCSDataset(address, "train")
    assert caught.value.code == "missing_package"
    assert line in caught.value.message
    assert "\n" not in caught.value.message


def test_the_hub_of_hugging_face_knows_these_addresses() -> None:
    from fsspec.core import url_to_fs

    pytest.importorskip("huggingface_hub")
    files, path = url_to_fs(ADDRESS)
    assert type(files).__name__ == "HfFileSystem"
    assert path == "datasets/owner/name"
