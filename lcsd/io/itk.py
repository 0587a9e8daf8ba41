"""Read ITK transform files, with ITK's warnings as errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.io.files import require_file

SEVERAL = "more than one transform"
"""Part of SimpleITK's warning about several transforms that are not one composite."""


class _Warnings(sitk.LoggerBase):  # type: ignore[misc]
    """Collects what SimpleITK would print: some faults are reported no other way."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.texts: list[str] = []

    def DisplayText(self, text: str) -> None:  # noqa: N802 - SimpleITK's name
        self.texts.append(text)

    DisplayWarningText = DisplayErrorText = DisplayText
    DisplayGenericOutputText = DisplayDebugText = DisplayText


@contextmanager
def warnings_of_itk() -> Iterator[list[str]]:
    """Collect ITK's warnings, line by line, instead of printing them."""
    warnings: Any = _Warnings()
    displayed = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(True)
    logger = warnings.SetAsGlobalITKLogger()
    try:
        yield warnings.texts
    finally:
        logger.SetAsGlobalITKLogger()
        sitk.ProcessObject.SetGlobalWarningDisplay(displayed)


def itk_path(path: Path) -> str:
    """Return a path as text for ITK, which would end the process for one that is not UTF-8.

    Raises ``BadInputError`` (``bad_file_name``) for bytes that are not UTF-8, or not ASCII if the locale is ASCII.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInputError(
            "the path is not UTF-8", code="bad_file_name", file=path, remedy="rename the file or folder"
        ) from error
    return text


def read_one_transform(path: Path) -> Any:
    """Return the ``SimpleITK.Transform`` in a file, of any kind and dimension.

    Raises ``BadInputError`` for a missing or unreadable file, or several transforms that are not parts of a composite.
    """
    require_file(path)
    try:
        with warnings_of_itk() as texts:
            found = sitk.ReadTransform(itk_path(path))
    except RuntimeError as error:
        raise BadInputError(
            "not a readable ITK transform",
            code="bad_transform",
            file=path,
            expected=".tfm, .txt, .h5, .mat or .xfm written by ITK",
            remedy='for elastix, set (ITKTransformOutputFileNameExtension "tfm") and give that file, '
            "not TransformParameters.*.txt",
        ) from error
    if any(SEVERAL in text for text in texts):
        raise BadInputError(
            "the file holds several transforms, and ITK would use only the first",
            code="several_transforms",
            file=path,
            expected="one transform (a composite counts as one)",
            remedy="write them as one CompositeTransform (its last transform is applied first)",
        )
    return found
