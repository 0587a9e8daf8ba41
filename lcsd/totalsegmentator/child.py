"""The process in which TotalSegmentator runs: ``python -m lcsd.totalsegmentator.child JOB.json``.

A separate process, because the package and nnU-Net change threads, environment variables and standard output, and
because their spawned workers import the main program again. It reads a job file, then a request for each scan from
standard input, and writes a status file for each. Its output goes to the log of the job. Each model is loaded once.
"""

import functools
import json
import os
import pickle
import queue
import re
import shutil
import signal
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from lcsd.errors import WorkError
from lcsd.io.files import write_json
from lcsd.numerics.device import check_device, peak_memory_gib
from lcsd.totalsegmentator.failures import error_parts, explained
from lcsd.totalsegmentator.models import CHECKPOINT, MODELS, Model, package_versions, unknown_version
from lcsd.totalsegmentator.weights import other_task, truncated

PIPE_BYTES = 1 << 16

REMOVALS = 3  # attempts to remove the folder of a job whose parent process has ended

FOREIGN_OBJECT = re.compile(r"(?i:unsupported) (?:global: )?GLOBAL (?P<name>[\w.]+)|but got <class '(?P<kind>[\w.]+)'")
"""How torch names objects that it does not load as plain values."""


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook that refuses network connections, so nothing is downloaded.

    Sockets between the workers have a path, not an address, and are allowed.
    """
    connects = event == "socket.connect" and isinstance(arguments[1], tuple)
    if connects or event == "socket.getaddrinfo":
        raise PermissionError("TotalSegmentator tried to use the network inside a job")


def requests_of_parent(folder: Path) -> "queue.Queue[dict[str, str]]":
    """Return a queue of the parent's requests, each a line of JSON on standard input.

    Standard input closes when the parent ends, perhaps because it was killed. Then the ``folder`` of
    the job, which holds a scan, is removed, and this process and its workers end.
    """
    found: queue.Queue[dict[str, str]] = queue.Queue()

    def read() -> None:
        # Not sys.stdin: a waiting thread holds its lock, and nnU-Net's forked workers would wait for that lock forever.
        rest = b""
        while part := os.read(sys.stdin.fileno(), PIPE_BYTES):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                found.put(json.loads(line))
        for _ in range(REMOVALS):  # workers may write a file while the folder is emptied
            shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()
    return found


def plain_reader(read: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a ``torch.load`` that runs no code of a checkpoint, and reads each checkpoint once.

    A checkpoint is a pickle. nnU-Net loads it in the mode that can run any program, and again for
    each scan. Its own checkpoints need numpy's numbers and texts beyond what torch allows.
    """
    import numpy as np
    from torch.serialization import safe_globals

    codes = "?U" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
    scalar = np.float64(0).__reduce__()[0]
    plain: list[Any] = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *{type(np.dtype(code)) for code in codes},
    ]

    @functools.cache
    def load(path: str) -> dict[str, Any]:
        with safe_globals(plain):
            content = read(path, map_location="cpu", weights_only=True)
        # Twice as large as the weights, and only used in training.
        return {key: value for key, value in content.items() if key != "optimizer_state"}

    return lambda path, **_: load(str(path))


def predict_here() -> None:
    """Make nnU-Net predict in this process; else each model and scan starts two pools, which import torch again."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    def predict(self: Any, scans: Any, results: Any, *, save_probabilities: bool, overwrite: bool, **_: Any) -> Any:
        # Named one by one, because nnU-Net starts twelve processes to list a folder.
        files = [[str(path)] for path in sorted(Path(scans).glob("*.nii.gz"))]
        return self.predict_from_files_sequential(files, results, save_probabilities, overwrite)

    nnUNetPredictor.predict_from_files = predict


def check_checkpoint(path: Path, model: Model) -> str:
    """Return the name of the trainer in a checkpoint; raise ``WorkError`` if it is of another model."""
    import torch

    try:
        content = torch.load(path, weights_only=True)
        weights: Mapping[str, Any] = content["network_weights"]
        trainer = str(content["trainer_name"])
    except Exception as error:
        # torch raises any error of its unpickler. A truncated file is not an archive and is read as
        # a bare pickle, so its error means nothing.
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            foreign = FOREIGN_OBJECT.search(str(error))
            name = foreign and (foreign["name"] or foreign["kind"])
            raise WorkError(
                "the checkpoint contains more than plain values and could run a program",
                code="weights_not_plain",
                file=path,
                expected="a checkpoint as nnU-Net writes it",
                found=name or "a pickle of another kind",
                remedy=model.get_again,
            ) from error
        raise truncated(path, model, f"{type(error).__name__} while reading") from error
    heads = [name for name in weights if ".seg_layers." in name and name.endswith("weight")]
    if heads:
        last = max(heads, key=lambda name: int(name.split(".seg_layers.")[1].split(".")[0]))
        found = int(weights[last].shape[0])
        if found != model.labels + 1:
            raise other_task(path, model, last, expected=f"{model.labels + 1} outputs", found=found)
    return trainer


def check_trainer(name: str) -> None:
    """Raise ``WorkError`` unless nnU-Net can import a model's trainer; one of its modules needs timm."""
    import torch
    import totalsegmentator.nnunet  # noqa: F401 - it adds trainers
    from nnunetv2.inference import predict_from_raw_data

    try:
        predict_from_raw_data.recursive_find_trainer_class_by_name(name)
    except Exception as error:
        why = " ".join(str(error).split())
        raise WorkError(
            f"nnU-Net cannot import the trainer {name} ({type(error).__name__}: {why})",
            code="trainer_import",
            field="timm, torchvision",
            remedy=f"install the torchvision for torch {torch.__version__}, from the same source as torch",
        ) from error


def ready(job: Mapping[str, Any], segment: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return the package's function with the options of a job, after checking device and models.

    ``job`` has ``weights``, ``models`` (dataset numbers), ``options``, ``device`` and ``threads``; ``segment``
    is the package's function, imported if None.
    """
    import torch

    torch.set_num_threads(job["threads"])
    check_device(job["device"])
    for number in job["models"]:
        model = next(m for m in MODELS if m.dataset == number)
        check_trainer(check_checkpoint(Path(job["weights"]) / model.path / CHECKPOINT, model))
    # After the import of the package, which replaces this function, too.
    predict_here()
    if segment is None:
        from totalsegmentator import python_api

        segment = python_api.totalsegmentator
    device = "gpu" if job["device"] == "cuda" else "cpu"
    arguments = {**job["options"], "device": device}
    unknown = set(arguments) - set(signature(segment).parameters)
    if unknown:
        raise unknown_version(package_versions()["totalsegmentator"], f"no option {', '.join(sorted(unknown))}")
    return functools.partial(segment, **arguments)


def run(call: Callable[..., Any], request: Mapping[str, str], device: str) -> dict[str, Any]:
    """Segment a request's ``input`` to its ``output``; return facts for the provenance."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    call(request["input"], request["output"])
    peak = round(peak_memory_gib(), 3)
    facts: dict[str, Any] = {"torch": torch.__version__, "peak_memory_gib": peak}
    if device == "cuda":
        used = torch.cuda.max_memory_allocated()
        if used == 0:
            raise WorkError(
                "the GPU was requested but not used",
                code="no_cuda",
                field="device",
                remedy="use --device cpu, or check the driver",
            )
        facts |= {"gpu": torch.cuda.get_device_name(), "gpu_memory_gib": round(used / 2**30, 3)}
    return facts


def main(job_file: Path) -> None:
    """Answer the parent's requests until it ends this process; write a status file for each scan."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    # The package sets torch to as many threads as the machine has cores; limit it to ours.
    os.cpu_count = lambda: job["threads"]
    requests = requests_of_parent(Path(job["folder"]))
    call: Callable[..., Any] | None = None
    while True:
        request = requests.get()
        try:
            if call is None:
                import torch

                torch.load = plain_reader(torch.load)
                call = ready(job)
            status = {"facts": run(call, request, job["device"])}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it crosses to the parent
            import traceback

            traceback.print_exception(error)
            status = {"error": error_parts(explained(error, job["device"]))}
        # Once the parent sees the status, it reads the log.
        sys.stdout.flush()
        write_json(Path(request["status"]), status)


if __name__ in ("__main__", "__mp_main__"):
    # Workers import this module under the second name and must not use the network either.
    sys.addaudithook(refuse_network)

if __name__ == "__main__":
    main(Path(sys.argv[1]))
