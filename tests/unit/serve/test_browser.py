"""The page in a real browser: files in, progress, a result that moves, keys, sizes and themes."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from tests.browser import Browser, browser, chromium
from tests.unit.serve.conftest import Server, pair

pytestmark = [pytest.mark.skipif(chromium() is None, reason="no Chromium on the PATH"), pytest.mark.slow]

FRAME = "document.getElementById('shown')"
INSIDE = f"{FRAME}.contentDocument"
STATE = "document.getElementById('said').textContent"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    for name, (_, content) in pair(1500).items():
        (folder / f"{name}.csv").write_bytes(content)
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def page(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        found.open(server.place, width=1280, height=900)
        found.wait("document.body.dataset.state === 'ready'")
        yield found


def choose(page: Browser, part: str, file: Path) -> None:
    """Choose a file as a user does."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector=f"#file-{part}")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])


def press(page: Browser, key: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        more: dict[str, Any] = {"text": text} if text and kind == "keyDown" else {}
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)


def canvas(page: Browser) -> np.ndarray:
    """The drawn clouds, (rows, columns, 3)."""
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    corner = page.run(
        f"(() => {{ const f = document.getElementById('shown'); const c = {INSIDE}.querySelector('canvas');"
        " c.scrollIntoView({block: 'center', behavior: 'instant'});"
        " const a = f.getBoundingClientRect(), r = c.getBoundingClientRect();"
        " return {x: a.x + r.x, y: a.y + r.y + scrollY, width: r.width, height: r.height, scale: 1}; })()"
    )
    shot = page.screenshot(clip=corner)
    return np.asarray(Picture.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def slide(page: Browser, share: float) -> np.ndarray:
    page.run(
        f"(() => {{ const s = {INSIDE}.querySelector('[data-part=slider]');"
        f" s.value = {share}; s.dispatchEvent(new Event('input')); }})()"
    )
    return canvas(page)


@pytest.fixture(scope="module")
def shown(page: Browser, files: dict[str, Path]) -> dict[str, Any]:
    """The page with a result; what was seen on the way."""
    choose(page, "fixed", files["fixed"])
    page.wait("document.getElementById('verdict').textContent.includes('Waiting for the other')")
    choose(page, "moving", files["moving"])
    choose(page, "landmarks", files["landmarks"])
    page.wait("!document.getElementById('start').disabled")
    verdict = page.run("document.getElementById('verdict').innerText")
    page.run("document.getElementById('start').click()")
    seen: set[float] = set()
    while page.run("document.getElementById('results').hidden"):
        seen.add(page.run("document.getElementById('bar').value"))
        assert "error" not in page.run("document.getElementById('said').className"), page.run(STATE)
    page.wait(f"Boolean({INSIDE} && {INSIDE}.querySelector('#viewer[data-state=ready]'))")
    return {"verdict": verdict, "progress": seen}


def test_files_become_a_result(page: Browser, shown: dict[str, Any]) -> None:
    assert "1,500" in shown["verdict"]
    assert "LPS, mm" in shown["verdict"]
    assert len(shown["progress"]) > 3
    assert page.run("document.getElementById('curve').firstElementChild.points.length") > 3
    assert page.run("document.querySelectorAll('#files a').length") == 8
    assert "lcsd register fixed.csv moving.csv" in page.run("document.getElementById('commands').textContent")
    assert "31 landmarks" in page.run(f"{INSIDE}.body.innerText")


def test_the_slider_moves_the_points(page: Browser, shown: dict[str, Any]) -> None:
    before, after = slide(page, 0.0), slide(page, 1.0)
    assert (before.min(axis=-1) < 235).sum() > 500
    assert (np.abs(before - after).max(axis=-1) > 40).mean() > 0.01
    assert "100 % of the motion" in page.run(f"{INSIDE}.querySelector('.said').textContent")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_can_be_read(
    width: int, theme: str, page: Browser, shown: dict[str, Any], tmp_path: Path
) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    try:
        page.wait(f"{INSIDE}.documentElement.clientWidth < {width}")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(f"{INSIDE}.documentElement.scrollWidth <= {INSIDE}.documentElement.clientWidth")
        for place in ("document", INSIDE):
            dark = page.run(f"getComputedStyle({place}.body).backgroundColor") == "rgb(18, 23, 29)"
            assert dark == (theme == "dark")
        # The frame is as high as its content: no second scroll bar, no gap.
        page.wait(f"Math.abs({INSIDE}.body.getBoundingClientRect().height - {FRAME}.clientHeight) < 4")
    finally:
        page.call("Emulation.setEmulatedMedia", features=[])
        page.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)


def test_a_registration_by_the_keyboard_alone_can_be_cancelled(
    page: Browser, shown: dict[str, Any], server: Server
) -> None:
    page.run("document.querySelector('.skip').focus()")
    reached = []
    for _ in range(40):
        press(page, "Tab", 9)
        reached.append(page.run("document.activeElement.id || document.activeElement.textContent"))
        if reached[-1] == "start":
            break
        if page.run("document.activeElement.name === 'method'"):
            press(page, "ArrowDown", 40)  # from fast to accurate
    assert reached[-1] == "start", reached
    assert {"file-fixed", "file-moving", "symmetric"} <= set(reached)
    assert page.run("document.querySelector('[name=method]:checked').value") == "1"
    press(page, "Enter", 13, "\r")
    page.wait("document.activeElement.id === 'cancel'")
    page.wait(f"{STATE}.startsWith('registering')")
    press(page, "Enter", 13, "\r")
    page.wait(f"{STATE} === 'Cancelled'")
    assert page.run("document.getElementById('runs').tBodies[0].rows.length") == 1


def test_a_broken_file_is_one_line_and_cannot_be_registered(
    page: Browser, shown: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "broken.csv").write_text("x,y,z\n<img src=x onerror=alert(1)>,2,3\n")
    choose(page, "moving", tmp_path / "broken.csv")
    page.wait("document.querySelectorAll('#verdict .bad').length === 1")
    assert "<img" in page.run("document.querySelector('#verdict .bad').textContent")
    assert page.run("document.querySelectorAll('#verdict img').length") == 0
    assert page.run("document.getElementById('start').disabled") is True


def test_nothing_was_asked_elsewhere_and_nothing_complained(
    page: Browser, shown: dict[str, Any], server: Server
) -> None:
    assert page.complaints() == []
    assert [address for address in page.requests() if not address.startswith(server.place)] == []
