"""The folder of TotalSegmentator's weights: where it is, what is missing or broken in it."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcsd.errors import LcsdError, WorkError
from lcsd.io.files import read_json
from lcsd.totalsegmentator.models import CHECKPOINT, CONFIGURATION, Model

WEIGHTS_VARIABLE, HOME_VARIABLE = "TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR"


def weights_folder(setting: Path | None = None) -> Path:
    """Return the folder of the weights: the setting's, else where TotalSegmentator looks."""
    if setting is not None:
        return setting.expanduser()
    if os.environ.get(WEIGHTS_VARIABLE):
        return Path(os.environ[WEIGHTS_VARIABLE])
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".totalsegmentator") / "nnunet" / "results"


def check_weights(folder: Path, models: Sequence[Model]) -> None:
    """Raise ``WorkError`` unless every file of the models is there, whole, and of that model.

    Codes: ``weights_missing`` (names all of them and the commands that get them),
    ``weights_truncated``, ``weights_of_another_task``. Nothing is downloaded: the package would
    take a folder's existence for the model and try to fetch a folder that is not there.
    """
    missing = [m for m in models if not all((folder / name).exists() for name in m.files)]
    if missing:
        first = next(n for m in missing for n in m.files if not (folder / n).exists())
        commands = " && ".join(dict.fromkeys(m.command for m in missing))
        raise WorkError(
            "weights of TotalSegmentator are missing",
            code="weights_missing",
            file=folder,
            expected=", ".join(m.path.as_posix() for m in missing),
            found=f"no {first.as_posix()}",
            remedy=f"get them on a machine with network: {WEIGHTS_VARIABLE}={folder} sh -c '{commands}'",
        )
    for model in models:
        _check_checkpoint(folder / model.path / CHECKPOINT, model)
        _check_dataset(folder / model.path / "dataset.json", model)
        _check_plans(folder / model.path / "plans.json", model)


def link_weights(folder: Path, models: Sequence[Model], into: Path) -> None:
    """Make a folder with links to the models only.

    The package deletes folders of older releases from its weights, and nnU-Net refuses two
    datasets of one number: neither can happen to a folder that other jobs share.
    """
    into.mkdir()
    for model in models:
        (into / model.folder).symlink_to((folder / model.folder).resolve())


def truncated(path: Path, model: Model, why: str) -> WorkError:
    """Return the error that a file of the weights is broken."""
    return WorkError(
        f"the weights are not whole ({why})",
        code="weights_truncated",
        file=path,
        remedy=f"delete {model.folder} and get it again: {model.command}",
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
        remedy=f"delete {model.folder} and get it again: {model.command}",
    )


def _check_checkpoint(path: Path, model: Model) -> None:
    # The directory of a zip archive stands at its end: a cut file has none.
    if not zipfile.is_zipfile(path):
        raise truncated(path, model, "no end of the archive")


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


def _check_plans(path: Path, model: Model) -> None:
    content = _json(path, model)
    configurations = content.get("configurations")
    if not isinstance(configurations, dict) or CONFIGURATION not in configurations:
        raise other_task(path, model, "configurations", expected=CONFIGURATION, found=_short(configurations))


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | dict) else str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
