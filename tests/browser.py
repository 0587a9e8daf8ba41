"""Headless Chromium for tests of pages, spoken to through a pipe: no driver and no port."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
)

SECONDS = 120.0


def chromium() -> str | None:
    """Return the program, or None where there is none."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


class Browser:
    """A page in a browser.

    ``events`` holds everything the browser has told, in order.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(SECONDS)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(end - time.monotonic(), 0))
            assert ready, f"the browser said nothing for {seconds:.0f} s"
            part = os.read(self._receive, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, page: Path | str, *, width: int = 1200, height: int = 900) -> None:
        """Load a file or an address and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next(SECONDS)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def requests(self) -> list[str]:
        """Return the addresses that the page has asked for, itself left out."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [
            p["request"]["url"]
            for p in sent
            if p.get("type") != "Document" and not p["request"]["url"].startswith("data:")
        ]

    def complaints(self) -> list[str]:
        """Return errors and warnings that the page has caused."""
        found = []
        for event in self.events:
            parts = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(parts["exceptionDetails"]))
            if event["method"] == "Runtime.consoleAPICalled" and parts["type"] != "log":
                found.append(str(parts["args"]))
            if event["method"] == "Log.entryAdded" and parts["entry"]["level"] == "error":
                found.append(parts["entry"]["text"])
        return found

    def screenshot(self, **options: Any) -> bytes:
        """Return the visible part of the page, or ``clip``, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", **options)
        return base64.b64decode(shot["data"])


@contextlib.contextmanager
def browser(profile: Path, *options: str) -> Iterator[Browser]:
    """Yield a browser with a new profile in a folder; it ends with the block."""
    program = chromium()
    assert program is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # The protocol's pipes are the browser's files 3 and 4.
    line = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", line, program, *OPTIONS, *options, f"--user-data-dir={profile}"],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
