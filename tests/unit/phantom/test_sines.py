import numpy as np

from lcsd.phantom.sines import SINE_ERROR, SINE_LARGEST, sin_cos

COUNT = 400_001


def test_sine_and_cosine() -> None:
    quarters = np.arange(-64, 65) * np.pi / 4
    near = [np.nextafter(quarters, quarters + step) for step in (-1, 0, 1)]
    given = np.concatenate([*near, np.linspace(-60, 60, COUNT), np.geomspace(1e-300, SINE_LARGEST, COUNT)])
    given = np.concatenate([given, -given])
    sine, cosine = np.empty_like(given), np.empty_like(given)
    sin_cos(given, sine, cosine)
    exact = given.astype(np.longdouble)
    assert np.abs(sine - np.sin(exact)).max() <= SINE_ERROR
    assert np.abs(cosine - np.cos(exact)).max() <= SINE_ERROR


def test_sine_of_nothing_is_nothing() -> None:
    sine, cosine = np.empty(2), np.empty(2)
    sin_cos(np.array([np.nan, np.inf]), sine, cosine)
    assert np.isnan([*sine, *cosine]).all()
