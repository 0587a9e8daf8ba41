"""Run a method in a process of its own: foreign code that crashes would otherwise end ours without a word."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from lcsd.errors import LcsdError, WorkError
from lcsd.io.fields import DisplacementField
from lcsd.methods.pair import Pair, program_failed

Run = Callable[[Pair], DisplacementField]


def _end_with_parent() -> None:
    """End this process once its parent has ended, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(name: str, run: Run, pair: Pair, reply: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        reply.send(run(pair))
    except LcsdError as error:
        reply.send(error)
    except Exception as error:  # noqa: BLE001 - whatever a package raises
        reply.send(program_failed(name, str(error), found=type(error).__name__))


def _ending(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {part.value for part in signal.Signals} else f"signal {-code}"
    return f"{name}: out of memory?" if -code == signal.SIGKILL else name


def in_own_process(name: str, run: Run, pair: Pair) -> DisplacementField:
    """Return what ``run(pair)`` returns, computed in another process.

    Raises its ``LcsdError``; ``WorkError`` (``program_failed``) for any other error, and if the process ends without an
    answer, such as by a segmentation fault.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    answers, reply = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(name, run, pair, reply), daemon=True)
    process.start()
    reply.close()
    try:
        answer: DisplacementField | LcsdError | None = None
        with contextlib.suppress(EOFError):
            answer = answers.recv()
        process.join()
    finally:
        process.kill()
        answers.close()
    if answer is None:
        raise WorkError(
            f"{name} crashed",
            code="program_failed",
            expected="a registration",
            found=_ending(process.exitcode),
            remedy="try other options, fewer --threads or smaller scans, and report it to the program's authors",
        )
    if isinstance(answer, LcsdError):
        raise answer
    return answer
