"""ITK's warnings caught, and transform files with what ITK only warns of as an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.io.files import require_file

SEVERAL = "more than one transform"
"""Part of SimpleITK's warning on reading a file with transforms that no composite holds."""


class _Warnings(sitk.LoggerBase):  # type: ignore[misc]
    """Keeps what SimpleITK would print, which is its only sign of some trouble."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.texts: list[str] = []

    def DisplayText(self, text: str) -> None:  # noqa: N802 - SimpleITK's name
        self.texts.append(text)

    DisplayWarningText = DisplayErrorText = DisplayText
    DisplayGenericOutputText = DisplayDebugText = DisplayText


@contextmanager
def warnings_of_itk() -> Iterator[list[str]]:
    """Collect what ITK warns of, line by line, in place of its words on standard error."""
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
    """Return a path as ITK takes it, which ends the process for one that is not UTF-8.

    Raises
    ------
    BadInputError
        ``bad_file_name``: bytes that are not UTF-8, or any but ASCII where the locale is ASCII.
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

    Raises
    ------
    BadInputError
        If the file is missing or unreadable, or holds several transforms that are not parts of a
        composite.
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
            expected=".tfm, .txt, .h5, .mat or .xfm as ITK writes them",
            remedy="TransformParameters.*.txt of elastix are not: have it write ITK's own with "
            '(ITKTransformOutputFileNameExtension "tfm")',
        ) from error
    if any(SEVERAL in text for text in texts):
        raise BadInputError(
            "the file holds several transforms, of which ITK would use the first only",
            code="several_transforms",
            file=path,
            expected="one transform, which may be a composite",
            remedy="write them as one CompositeTransform (of which the last is applied first)",
        )
    return found
