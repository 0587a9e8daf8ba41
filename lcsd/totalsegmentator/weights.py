"""Find the folder of TotalSegmentator's weights, and check it for missing or broken files."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcsd.errors import LcsdError, WorkError
from lcsd.io.files import read_json
from lcsd.totalsegmentator.models import CHECKPOINT, CONFIGURATION, Model, fetch_command

WEIGHTS_VARIABLE, HOME_VARIABLE = "TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR"


def weights_folder(setting: Path | None = None) -> Path:
    """Return the folder of the weights: by the setting, else where TotalSegmentator looks."""
    if setting is not None:
        return setting.expanduser()
    if os.environ.get(WEIGHTS_VARIABLE):
        return Path(os.environ[WEIGHTS_VARIABLE])
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".totalsegmentator") / "nnunet" / "results"


def check_weights(folder: Path, models: Sequence[Model]) -> None:
    """Raise ``WorkError`` unless every file of the models exists, is complete, and is of that model.

    Codes: ``weights_missing`` (names all missing models and the command that gets them),
    ``weights_truncated``, ``weights_of_another_task``. Nothing is downloaded. The package itself
    would only check whether the folder exists, and download a missing one.
    """
    missing = [m for m in models if not all((folder / name).exists() for name in m.files)]
    if missing:
        first = next(n for m in missing for n in m.files if not (folder / n).exists())
        raise WorkError(
            "weights of TotalSegmentator are missing",
            code="weights_missing",
            file=folder,
            expected=", ".join(m.path.as_posix() for m in missing),
            found=f"no {first.as_posix()}",
            remedy=f"on a machine with network access: {fetch_command(missing, folder)}",
        )
    for model in models:
        checkpoint = folder / model.path / CHECKPOINT
        # The directory of a zip archive is at its end: a truncated file has none.
        if not zipfile.is_zipfile(checkpoint):
            raise truncated(checkpoint, model, "the end of the archive is missing")
        _check_dataset(folder / model.path / "dataset.json", model)
        plans = folder / model.path / "plans.json"
        configurations = _json(plans, model).get("configurations")
        if not isinstance(configurations, dict) or CONFIGURATION not in configurations:
            raise other_task(plans, model, "configurations", expected=CONFIGURATION, found=_short(configurations))


def link_weights(folder: Path, models: Sequence[Model], into: Path) -> None:
    """Make a folder with links to these models only.

    The package deletes folders of older releases from its weights, and nnU-Net refuses two datasets
    with the same number. With links, neither affects a folder that jobs share.
    """
    into.mkdir()
    for model in models:
        (into / model.folder).symlink_to((folder / model.folder).resolve())


def truncated(path: Path, model: Model, why: str) -> WorkError:
    """Return the error that a file of the weights is broken."""
    return WorkError(
        f"the weights are incomplete or damaged ({why})", code="weights_truncated", file=path, remedy=model.get_again
    )


def other_task(path: Path, model: Model, field: str, *, expected: object, found: object) -> WorkError:
    """Return the error that weights belong to another task."""
    return WorkError(
        f"these are not the weights of dataset {model.dataset}",
        code="weights_of_another_task",
        file=path,
        field=field,
        expected=expected,
        found=found,
        remedy=model.get_again,
    )


def _json(path: Path, model: Model) -> dict[str, Any]:
    try:
        return read_json(path)
    except LcsdError as error:
        raise truncated(path, model, error.what) from error


def _check_dataset(path: Path, model: Model) -> None:
    content = _json(path, model)
    labels = content.get("labels")
    values = sorted(labels.values(), key=str) if isinstance(labels, dict) else labels
    if not isinstance(values, list) or set(map(str, values)) != set(map(str, range(model.labels + 1))):
        raise other_task(path, model, "labels", expected=f"0 to {model.labels}", found=_short(values))
    channels = content.get("channel_names")
    if not isinstance(channels, dict) or len(channels) != 1:
        raise other_task(path, model, "channel_names", expected="one: CT", found=_short(channels))


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | dict) else str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
