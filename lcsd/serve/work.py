"""What a job does in the worker: checks, or the commands that a user would type, and the page of the result."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.divroc.register import register_clouds
from lcsd.errors import LcsdError
from lcsd.io.files import read_json
from lcsd.io.points import Cloud, read_cloud
from lcsd.names import SCANS
from lcsd.serve.checks import check_upload, cloud_of
from lcsd.serve.offers import MEANINGS, PAGE, Method, method_of
from lcsd.serve.page import Landmarks, ResultPage, clouds_of, write_page
from lcsd.serve.samples import write_sample
from lcsd.serve.stages import Work
from lcsd.serve.volumes import FIELD_MM, clouds_from_scans
from lcsd.settings.register import RegisterLevel, RegisterSettings

OUT = "registration"
RIGID = "images/rigid.tfm"
FIELD = f"{OUT}/field.nii.gz"
TRANSFORM = f"{OUT}/transform.h5"
SCORES, ERRORS = f"{OUT}/evaluation.json", f"{OUT}/landmark_errors.csv"

FILES = {
    "points.npz": "moved cloud with expected errors (LPS mm)",
    "field.nii.gz": "displacement field, fixed to moving (LPS mm)",
    "inverse_field.nii.gz": "inverse field, moving to fixed (LPS mm)",
    "transform.h5": "transform for 3D Slicer",
    "registration.json": "figures of the registration",
    "evaluation.json": "figures at the landmarks",
    "landmark_errors.csv": "error of each landmark",
    "rigid.tfm": "rigid alignment, from the common space to the follow-up (LPS mm)",
    PAGE: "this result as one offline page",
}
"""Files of a result, and what they hold; the moved cloud in its own format comes first."""


def load() -> None:
    """Load what jobs need, with a very small registration, so that the first job does not wait for it."""
    import SimpleITK  # noqa: F401
    import vtkmodules.vtkIOLegacy
    import vtkmodules.vtkIOXML  # noqa: F401

    import lcsd.evaluation.evaluate
    import lcsd.transforms.convert  # noqa: F401

    points = np.random.default_rng(0).uniform(0, 40, (500, 3))
    level = RegisterLevel(raster_mm=4.0, flow_mm=4.0, sigma_voxels=1.0, iterations=2)
    register_clouds(points, points, settings=RegisterSettings(effort="fast", levels=(level,)))


def do(job: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """Do a job in its folder, the current one; return its result, JSON-serialisable.

    Raises ``LcsdError`` as the checks and the commands do.
    """
    if job.get("sample"):
        write_sample(job["sample"], Path())
    if job.get("check_only"):
        work.stage("checking", 1.0)
        return check_upload(job, work)
    method = method_of(job.get("method"), job.get("effort"))
    pair = _register_scans(job, method, work) if job.get("volumes") else _register_clouds(job, method, work)
    landmarks = _score(job, method, work)
    work.stage("converting the field", 0.95)
    work.run("transform", "convert", FIELD, TRANSFORM, "--to-format", "slicer")
    work.stage("drawing the result", 1.0)
    return _result(job, method, work, pair, landmarks)


def _register_clouds(job: Mapping[str, Any], method: Method, work: Work) -> tuple[Cloud, Cloud]:
    """Register the clouds of the upload, and return them."""
    files = job["files"]
    work.stage("registering", 0.75)
    chosen = [f"--{name.replace('_', '-')}={job[name]}" for name in MEANINGS if job.get(name)]
    work.run("register", files["fixed"], files["moving"], "--out-dir", OUT, *_options(job, method), *chosen)
    return cloud_of(job, "fixed").cloud, cloud_of(job, "moving").cloud


def _register_scans(job: Mapping[str, Any], method: Method, work: Work) -> tuple[Cloud, Cloud]:
    """Register the vessels of two scans, and return their clouds."""
    fixed, moving = clouds_from_scans(job, work)
    work.stage("registering", 0.85)
    grid = ("--grid", "images/fixed.nii.gz", "--field-mm", FIELD_MM)
    work.run("register", fixed, moving, "--out-dir", OUT, *grid, *_options(job, method))
    shutil.copy(RIGID, OUT)
    return read_cloud(Path(fixed)), read_cloud(Path(moving))


def _options(job: Mapping[str, Any], method: Method) -> list[str]:
    return [*method.options, *(["--symmetric"] if job.get("symmetric") == "true" else [])]


def _score(job: Mapping[str, Any], method: Method, work: Work) -> Landmarks | None:
    """Return the errors at the landmarks, if there are any; what cannot be scored is a warning."""
    files = job["files"]
    if "landmarks" not in files:
        return None
    work.stage("measuring at the landmarks", 0.9)
    more = ["--moving-landmarks", files["moving_landmarks"]] if "moving_landmarks" in files else []
    more += ["--rigid", RIGID] if job.get("volumes") else []
    try:
        work.run(
            *("evaluate", "--landmarks", files["landmarks"], *more, "--field", FIELD),
            *("--method", method.method, "--out", SCORES, "--table", ERRORS),
        )
    except LcsdError as error:
        work.said.pop()
        work.warnings.append(f"not measured at the landmarks: {error.message}")
        return None
    return Landmarks.read(Path(SCORES), Path(ERRORS))


def _result(
    job: Mapping[str, Any], method: Method, work: Work, pair: tuple[Cloud, Cloud], landmarks: Landmarks | None
) -> dict[str, Any]:
    """Write the page of the result and return what the server says of it."""
    files, names = job["files"], job["names"]
    figures = read_json(Path(OUT) / "registration.json")
    clouds = clouds_of(*pair, read_cloud(Path(OUT) / "points.npz"), method.method)
    page = ResultPage(
        title=f"{method.title} registration",
        names={scan: names[scan] for scan in SCANS},
        clouds=clouds,
        figures=figures,
        landmarks=landmarks,
        commands=[shlex.join(words) for words in work.said],
        warnings=work.warnings,
    )
    write_page(Path(PAGE), page)
    unpacked = {Path(ours).stem: f"{names[part]}, unpacked" for part, ours in files.items() if ours.endswith(".zip")}
    other = {ours: names[part] for part, ours in files.items() if names[part] != ours and not ours.endswith(".zip")}
    return {
        "method": method.title,
        "figures": {key: value for key, value in figures.items() if key not in {"distance", "gates"}},
        "residual_mm": {
            "before": float(np.median(clouds.before)),
            "after": float(np.median(next(iter(clouds.after.values())).residual)),
        },
        "landmarks": None if landmarks is None else landmarks.figures,
        "commands": page.commands,
        "renamed": {**other, **unpacked},
        "warnings": work.warnings,
        "files": _files(),
    }


def _files() -> list[dict[str, Any]]:
    """Return the files of the result that exist: name, path in the folder, size, what they hold."""
    own = [path for path in Path(OUT).glob("points.*") if path.suffix not in {".npz", ".json"}]
    listed = [(path, "moved cloud in the format, frame and unit of the baseline") for path in own]
    listed += [(Path(name) if name == PAGE else Path(OUT) / name, text) for name, text in FILES.items()]
    return [
        {"name": path.name, "path": str(path), "bytes": path.stat().st_size, "holds": text}
        for path, text in listed
        if path.is_file()
    ]
