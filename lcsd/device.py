"""Where to compute: refuses a device that this machine does not have."""

from lcsd.errors import BadInputError


def check_device(device: str) -> None:
    """Raise ``BadInputError`` unless ``device`` is ``"cpu"``, or ``"cuda"`` on a machine with it.

    There is no silent way back to the CPU: who asks for a GPU plans with its speed.
    """
    if device == "cpu":
        return
    if device != "cuda":
        raise BadInputError(
            "unknown device", code="unknown_device", field="device", expected="cpu or cuda",
            found=device,
        )  # fmt: skip
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        raise BadInputError(
            "no CUDA device can be used", code="no_cuda", field="device",
            found=f"torch {torch.__version__}",
            remedy="use --device cpu, or install a driver and a build of torch for CUDA",
        )  # fmt: skip
