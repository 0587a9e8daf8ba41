"""What lcsd expects of TotalSegmentator: its tasks, their models, and the meaning of labels.

Releases have changed the meaning of task names (``lung_vessels`` became another model in 2.13), so
the package's own tables are compared with these before each run.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lcsd.errors import WorkError

PACKAGE, NETWORK_PACKAGE = "TotalSegmentator", "nnunetv2"

PLANS, CONFIGURATION, FOLD = "nnUNetPlans", "3d_fullres", "fold_0"

INSTALL_KNOWN = "install the version of constraints.txt"  # remedy for a version of the package that lcsd does not know

CHECKPOINT = f"{FOLD}/checkpoint_final.pth"


@dataclass(frozen=True)
class Model:
    """A trained nnU-Net in TotalSegmentator's layout."""

    dataset: int  # number of the nnU-Net dataset
    folder: str  # its folder below the weights
    trainer: str  # class that trained it, part of the model folder's name
    labels: int  # number of labels, without background
    use: str  # name in TASKS, and for ``lcsd weights fetch``, of what it segments
    release: str = "v2.0.0-weights"  # TotalSegmentator's release that holds its archive

    @property
    def path(self) -> Path:
        """Folder of plans and checkpoint, relative to the weights."""
        return Path(self.folder) / f"{self.trainer}__{PLANS}__{CONFIGURATION}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the model, relative to the weights."""
        return tuple(self.path / name for name in ("dataset.json", "plans.json", CHECKPOINT))

    @property
    def get_again(self) -> str:
        """Remedy for files that are broken or of another model."""
        return f"delete {self.folder} and fetch it into the same folder again: {fetch_command([self])} --folder ..."


VESSELS_LEGACY = Model(258, "Dataset258_lung_vessels_248subj", "nnUNetTrainer", 2, "lung_vessels_LEGACY")
VESSELS = Model(
    117,
    "Dataset117_lung_airways_arteries_veins_282subj",
    "nnUNetTrainerSkeletonRecall",
    4,
    "lung_vessels",
    "v2.5.0-weights",
)
TOTAL_3MM = Model(
    297, "Dataset297_TotalSegmentator_total_3mm_1559subj", "nnUNetTrainer_4000epochs_NoMirroring", 117, "lobes_fast"
)
TOTAL_6MM = Model(
    298, "Dataset298_TotalSegmentator_total_6mm_1559subj", "nnUNetTrainer_4000epochs_NoMirroring", 117, "lobes_fastest"
)
MODELS = (VESSELS_LEGACY, VESSELS, TOTAL_3MM, TOTAL_6MM)

LOBES = {
    10: "lung_upper_lobe_left",
    11: "lung_lower_lobe_left",
    12: "lung_upper_lobe_right",
    13: "lung_middle_lobe_right",
    14: "lung_lower_lobe_right",
}
"""Lung labels of the task ``total``; the scan is also cropped to them."""


@dataclass(frozen=True)
class Task:
    """One way of calling TotalSegmentator."""

    task: str  # the package's name of the task
    labels: Mapping[int, str]  # labels that the result may contain, and their names in the package
    model: Model  # the model that segments, after another model has found the lungs to crop the scan to
    mode: str = ""  # ``fast`` or ``fastest`` of the task ``total``, else empty
    robust: bool = False  # whether the package always finds the lungs with the 3 mm model
    subset: tuple[str, ...] = field(default=())

    def models(self, *, robust_crop: bool) -> tuple[Model, ...]:
        """Return all models of a run, in the order of loading."""
        crop = TOTAL_3MM if robust_crop or self.robust else TOTAL_6MM
        return (crop,) if crop is self.model else (crop, self.model)

    def options(self, *, robust_crop: bool, resampling_order: int) -> dict[str, Any]:
        """Return the arguments of the package's function that affect the result."""
        return {
            "task": self.task,
            "ml": True,
            "fast": self.mode == "fast",
            "fastest": self.mode == "fastest",
            "roi_subset": list(self.subset) or None,
            "robust_crop": robust_crop,
            "resampling_order": resampling_order,
            "higher_order_resampling": False,
            "higher_order_resampling_LEGACY": False,
            "force_split": False,
            "body_seg": False,
            "remove_small_blobs": False,
            "v1_order": False,
            "save_lowres": False,
            "plans": PLANS,
            "output_type": "nifti",
        }


TASKS = {
    "lung_vessels_LEGACY": Task("lung_vessels_LEGACY", {1: "lung_vessels", 2: "lung_trachea_bronchia"}, VESSELS_LEGACY),
    "lung_vessels": Task(
        "lung_vessels",
        {1: "lung_airways", 2: "lung_airways_wall", 3: "lung_arteries", 4: "lung_veins"},
        VESSELS,
        robust=True,
    ),
    "lobes_fast": Task("total", LOBES, TOTAL_3MM, "fast", subset=tuple(LOBES.values())),
    "lobes_fastest": Task("total", LOBES, TOTAL_6MM, "fastest", subset=tuple(LOBES.values())),
}


def fetch_command(models: Sequence[Model], folder: Path | None = None) -> str:
    """Return the command that downloads these models of a run, into ``folder`` or the one that lcsd finds itself."""
    robust = TOTAL_3MM in models and TOTAL_6MM not in models
    # A use comes with the model that crops its scans.
    along = {crop for model in models for crop in TASKS[model.use].models(robust_crop=robust)[:-1]}
    uses = [model.use for model in models if model not in along]
    words = ["lcsd", "weights", "fetch", *uses]
    words += ["--robust-crop"] if robust and not all(TASKS[use].robust for use in uses) else []
    return shlex.join(words if folder is None else [*words, "--folder", str(folder)])


def package_versions() -> dict[str, str]:
    """Return the versions of TotalSegmentator and nnU-Net; raise ``WorkError`` if one is missing."""
    found = {}
    for name in (PACKAGE, NETWORK_PACKAGE):
        try:
            found[name.lower()] = version(name)
        except PackageNotFoundError as error:
            raise WorkError(
                f"{name} is not installed", code="no_totalsegmentator", remedy=f"pip install {name}"
            ) from error
    return found


def check_meaning(task: Task) -> None:
    """Raise ``WorkError`` unless model, trainer, labels and folders of a task are those of the package."""
    installed = package_versions()["totalsegmentator"]
    try:
        # Only tables: this loads neither torch nor a model.
        from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS
        from totalsegmentator.map_to_binary import class_map

        entry = TASK_CONFIGS[task.task]
        entry = entry["sub_modes"][task.mode] if task.mode else entry
        means: dict[str, Any] = {
            "model": (entry["task_id"], entry["trainer"]),
            "labels": {key: class_map[task.task].get(key) for key in task.labels},
            "labels of a model": len(class_map[task.task]),
            "robust crop": bool(TASK_CONFIGS[task.task].get("robust_crop", False)),
            "folders": [TASK_ID_WEIGHTS_CONFIGS[m.dataset]["foldername"] for m in MODELS],
        }
    except (ImportError, KeyError, TypeError, AttributeError) as error:
        raise unknown_version(installed, f"table or entry {error} is missing") from error
    expected = {
        "model": (task.model.dataset, task.model.trainer),
        "labels": dict(task.labels),
        "labels of a model": task.model.labels,
        "robust crop": task.robust,
        "folders": [m.folder for m in MODELS],
    }
    for key, value in expected.items():
        if means[key] != value:
            raise unknown_version(installed, f"{key} of task {task.task} is {means[key]}, not {value}")


def unknown_version(installed: str, why: str) -> WorkError:
    """Return the error that the installed version is not as lcsd expects."""
    return WorkError(
        "the tasks of this version mean something else",
        code="unknown_version",
        field=f"{PACKAGE} {installed}",
        found=why,
        remedy=INSTALL_KNOWN,
    )
