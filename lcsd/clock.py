"""Wall seconds per step of a computation."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Adds up the wall seconds of named steps in ``seconds``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the wall seconds of the block to a step."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
