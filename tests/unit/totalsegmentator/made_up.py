"""Weights with the right files and no network, and processes that fail as the package does."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.totalsegmentator.models import CHECKPOINT, CONFIGURATION, Model

GRID = Grid((20, 16, 12), (1.5, 1.5, 1.5), (10.0, -40.0, 300.0))


def made_up_weights(folder: Path, models: Sequence[Model]) -> Path:
    for model in models:
        place = folder / model.path
        (place / CHECKPOINT).parent.mkdir(parents=True)
        labels = {f"l{n}": n for n in range(model.labels + 1)}
        dataset = {"labels": labels, "channel_names": {"0": "CT"}}
        (place / "dataset.json").write_text(json.dumps(dataset))
        (place / "plans.json").write_text(json.dumps({"configurations": {CONFIGURATION: {}}}))
        with zipfile.ZipFile(place / CHECKPOINT, "w") as archive:
            archive.writestr("data", str(model.dataset))
    return folder


def scan() -> Image:
    rng = np.random.default_rng(0)
    return Image(rng.integers(-1000, 100, GRID.shape).astype(np.int16), GRID)


CHILD = """
import json, os, signal, sys, time
from pathlib import Path
import nibabel, numpy as np
job = json.loads(Path(sys.argv[1]).read_text())
kind = "{kind}"
request = json.loads(sys.stdin.readline())
image = nibabel.load(request["input"])
data = np.zeros(image.shape, np.uint8)
affine = image.affine.copy()
print("  cropping from (20, 16, 12) to ({crop})" if kind != "silent" else "", flush=True)
data[4:9, 4:9, 4:9] = {label}
if kind == "empty_crop":
    print("INFO: Crop is empty. Returning empty segmentation.", flush=True)
if kind == "elsewhere":
    affine[0, 3] += 1.5
if kind == "flipped":
    affine[0, 0] *= -1
if kind == "smaller":
    data = data[:-1]
if kind == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "crash":
    sys.exit(7)
if kind == "slow":
    Path("{mark}.new").write_text(str(os.getpid()))
    Path("{mark}.new").replace("{mark}")
    time.sleep(600)
if kind == "environment":
    home = Path(os.environ["TOTALSEG_HOME_DIR"])
    names = [k for k in os.environ if k.lower().startswith(("nnu", "omp"))]
    facts = {{
        "config": json.loads((home / "config.json").read_text()),
        "links": sorted(p.name for p in Path(os.environ["TOTALSEG_WEIGHTS_PATH"]).iterdir()),
        "variables": {{k: os.environ[k] for k in names}},
        "job": job,
    }}
    # What the package does to folders of old releases in its weights.
    import shutil
    old = Path(os.environ["TOTALSEG_WEIGHTS_PATH"]) / "Dataset302_vertebrae_body_1559subj"
    if old.exists():
        shutil.rmtree(old)
else:
    facts = {{}}
if kind != "no_result":
    nibabel.save(nibabel.Nifti1Image(data, affine), request["output"])
status = Path(request["status"])
status.with_name("new").write_text(json.dumps({{"facts": facts}}))
status.with_name("new").replace(status)
sys.stdin.read()
"""


def made_up_child(folder: Path, kind: str, *, label: int = 1, crop: str = "20, 16, 12", mark: str = "") -> Path:
    path = folder / "child.py"
    path.write_text(CHILD.format(kind=kind, label=label, crop=crop, mark=mark))
    return path
