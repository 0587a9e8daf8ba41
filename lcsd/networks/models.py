"""Model files: weights and what they belong to in one file, and the models that ship."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lcsd.errors import BadInputError, LcsdError
from lcsd.io.files import atomic_path, read_json, require_file, sha256
from lcsd.settings.train import NETWORKS, SECTIONS, NetworkName, NetworkSettings

FORMAT = 1
"""Version of the files; another one is refused."""

KEY = "lcsd"
"""Entry of a file's metadata that holds ours, as JSON."""

SHIPPED = "shipped.json"
"""The models of the package, beside this module: file and SHA-256 of each."""


class Network(Protocol):
    """What every network can do; points are float32 LPS mm, after the affine start."""

    def supervised(self, fixed: Tensor, moving: Tensor, vectors: Tensor, *, turned: bool) -> Tensor:
        """Return the mean error, mm, with gradient, of clouds (N, 3) and (M, 3) with true vectors (N, 3)."""

    def unsupervised(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the distance of the clouds after the motion, a grid of the motion (1, 3, D, H, W), and its spacing."""

    def displace(self, fixed: Tensor, moving: Tensor, places: Tensor) -> Tensor:
        """Return the motion (K, 3), mm, at places (K, 3) of the fixed cloud."""


@dataclass(frozen=True)
class Model:
    """A trained network, ready to use, and the facts in its file."""

    name: NetworkName
    network: Any  # an nn.Module that is a Network
    settings: NetworkSettings
    facts: Mapping[str, Any]
    sha256: str


def make_network(name: NetworkName, settings: NetworkSettings) -> Any:
    """Return a network with fresh weights: an ``nn.Module`` that is a :class:`Network`."""
    from lcsd.networks.dgcnn import DGCNN
    from lcsd.networks.pointpwc import PointPWC
    from lcsd.networks.unet import UNet

    kinds: dict[str, Any] = {"unet": UNet, "dgcnn": DGCNN, "pointpwc": PointPWC}
    return kinds[name](settings)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts (JSON) to one safetensors file, whole or not at all."""
    from safetensors.torch import save

    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(content, metadata={KEY: json.dumps({"format": FORMAT, **facts}, sort_keys=True, allow_nan=False)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts of a file of :func:`write_tensors`.

    Raises ``BadInputError``: ``bad_model`` for any other or a damaged file, ``model_version`` for another format.
    """
    from safetensors import SafetensorError, safe_open

    require_file(path)
    try:
        with safe_open(path, framework="pt") as handle:
            facts = json.loads((handle.metadata() or {}).get(KEY, "null"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise _bad(path, "not a model file, or a damaged one", found=error) from error
    if not isinstance(facts, dict):
        raise _bad(
            path, "a file of tensors that lcsd train did not write", field=KEY, expected="our facts in its header"
        )
    if facts.get("format") != FORMAT:
        raise BadInputError(
            "a model of another version",
            code="model_version",
            file=path,
            field="format",
            expected=FORMAT,
            found=facts.get("format"),
            remedy="train it again, or use the version of lcsd that wrote it",
        )
    return tensors, facts


def _bad(
    path: Path, what: str, *, field: str | None = None, expected: object = None, found: object = None
) -> LcsdError:
    return BadInputError(
        what,
        code="bad_model",
        file=path,
        field=field,
        expected=expected,
        found=found,
        remedy="give a model.safetensors of lcsd train, or copy it again",
    )


def write_model(
    path: Path, name: NetworkName, network: nn.Module, settings: NetworkSettings, facts: Mapping[str, Any]
) -> None:
    """Write a trained network with its settings and facts about the training."""
    write_tensors(
        path, weights_of(network), {"network": name, "settings": settings.model_dump(mode="json"), "facts": dict(facts)}
    )


def read_model(path: Path, name: NetworkName | None = None) -> Model:
    """Return the network in a model file.

    Raises ``BadInputError`` naming file and field: as :func:`read_tensors`; ``wrong_model`` if it is not of the network
    ``name``; ``bad_model`` if a tensor is missing, of another shape, too many, or not finite.
    """
    from lcsd.config import validate

    tensors, facts = read_tensors(path)
    found = facts.get("network")
    if found not in NETWORKS or (name is not None and found != name):
        raise BadInputError(
            "the model is of another network",
            code="wrong_model",
            file=path,
            field="network",
            expected=name or " or ".join(NETWORKS),
            found=found,
            remedy="give its name with --method, or another file with --model",
        )
    settings = validate(SECTIONS[found], facts.get("settings"), where="settings", file=path)
    network = make_network(found, settings)
    load_weights(network, tensors, path)
    network.eval()
    return Model(found, network, settings, facts.get("facts") or {}, sha256(path))


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network by name, each once: a U-Net knows some by several names."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a network after checking that they fit; errors as :func:`read_model`."""
    wanted = weights_of(network)
    for field in sorted(wanted.keys() | tensors.keys()):
        here, there = wanted.get(field), tensors.get(field)
        shapes = [None if part is None else tuple(part.shape) for part in (here, there)]
        if shapes[0] != shapes[1]:
            raise _bad(path, "the weights do not fit the network", field=field, expected=shapes[0], found=shapes[1])
        if there is not None and not bool(there.isfinite().all()):
            raise _bad(path, "a weight is not finite", field=field, expected="finite numbers", found="NaN or infinity")
    with torch.no_grad():
        for field, value in wanted.items():
            value.copy_(tensors[field])


def shipped() -> dict[NetworkName, dict[str, Any]]:
    """Return the models of the package: file, SHA-256 and size of each, by the name of the network."""
    place = resources.files("lcsd.networks")
    listed = read_json(Path(str(place / SHIPPED)))
    return {name: listed[name] for name in NETWORKS if name in listed}


def model_of(name: NetworkName, path: Path | None = None) -> Model:
    """Return the model in a file, or the one of the package.

    Raises ``BadInputError`` as :func:`read_model`; ``no_shipped_model`` if the package has none of that name; and
    ``model_changed`` if its file is not the one that was shipped.
    """
    if path is not None:
        return read_model(path, name)
    known = shipped()
    if name not in known:
        raise BadInputError(
            "no model of this network ships",
            code="no_shipped_model",
            field="--model",
            expected=f"one of {', '.join(known)}, or a file",
            found=name,
            remedy=f"train one: lcsd train --network {name}",
        )
    file = Path(str(resources.files("lcsd.networks") / str(known[name]["file"])))
    model = read_model(file, name)
    if model.sha256 != known[name]["sha256"]:
        raise BadInputError(
            "the shipped model is not the one that was released",
            code="model_changed",
            file=file,
            field="SHA-256",
            expected=known[name]["sha256"],
            found=model.sha256,
            remedy="install lcsd again",
        )
    return model
