"""The process of a run: no network, no other device, every failure with a code."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.totalsegmentator import child
from lcsd.totalsegmentator.failures import error_of, error_parts, explained
from lcsd.totalsegmentator.models import CHECKPOINT, TASKS, VESSELS_LEGACY


def write_checkpoint(path: Path, outputs: int, trainer: str = "nnUNetTrainer") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    heads = {
        "decoder.seg_layers.0.weight": torch.zeros(7, 4, 1, 1, 1),
        "decoder.seg_layers.10.weight": torch.zeros(outputs, 4, 1, 1, 1),
        "decoder.seg_layers.10.bias": torch.zeros(outputs),
    }
    torch.save({"network_weights": heads, "trainer_name": trainer}, path)
    return path


def job_of(folder: Path, **changes: Any) -> dict[str, Any]:
    options = TASKS["lung_vessels_LEGACY"].options(robust_crop=False, resampling_order=1)
    return {"weights": str(folder), "models": [258], "threads": 1, "device": "cpu", "options": options, **changes}


@pytest.mark.slow
def test_no_connection_leaves_the_process() -> None:
    code = (
        "import sys, socket; from lcsd.totalsegmentator.child import refuse_network;"
        "sys.addaudithook(refuse_network)\n"
        "a, b = socket.socketpair()\n"  # the workers' own sockets stay
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "for call in (lambda: socket.create_connection(server.getsockname()),"
        " lambda: socket.socket().connect(('127.0.0.1', 9)),"
        " lambda: socket.getaddrinfo('localhost', 80)):\n"
        "    try:\n        call()\n"
        "    except PermissionError as error:\n        print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 3


def test_checkpoint_of_another_task(tmp_path: Path) -> None:
    good = write_checkpoint(tmp_path / "good.pth", 3, "someTrainer")
    assert child.check_checkpoint(good, VESSELS_LEGACY) == "someTrainer"
    with pytest.raises(WorkError) as caught:
        child.check_checkpoint(write_checkpoint(tmp_path / "bad.pth", 5), VESSELS_LEGACY)
    assert caught.value.code == "weights_of_another_task"
    assert "expected 3 outputs; found 5" in caught.value.message


def test_broken_checkpoint(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "cut.pth", 3)
    os.truncate(path, path.stat().st_size // 2)
    for broken in (path, tmp_path / "absent.pth"):
        with pytest.raises(WorkError) as caught:
            child.check_checkpoint(broken, VESSELS_LEGACY)
        assert caught.value.code == "weights_truncated"
        assert "lung_vessels_LEGACY" in caught.value.message


class Program:
    """Leaves a mark where a checkpoint is read in the way that runs what it holds."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", child.plain_reader(torch.load))


@pytest.mark.usefixtures("_plain")
def test_a_checkpoint_runs_no_program(tmp_path: Path) -> None:
    weights = {"decoder.seg_layers.0.weight": torch.zeros(3, 4, 1, 1, 1)}
    content = {"network_weights": weights, "trainer_name": "nnUNetTrainer"}
    path = tmp_path / "program.pth"
    torch.save({**content, "logging": Program(tmp_path / "mark")}, path)
    with pytest.raises(WorkError) as caught:
        child.check_checkpoint(path, VESSELS_LEGACY)
    assert caught.value.code == "weights_not_plain"
    assert "mkdir" in caught.value.message
    assert not (tmp_path / "mark").exists()


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("value", [np.bytes_(b"a"), np.zeros(2)], ids=["bytes", "array"])
def test_what_is_not_plain_is_not_called_cut(value: Any, tmp_path: Path) -> None:
    weights = {"decoder.seg_layers.0.weight": torch.zeros(3, 4, 1, 1, 1)}
    content = {"network_weights": weights, "trainer_name": "nnUNetTrainer", "more": value}
    path = tmp_path / "whole.pth"
    torch.save(content, path)
    with pytest.raises(WorkError) as caught:
        child.check_checkpoint(path, VESSELS_LEGACY)
    assert caught.value.code == "weights_not_plain"
    assert "found numpy." in caught.value.message
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WorkError) as caught:
        child.check_checkpoint(path, VESSELS_LEGACY)
    assert caught.value.code == "weights_truncated"


def rename(path: Path, before: bytes, after: bytes) -> None:
    """Replace a name in a checkpoint's pickle."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            is_pickle = name.endswith("/data.pkl")
            assert not is_pickle or before in content
            archive.writestr(name, content.replace(before, after) if is_pickle else content)


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("old", [False, True], ids=["numpy 2", "numpy 1"])
def test_what_training_leaves_in_a_checkpoint_is_read(tmp_path: Path, old: bool) -> None:
    """As nnUNetTrainer.save_checkpoint writes it, by either numpy's name of its scalars."""
    weights = {"decoder.seg_layers.0.weight": torch.zeros(3, 4, 1, 1, 1)}
    content = {
        "network_weights": weights,
        "trainer_name": "nnUNetTrainer",
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []},
        "grad_scaler_state": {"scale": 65536.0, "growth_factor": 2.0},
        "logging": {
            "mean_fg_dice": [np.float64(0.8)],
            "train_losses": [np.float32(0.1)],
            "epoch_start_timestamps": [1.7e9],
            "dice_per_class_or_region": [[np.float64(0.5)]],
        },
        "_best_ema": np.float64(0.81),
        "current_epoch": 1000,
        "numbers": [np.int16(1), np.uint8(2), np.float16(3), np.uint64(4), np.bool_(True)],
        "text": np.str_("ab"),
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    path = tmp_path / "real.pth"
    torch.save(content, path)
    if old:
        rename(path, b"cnumpy._core.", b"cnumpy.core.")
    assert child.check_checkpoint(path, VESSELS_LEGACY) == "nnUNetTrainer"
    first = torch.load(path, weights_only=False)
    assert first["_best_ema"] == 0.81
    assert "optimizer_state" not in first
    path.unlink()
    assert torch.load(str(path)) is first


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """nnU-Net's predictor, left as it was; its import takes seconds, so only tests that need it ask."""
    child.check_trainer("nnUNetTrainer")  # imports the package, which exchanges functions
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    for name in ("predict_from_files", "predict_from_files_sequential"):
        monkeypatch.setattr(nnUNetPredictor, name, getattr(nnUNetPredictor, name))
    return nnUNetPredictor


@pytest.mark.slow
def test_nnunet_starts_no_workers(tmp_path: Path, predictor: Any) -> None:
    path = tmp_path / VESSELS_LEGACY.path / CHECKPOINT
    write_checkpoint(path, 3)
    child.ready(job_of(tmp_path))
    calls: list[tuple[Any, ...]] = []
    predictor.predict_from_files_sequential = lambda _, *given: calls.append(given)
    (tmp_path / "s01_0000.nii.gz").touch()
    predictor.predict_from_files(
        predictor.__new__(predictor),
        str(tmp_path),
        "results",
        save_probabilities=False,
        overwrite=True,
        num_processes_preprocessing=1,
        num_processes_segmentation_export=1,
        folder_with_segs_from_prev_stage=None,
        num_parts=1,
        part_id=0,
    )
    assert calls == [([[str(tmp_path / "s01_0000.nii.gz")]], "results", False, True)]


@pytest.mark.slow
@pytest.mark.usefixtures("predictor")
def test_trainer_that_cannot_be_imported() -> None:
    child.check_trainer("nnUNetTrainer")
    with pytest.raises(WorkError) as caught:
        child.check_trainer("nnUNetTrainer_of_nobody")
    assert caught.value.code == "trainer_import"
    assert torch.__version__ in caught.value.message
    assert "torchvision" in caught.value.message


@pytest.mark.slow
@pytest.mark.usefixtures("predictor")
def test_every_option_is_given_and_known(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / VESSELS_LEGACY.path / CHECKPOINT, 3)
    calls = []

    def takes_all(input: str, output: str, **options: object) -> None:  # noqa: A002
        calls.append(options)

    def old(input: str, output: str, *, task: str, device: str) -> None:  # noqa: A002
        pytest.fail("an old package was called")

    with pytest.raises(WorkError) as caught:
        child.ready(job_of(tmp_path), old)
    assert caught.value.code == "unknown_version"
    assert "resampling_order" in caught.value.message
    with pytest.raises(WorkError):
        child.ready(job_of(tmp_path), takes_all)
    assert calls == []


def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInputError) as caught:
        child.ready(job_of(tmp_path, device="cuda"))
    assert caught.value.code == "no_cuda"


@pytest.mark.slow
@pytest.mark.usefixtures("predictor")
def test_a_gpu_that_was_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package goes on with the CPU without a word; then no memory of the GPU was taken."""
    from totalsegmentator import python_api

    write_checkpoint(tmp_path / VESSELS_LEGACY.path / CHECKPOINT, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    called = []

    def fake(*_: object, **options: object) -> None:
        called.append(options["device"])

    fake.__signature__ = child.signature(python_api.totalsegmentator)  # type: ignore[attr-defined]
    call = child.ready(job_of(tmp_path, device="cuda"), fake)
    with pytest.raises(WorkError) as caught:
        child.run(call, {"input": "a", "output": "b"}, "cuda")
    assert caught.value.code == "no_cuda"
    assert called == ["gpu"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (
            RuntimeError(
                "Segmentation export worker died. It was likely killed by your OS because "
                "of insufficient available CPU RAM."
            ),
            "out_of_memory",
        ),
        (MemoryError(), "out_of_memory"),
        (ValueError("two\nlines"), "totalsegmentator_failed"),
        (SystemExit(1), "totalsegmentator_failed"),
        (BadInputError("x", code="no_cuda"), "no_cuda"),
    ],
)
def test_failures_have_a_code(error: BaseException, code: str) -> None:
    found = explained(error, "cuda")
    assert found.code == code
    assert "\n" not in found.message
    if code == "out_of_memory":
        assert "--device cpu" in found.message
        assert "resource gpu" in found.message
        assert "--device cpu" not in explained(error, "cpu").message
        assert "mem_mb" in explained(error, "cpu").message


@pytest.mark.parametrize("kind", [BadInputError, WorkError])
def test_errors_cross_processes(kind: type[LcsdError]) -> None:
    error = kind("what", code="some_code", file="f", field="g", expected=3, found=[4], remedy="r")
    again = error_of(error_parts(error))
    assert type(again) is kind
    assert again.to_dict() == error.to_dict()
