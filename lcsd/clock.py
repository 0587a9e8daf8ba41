"""Wall seconds per step of a computation."""

import contextlib
import time
from collections.abc import Callable, Iterator


class Clock:
    """Adds up the wall seconds of named steps in ``seconds``.

    Parameters
    ----------
    wait
        Called before the clock is read: a step that hands work to a GPU returns before it is done.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._wait = wait

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the wall seconds of the block to a step."""
        start = time.monotonic()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
