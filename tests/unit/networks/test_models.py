"""Model files: what is not a whole, fitting model of the right network is refused by file and field."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.networks import models
from lcsd.networks.models import model_of, read_model, read_tensors, shipped, write_tensors


def rewritten(change: Callable[[dict[str, torch.Tensor], dict[str, object]], None]) -> Callable[[Path, Path], None]:
    def write(source: Path, path: Path) -> None:
        tensors, facts = read_tensors(source)
        change(tensors, facts)
        write_tensors(path, tensors, facts)

    return write


def truncated(source: Path, path: Path) -> None:
    path.write_bytes(source.read_bytes()[:-100])


def pickled(_: Path, path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def foreign(_: Path, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(3)}, path)


FIRST = "body.decoder.seg_layers.0.bias"

FAULTS = {
    "truncated": (truncated, "bad_model", "damaged"),
    "pickled": (pickled, "bad_model", "damaged"),
    "foreign": (foreign, "bad_model", "lcsd train did not write"),
    "later": (rewritten(lambda _, facts: facts.update(format=2)), "model_version", "expected 1; found 2"),
    "other_network": (rewritten(lambda _, facts: facts.update(network="vgg")), "wrong_model", "found vgg"),
    "missing": (rewritten(lambda tensors, _: [tensors.pop(FIRST)]), "bad_model", FIRST),  # type: ignore[func-returns-value]
    "too_many": (rewritten(lambda tensors, _: tensors.update(extra=torch.ones(1))), "bad_model", "extra"),
    "shape": (rewritten(lambda tensors, _: tensors.update({FIRST: torch.ones(7)})), "bad_model", FIRST),
    "nan": (rewritten(lambda tensors, _: tensors.update({FIRST: torch.full((3,), torch.nan)})), "bad_model", FIRST),
    "settings": (rewritten(lambda _, facts: facts.update(settings={"depth": 3})), "unknown_key", "depth"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_model_is_refused_by_file_and_field(fault: str, model_file: Path, tmp_path: Path) -> None:
    write, code, text = FAULTS[fault]
    path = tmp_path / "m.safetensors"
    write(model_file, path)
    with pytest.raises(BadInputError) as caught:
        read_model(path, "unet")
    assert caught.value.code == code
    assert text in caught.value.message
    assert "m.safetensors" in caught.value.message


def test_shipped_models_are_pinned_small_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    known = shipped()
    folder = Path(models.__file__).parent
    assert {entry["file"] for entry in known.values()} == {path.name for path in folder.glob("*.safetensors")}
    assert sum((folder / entry["file"]).stat().st_size for entry in known.values()) < 5_000_000
    for name, entry in known.items():
        assert model_of(name).sha256 == entry["sha256"]
        with monkeypatch.context() as context:
            context.setattr(models, "shipped", lambda entry=entry, name=name: {name: {**entry, "sha256": "0" * 64}})
            with pytest.raises(BadInputError, match=r"\[model_changed\]"):
                model_of(name)
    monkeypatch.setattr(models, "shipped", dict)
    with pytest.raises(BadInputError, match="lcsd train --network unet") as caught:
        model_of("unet")
    assert caught.value.code == "no_shipped_model"


def test_the_command_lists_and_shows_models(model_file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["models", "list", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == shipped()
    done = CliRunner().invoke(main, ["models", "show", str(model_file)])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["network"] == "unet"
    assert record["pairs"] == "phantom:0"
    assert record["validation_mm"] > 0
    done = CliRunner().invoke(main, ["models", "show", str(tmp_path / "none.safetensors")])
    assert done.exit_code == 2
    assert "[missing_file]" in done.stderr
