"""Files of torch: plain values come back, damage is one kind of error, and code never runs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lcsd.errors import BadInputError
from lcsd.io.tensors import load_tensors


class Hostile:
    """A pickle that would make a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_plain_values_are_read(tmp_path: Path) -> None:
    content = {"a": [torch.arange(6).reshape(2, 3), 1.5, "x"]}
    torch.save(content, tmp_path / "t.pth")
    found = load_tensors(tmp_path / "t.pth")
    assert found["a"][1:] == [1.5, "x"]
    assert torch.equal(found["a"][0], content["a"][0])


@pytest.mark.parametrize("zipped", [True, False])
def test_code_and_missing_files_are_refused(tmp_path: Path, *, zipped: bool) -> None:
    torch.save(Hostile(tmp_path / "mark"), tmp_path / "t.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="Weights only load failed"):
        load_tensors(tmp_path / "t.pth")
    assert not (tmp_path / "mark").exists()
    with pytest.raises(BadInputError, match=r"\[missing_file\]"):
        load_tensors(tmp_path / "none.pth")


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_any_damage_is_a_value_error(tmp_path: Path, *, zipped: bool) -> None:
    path = tmp_path / "t.pth"
    torch.save([torch.ones(50, 3)] * 3, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(200):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), size=number % 4):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(bytes(changed[: rng.integers(1, len(whole))] if number % 4 == 0 else changed))
        try:
            load_tensors(path)
        except ValueError:
            refused += 1
    assert refused > 60
