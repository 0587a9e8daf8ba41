"""Failures of TotalSegmentator as errors with a code, also across processes."""

from collections.abc import Mapping
from typing import Any

from lcsd.errors import BadInputError, LcsdError, WorkError

MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "insufficient available cpu ram",
    "background workers died",
    "background workers are no longer alive",
)
"""Texts in RuntimeErrors of torch and nnU-Net that mean out of memory."""

ERROR_PARTS = ("what", "code", "file", "field", "expected", "found", "remedy")


def out_of_memory(device: str, why: str) -> WorkError:
    """Return the error that memory ran out, with the remedy for that device."""
    remedy = (
        "let fewer jobs use the GPU at once (resource gpu), or use --device cpu"
        if device == "cuda"
        else "run fewer jobs at once (mem_mb of the rule in the profile), or use a larger machine"
    )
    return WorkError(f"TotalSegmentator ran out of memory ({why})", code="out_of_memory", field=device, remedy=remedy)


def explained(error: BaseException, device: str) -> LcsdError:
    """Return the error with a code for a failure of the package."""
    if isinstance(error, LcsdError):
        return error
    text = " ".join(str(error).split()) or type(error).__name__
    kind = type(error).__name__
    if (
        isinstance(error, MemoryError)
        or kind == "OutOfMemoryError"
        or any(word in text.lower() for word in MEMORY_WORDS)
    ):
        return out_of_memory(device, kind)
    return WorkError(
        f"TotalSegmentator failed: {kind}: {text}", code="totalsegmentator_failed", remedy="see the lines above"
    )


def error_parts(error: LcsdError) -> dict[str, Any]:
    """Return an error as JSON, for :func:`error_of`."""
    parts = {name: getattr(error, name) for name in ERROR_PARTS}
    return {**parts, "bad_input": isinstance(error, BadInputError)}


def error_of(parts: Mapping[str, Any]) -> LcsdError:
    """Return the error that :func:`error_parts` wrote."""
    kind = BadInputError if parts["bad_input"] else WorkError
    return kind(**{name: parts[name] for name in ERROR_PARTS})
