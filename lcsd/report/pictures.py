"""Figures as pictures that a page carries inside itself."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lcsd.plotting import render, save

MIME_TYPES = {"png": "image/png", "jpg": "image/jpeg"}


@dataclass(frozen=True)
class Picture:
    """A figure on a page.

    Parameters
    ----------
    uri
        The whole image as a ``data:`` address, so that the page needs no other file.
    alt
        What it shows, for readers who do not see it.
    width, height
        Size, pixels.
    """

    uri: str
    alt: str
    width: int
    height: int


def embed(figure: Figure | None, *, kind: str, alt: str, keep: Callable[[bytes], None] | None = None) -> Picture | None:
    """Return a figure as a picture; None for None.

    Parameters
    ----------
    kind
        ``png`` or ``jpg``.
    keep
        Gets the image's bytes, such as to write them to a file, too.
    """
    if figure is None:
        return None
    content = render(figure, kind)
    if keep is not None:
        keep(content)
    width, height = (figure.get_size_inches() * figure.dpi).astype(int)
    encoded = base64.b64encode(content).decode("ascii")
    return Picture(f"data:{MIME_TYPES[kind]};base64,{encoded}", alt, int(width), int(height))


class PictureFolder:
    """Renders figures into a folder and as pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[Path] = set()

    def add(self, name: str, figure: Figure | None, *, kind: str, alt: str) -> Picture | None:
        """Write a figure and return it as a picture; None for None."""
        path = self._folder / f"{name}.{kind}"

        def keep(content: bytes) -> None:
            save(path, content)
            self._written.add(path)

        return embed(figure, kind=kind, alt=alt, keep=keep)

    def remove_others(self) -> None:
        """Remove pictures of an earlier report, which may show cases that are gone."""
        for kind in MIME_TYPES:
            for path in self._folder.glob(f"*.{kind}"):
                if path not in self._written:
                    path.unlink()
