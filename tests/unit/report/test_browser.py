"""A case page in a real browser: no complaint, no request, and a slider that moves the points."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lcsd.io.points import Cloud, write_cloud
from lcsd.report.report import write_report
from tests.browser import Browser, browser, chromium
from tests.unit.report.conftest import points_in_lungs, write_images

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium on the PATH"),
    pytest.mark.xdist_group("browser"),
]

READY = 'document.getElementById("viewer").dataset.state === "ready"'
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a case whose vessels move 40 mm toward the head."""
    results = tmp_path_factory.mktemp("browser") / "results"
    folder = results / "cases" / "a"
    rng = np.random.default_rng(0)
    write_images(folder, rng)
    fixed = points_in_lungs(3000, rng).astype(np.float32)
    moved = fixed + np.array([0, 0, 40], np.float32)
    write_cloud(folder / "clouds" / "fixed_dense.npz", Cloud(fixed))
    write_cloud(folder / "clouds" / "moving_dense.npz", Cloud(moved))
    errors = np.where(moved[:, 2] > np.median(moved[:, 2]), 9.0, 0.0).astype(np.float32)
    write_cloud(folder / "registration" / "points.npz", Cloud(moved, expected_error_mm=errors))
    write_report(results, views=0)
    return results / "report" / "cases" / "a.html"


@pytest.fixture(scope="module")
def opened(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        found.open(page)
        found.wait(READY)
        yield found


def canvas(opened: Browser) -> np.ndarray:
    """The drawn picture, (rows, columns, 3) in [0, 255], the newest frame."""
    opened.run(FRAMES)
    corner = opened.run(
        "(() => { const c = document.querySelector('canvas');"
        " c.scrollIntoView({block: 'center', behavior: 'instant'});"
        " const r = c.getBoundingClientRect();"
        " return {x: r.x, y: r.y + scrollY, width: r.width, height: r.height, scale: 1}; })()"
    )
    shot = opened.screenshot(clip=corner)
    return np.asarray(Picture.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def inked(picture: np.ndarray) -> np.ndarray:
    """Rows of the pixels that show points, not the letters around or the scale below."""
    high, wide = picture.shape[:2]
    inner = picture[int(0.12 * high) : int(0.85 * high), int(0.3 * wide) : int(0.7 * wide)]
    return np.nonzero(inner.min(axis=-1) < 235)[0]


def slide(opened: Browser, share: float) -> np.ndarray:
    opened.run(
        "(() => { const s = document.querySelector('[data-part=slider]');"
        f" s.value = {share}; s.dispatchEvent(new Event('input')); }})()"
    )
    return canvas(opened)


@pytest.mark.slow
def test_page_loads_without_complaint_or_request(opened: Browser) -> None:
    slide(opened, 0.0)
    assert opened.complaints() == []
    assert opened.requests() == []
    assert len(inked(canvas(opened))) > 1000


@pytest.mark.slow
def test_slider_moves_the_points_and_their_colours(opened: Browser) -> None:
    before, between, after = (slide(opened, share) for share in (0.0, 0.5, 1.0))
    rows = [float(inked(picture).mean()) for picture in (before, between, after)]
    # Toward the head is up; half the motion is halfway.
    assert rows[0] - rows[2] > 20
    assert rows[1] == pytest.approx((rows[0] + rows[2]) / 2, abs=6)
    assert "100 % of the motion" in opened.run("document.querySelector('.said').textContent")
    # Far from the follow-up's vessels points are dark and warm, on them pale and cool.
    shown = [picture[picture.min(axis=-1) < 235].mean(axis=0) for picture in (before, after)]
    assert shown[0][0] - shown[0][2] > shown[1][0] - shown[1][2] + 20


@pytest.mark.slow
def test_keys_turn_the_view_and_zero_brings_it_back(opened: Browser) -> None:
    first = slide(opened, 0.0)
    press = (
        "document.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', cancelable: true}}))"
    )
    assert opened.run(press.format("ArrowLeft")) is False  # the page does not scroll
    turned = canvas(opened)
    assert (np.abs(turned - first).max(axis=-1) > 40).mean() > 0.01
    assert opened.run(press.format("Tab")) is True
    opened.run(press.format("0"))
    assert (np.abs(canvas(opened) - first).max(axis=-1) > 40).mean() < 0.002


@pytest.mark.slow
def test_clouds_are_coloured_by_expected_error(opened: Browser) -> None:
    slide(opened, 1.0)
    pale = canvas(opened)
    opened.run("document.querySelector('[data-part=by-expected]').click()")
    shown = canvas(opened)

    def warmer_above(picture: np.ndarray) -> float:
        high, wide = picture.shape[:2]
        inner = picture[:, int(0.3 * wide) : int(0.7 * wide)]  # without the scale
        halves = inner[: high // 2], inner[high // 2 :]
        above, below = (half[half.min(axis=-1) < 235].mean(axis=0) for half in halves)
        return float(above[0] - above[2] - below[0] + below[2])

    # The upper half is expected to be off; all of it lies on the follow-up's vessels.
    assert warmer_above(shown) > 20
    assert abs(warmer_above(pale)) < 10
    assert opened.run("document.querySelector('[data-part=expected-bar]').hidden") is False
    assert opened.run("document.querySelector('[data-part=bar]').hidden") is True
    opened.run("document.querySelector('[data-part=by-residual]').click()")
    assert opened.run("document.querySelector('[data-part=expected-bar]').hidden") is True
    assert (np.abs(canvas(opened) - pale).max(axis=-1) > 40).mean() < 0.002
    assert opened.complaints() == []


def test_clouds_are_coloured_by_scan(opened: Browser) -> None:
    opened.run("document.querySelector('[data-part=by-scan]').click()")
    picture = slide(opened, 0.0)
    green = (picture[..., 1] > picture[..., 0] + 40).sum()
    magenta = (picture[..., 0] > picture[..., 1] + 40).sum()
    assert min(green, magenta) > 500
    opened.run("document.querySelector('[data-part=by-residual]').click()")
    opened.run("document.querySelector('[data-part=show-moving]').click()")


def test_print_shows_the_still_picture_instead(opened: Browser) -> None:
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert opened.run(shown.format(".still")) == "none"
    opened.call("Emulation.setEmulatedMedia", media="print")
    assert opened.run(shown.format(".still")) == "block"
    assert opened.run(shown.format(".viewer")) == "none"
    opened.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.slow
def test_without_webgl_there_is_a_message_and_the_still_picture(page: Path, tmp_path: Path) -> None:
    with browser(tmp_path, "--disable-3d-apis") as found:
        found.open(page)
        found.wait('document.getElementById("viewer").dataset.state === "no-webgl"')
        assert "WebGL" in found.run("document.querySelector('.refused').innerText")
        assert found.run("getComputedStyle(document.querySelector('.still')).display") == "block"
        assert found.complaints() == []
        assert found.requests() == []
