"""The process in which TotalSegmentator runs: ``python -m lcsd.totalsegmentator.child JOB.json``.

A process of its own, because the package and nnU-Net take threads, environment variables and
standard output for themselves, and because their spawned workers import the main program again.
It reads a job file and writes a status file; what it prints goes to the job's log.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from lcsd.device import check_device
from lcsd.errors import WorkError
from lcsd.files import write_json
from lcsd.totalsegmentator.failures import error_parts, explained
from lcsd.totalsegmentator.models import (
    CHECKPOINT,
    MODELS,
    Model,
    package_versions,
    unknown_version,
)
from lcsd.totalsegmentator.weights import other_task, truncated


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: no connection leaves this process or its workers.

    Weights are checked before, so that no download is tried; this makes sure of it. Pipes and
    sockets between the workers have a path, not an address, and stay open.
    """
    connects = event == "socket.connect" and isinstance(arguments[1], tuple)
    if connects or event == "socket.getaddrinfo":
        raise PermissionError("TotalSegmentator tried to use the network inside a job")


def end_with_parent() -> None:
    """End this process and its workers when standard input closes: the parent is gone."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def check_checkpoint(path: Path, model: Model) -> str:
    """Return the trainer's name in a checkpoint; raise ``WorkError`` if it is not the model's."""
    import torch  # noqa: PLC0415

    try:
        # As nnU-Net reads it, but without reading the numbers.
        content = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
        weights: Mapping[str, Any] = content["network_weights"]
        trainer = str(content["trainer_name"])
    except Exception as error:
        # torch raises whatever its unpickler meets in a broken file.
        raise truncated(path, model, f"{type(error).__name__} at reading") from error
    heads = [name for name in weights if ".seg_layers." in name and name.endswith("weight")]
    if heads:
        last = max(heads, key=lambda name: int(name.split(".seg_layers.")[1].split(".")[0]))
        found = int(weights[last].shape[0])
        if found != model.labels + 1:
            raise other_task(path, model, last, expected=f"{model.labels + 1} outputs", found=found)
    return trainer


def check_trainer(name: str) -> None:
    """Raise ``WorkError`` unless nnU-Net can import the class that trained a model.

    Its search imports its modules one by one; one of them needs timm and torchvision.
    """
    import torch  # noqa: PLC0415
    import totalsegmentator.nnunet  # noqa: F401, PLC0415 - it adds trainers of its own
    from nnunetv2.inference import predict_from_raw_data  # noqa: PLC0415

    try:
        predict_from_raw_data.recursive_find_trainer_class_by_name(name)
    except Exception as error:
        why = " ".join(str(error).split())
        raise WorkError(
            f"nnU-Net cannot import the trainer {name} ({type(error).__name__}: {why})",
            code="trainer_import", field="timm, torchvision",
            remedy=f"install the torchvision that belongs to torch {torch.__version__}, from where "
            "that torch came",
        ) from error  # fmt: skip


def _package_function() -> Callable[..., Any]:
    from totalsegmentator.python_api import totalsegmentator  # noqa: PLC0415

    function: Callable[..., Any] = totalsegmentator
    return function


def run(job: Mapping[str, Any], segment: Callable[..., Any] | None = None) -> dict[str, Any]:
    """Run one job; return facts for the provenance.

    Parameters
    ----------
    job
        ``input``, ``output``, ``weights``, ``models`` (dataset numbers), ``options``,
        ``device`` and ``threads``.
    segment
        The package's function; imported if None.
    """
    import torch  # noqa: PLC0415

    torch.set_num_threads(job["threads"])
    check_device(job["device"])
    for number in job["models"]:
        model = next(m for m in MODELS if m.dataset == number)
        check_trainer(check_checkpoint(Path(job["weights"]) / model.path / CHECKPOINT, model))
    call = segment or _package_function()
    device = "gpu" if job["device"] == "cuda" else "cpu"
    arguments = {**job["options"], "device": device}
    unknown = set(arguments) - set(signature(call).parameters)
    if unknown:
        raise unknown_version(
            package_versions()["totalsegmentator"], f"no option {', '.join(sorted(unknown))}"
        )
    call(job["input"], job["output"], **arguments)
    facts: dict[str, Any] = {"torch": torch.__version__}
    if job["device"] == "cuda":
        used = torch.cuda.max_memory_allocated()
        if used == 0:
            raise WorkError(
                "the GPU was not used although it was asked for", code="no_cuda", field="device",
                remedy="use --device cpu, or check the driver",
            )  # fmt: skip
        facts |= {"gpu": torch.cuda.get_device_name(), "gpu_memory_gib": round(used / 2**30, 3)}
    return facts


def main(job_file: Path) -> int:
    """Run the job and write its status file; return the exit code."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    # The package gives torch as many threads as the machine has cores; these are ours.
    os.cpu_count = lambda: job["threads"]
    end_with_parent()
    try:
        status = {"facts": run(job)}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it crosses to the parent
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
        status = {"error": error_parts(explained(error, job["device"]))}
    write_json(Path(job["status"]), status)
    return 0


if __name__ in ("__main__", "__mp_main__"):
    # Workers import this module under the second name, and are bound to the same promise.
    sys.addaudithook(refuse_network)

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
