"""How the report looks: colours safe for colour-blind readers, names, sizes."""

DEFAULT_VIEWS = 24
"""Pictures of cases on the page, of both kinds together: some 330 kB each, so that the page stays
below 10 MB."""

BEFORE_COLOUR = "#6b6b6b"

METHOD_COLOURS = {"corrfield": "#0072B2", "divroc": "#D55E00"}
"""Okabe and Ito (2008), https://jfly.uni-koeln.de/color/: blue and vermillion."""

OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")

METHOD_NAMES = {"corrfield": "corrfield", "divroc": "DiVRoC"}

LINE_STYLES = ("-", "--", "-.", ":")
"""Methods differ in line style too, for black-and-white prints."""

BASE_FONT_PT = 11.5
"""Legible when a figure is printed at half its size."""


def method_name(method: str) -> str:
    """Return how a method is written for readers."""
    return METHOD_NAMES.get(method, method)


def method_colours(methods: list[str]) -> dict[str, str]:
    """Return one colour per method, fixed for the known ones."""
    others = [method for method in methods if method not in METHOD_COLOURS]
    extra = {m: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, m in enumerate(others)}
    return {**METHOD_COLOURS, **extra}
