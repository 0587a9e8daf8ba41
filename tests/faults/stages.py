"""Faults that stages meet in what the stages before made, or in their settings and programs."""

import sys
from collections.abc import Callable

import numpy as np

from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.images import Image, write_image, write_mask
from lcsd.io.points import PAIR_COLUMNS, Cloud, write_cloud
from lcsd.totalsegmentator import run
from lcsd.totalsegmentator.models import TOTAL_6MM, VESSELS_LEGACY
from tests.faults.fault import Fault, Kind, Place
from tests.faults.scans import hu
from tests.grids import GRIDS
from tests.unit.prealign.standin import write_program
from tests.unit.totalsegmentator.made_up import made_up_child, made_up_weights

GRID = hu().grid
NOTHING = np.zeros(GRID.shape, np.uint8)
SOMETHING = np.zeros(GRID.shape, np.uint8)
SOMETHING[6:18, 6:18, 6:18] = 1
LATTICE = np.argwhere(SOMETHING)[::7, ::-1].astype(np.float32) * 5
"""Points (N, 3) of a chest's size, LPS mm."""


def image(place: Place, name: str, array: np.ndarray | None = None, grid: Grid = GRID) -> str:
    """Write an image of HU, by default one with air and tissue; return its path."""
    path = place.inputs / f"{name}.nii.gz"
    write_image(path, Image(hu().array if array is None else array, grid), dtype=np.int16)
    return str(path)


def mask(place: Place, name: str, array: np.ndarray = SOMETHING, grid: Grid = GRID) -> str:
    """Write a mask; return its path."""
    path = place.inputs / f"{name}.nii.gz"
    write_mask(path, Image(array, grid))
    return str(path)


def cloud(place: Place, name: str, points: np.ndarray = LATTICE, **meta: object) -> str:
    """Write a cloud; return its path."""
    path = place.inputs / f"{name}.npz"
    write_cloud(path, Cloud(points.astype(np.float32), meta=meta))
    return str(path)


def _elsewhere() -> Grid:
    far = tuple(value + 5000 for value in GRID.origin)
    return Grid(GRID.size, GRID.spacing, far, GRID.direction)


def _mirrored() -> Grid:
    return Grid(GRID.size, GRID.spacing, GRID.origin, GRIDS["flipped_z"].direction)


def _lungs(array: np.ndarray, given: tuple[np.ndarray, Grid] | None = None) -> Callable[..., list[str]]:
    def make(place: Place) -> list[str]:
        words = ["lungs", image(place, "ct", array), str(place.out / "lungs.nii.gz")]
        return words if given is None else [*words, "--given", mask(place, "given", *given)]

    return make


def _prealign(*options: str, moving_grid: Grid = GRID) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        return [
            "prealign",
            image(place, "fixed"),
            image(place, "moving"),
            "--fixed-mask",
            mask(place, "fixed_mask"),
            "--moving-mask",
            mask(place, "moving_mask", grid=moving_grid),
            "--out-dir",
            str(place.out),
            "--set",
            "size=[24, 24, 24]",
            "--set",
            "spacing_mm=3",
            *options,
        ]

    return make


def external_program(body: str, *options: str) -> Callable[[Place], list[str]]:
    """Return the call that aligns by a program that does ``body``."""

    def make(place: Place) -> list[str]:
        program = write_program(place.folder / "linearBCV", body)
        call = _prealign("--set", "method=deeds", "--set", f"linear_bcv={program}", *options)
        return call(place)

    return make


def _vessels(place: Place, *options: str) -> list[str]:
    return [
        "vessels",
        image(place, "fixed"),
        str(place.out / "vessels.nii.gz"),
        "--lungs",
        mask(place, "lungs"),
        *options,
    ]


def _child(kind: str, **options: float) -> Callable[[Place], list[str]]:
    """Return the call that segments by a process that fails in one way."""

    def make(place: Place) -> list[str]:
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            place.patch.setenv(name, str(place.folder / name))
        weights = made_up_weights(place.folder / "weights", (TOTAL_6MM, VESSELS_LEGACY))
        mark = str(place.folder / "pid")
        child = made_up_child(place.folder, kind, crop="28, 26, 24", mark=mark)
        place.patch.setattr(run, "CHILD", (sys.executable, str(child)))
        given = {"weights": weights, **options}
        words = [w for k, v in given.items() for w in ("--set", f"totalsegmentator.{k}={v}")]
        return _vessels(place, "--backend", "totalsegmentator", *words)

    return make


def _no_weights(place: Place) -> list[str]:
    settings = f"totalsegmentator.weights={place.folder / 'none'}"
    return _vessels(place, "--backend", "totalsegmentator", "--set", settings)


def _keypoints(points: np.ndarray, *options: str, **meta: object) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        dense = cloud(place, "dense", points, **meta)
        return ["keypoints", dense, str(place.out / "sparse.npz"), *options]

    return make


def _nan_cloud(place: Place) -> list[str]:
    points = LATTICE.copy()
    points[3, 1] = np.nan
    return _keypoints(points)(place)


def _no_points(place: Place) -> list[str]:
    np.savez(place.inputs / "dense.npz", vertices=LATTICE)
    return ["keypoints", str(place.inputs / "dense.npz"), str(place.out / "sparse.npz")]


def _correspond(array: np.ndarray | None = None, grid: Grid = GRID) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        return [
            "correspond",
            image(place, "fixed", array),
            image(place, "moving"),
            "--fixed-mask",
            mask(place, "mask", grid=grid),
            "--out",
            str(place.out / "c.csv"),
        ]

    return make


def _register(fixed: np.ndarray, moving: np.ndarray = LATTICE, *options: str) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        clouds = cloud(place, "fixed", fixed), cloud(place, "moving", moving)
        return ["register", *clouds, "--out-dir", str(place.out), *options]

    return make


def _no_gpu(place: Place) -> list[str]:
    place.patch.setattr("torch.cuda.is_available", lambda: False)
    return _register(LATTICE, LATTICE, "--device", "cuda")(place)


def _evaluate(rows: str, *, hole: bool = False, rigid: str = "") -> Callable[[Place], list[str]]:
    """Return the call that scores a field at landmarks; ``rigid`` is the text of a transform."""

    def make(place: Place) -> list[str]:
        landmarks = place.inputs / "landmarks.csv"
        landmarks.write_text(",".join(PAIR_COLUMNS) + "\n" + rows)
        vectors = np.zeros((*GRID.shape, 3), np.float32)
        vectors[0, 0, 0, 0] = np.nan if hole else 0
        field = place.inputs / "field.nii.gz"
        write_field(field, DisplacementField(vectors, GRID))
        words = ["evaluate", "--landmarks", str(landmarks), "--field", str(field)]
        words += ["--out", str(place.out / "tre.json")]
        if rigid:
            (place.inputs / "rigid.tfm").write_text(rigid)
            words += ["--rigid", str(place.inputs / "rigid.tfm")]
        return words

    return make


def _gates(place: Place) -> list[str]:
    return [
        "gates",
        mask(place, "a"),
        mask(place, "b"),
        "--fixed-lungs",
        mask(place, "c"),
        "--moving-lungs",
        mask(place, "d", grid=_elsewhere()),
        "--out",
        str(place.out / "g.json"),
    ]


def _changed_behind_the_back(place: Place) -> list[str]:
    """A file of a build was edited after the next one was made from it, and bears an old date."""
    from tests.unit.release.made_up import make_build

    results, _ = make_build(place.inputs, ("a1",))
    path = results / "cases" / "a1" / "images" / "fixed.nii.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    return ["verify", str(results)]


INSIDE = "{0},{1},{2},{0},{1},{2}\n".format(*(value + 3 for value in GRID.origin))
SCALING = (
    "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
    "Parameters: 1.1 0 0 0 1 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n"
)


def stage(
    command: str,
    name: str,
    how: str,
    make: Callable[[Place], list[str]],
    code: str,
    words: str,
    exit_code: int = 2,
    *,
    kind: Kind = "stage",
    chatty: bool = False,
) -> Fault:
    """Return a fault that a stage meets."""
    return Fault(command, name, kind, how, make, code, words, exit_code, chatty=chatty)


STAGES = (
    stage(
        "lungs",
        "no_lungs",
        "a scan of the abdomen, without an air space like a lung",
        _lungs(np.full(GRID.shape, 40, np.int16)),
        "empty_lungs",
        "150 ml",
    ),
    stage(
        "lungs",
        "empty_given_mask",
        "a given lung mask without a voxel",
        _lungs(hu().array, (NOTHING, GRID)),
        "empty_mask",
        "given.nii.gz",
    ),
    stage(
        "lungs",
        "given_labels_of_organs",
        "a map of organs as lung mask",
        _lungs(hu().array, (np.arange(hu().array.size, dtype=np.uint8).reshape(GRID.shape) % 9, GRID)),
        "mask_values",
        "7 labels or more",
    ),
    stage(
        "lungs",
        "given_mask_of_tissue",
        "a mask of the body's tissue as lung mask",
        _lungs(np.full(GRID.shape, 40, np.int16), (SOMETHING, GRID)),
        "not_lungs",
        "40 HU",
    ),
    stage(
        "lungs",
        "given_mask_elsewhere",
        "a lung mask of another scan",
        _lungs(hu().array, (SOMETHING, _elsewhere())),
        "mask_elsewhere",
        "",
        kind="geometry",
    ),
    stage(
        "prealign",
        "mask_on_another_grid",
        "a mask that is mirrored against its scan",
        _prealign(moving_grid=_mirrored()),
        "grid_mismatch",
        "resample",
        kind="geometry",
    ),
    stage(
        "prealign",
        "program_missing",
        "linearBCV is requested but not installed",
        _prealign("--set", "method=deeds", "--set", "linear_bcv=no_such_program"),
        "missing_program",
        "no_such_program",
    ),
    stage(
        "prealign",
        "program_crashes",
        "linearBCV ends with a signal",
        external_program("os.abort()\n"),
        "program_failed",
        "SIGABRT",
        1,
    ),
    stage(
        "prealign",
        "program_hangs",
        "linearBCV never ends",
        external_program("time.sleep(60)\n", "--set", "linear_bcv_limit_s=2"),
        "time_limit",
        "2 s",
        1,
    ),
    stage(
        "prealign",
        "program_writes_nan",
        "linearBCV returns NaN",
        external_program("np.savetxt(prefix + '_matrix.txt', np.full((4, 4), np.nan))\n"),
        "non_finite",
        "",
        1,
    ),
    stage(
        "vessels",
        "no_vessels",
        "lungs without any contrast",
        lambda place: [
            "vessels",
            image(place, "flat", np.full(GRID.shape, -860, np.int16)),
            str(place.out / "v.nii.gz"),
            "--lungs",
            mask(place, "lungs"),
        ],
        "empty_vessels",
        "flat.nii.gz",
    ),
    stage(
        "vessels",
        "weights_missing",
        "TotalSegmentator without its weights",
        _no_weights,
        "weights_missing",
        "",
        1,
        chatty=True,
    ),
    stage(
        "vessels",
        "child_killed",
        "the system kills TotalSegmentator's process for its memory",
        _child("killed"),
        "out_of_memory",
        "killed",
        1,
        chatty=True,
    ),
    stage(
        "vessels",
        "child_hangs",
        "TotalSegmentator's process hangs",
        _child("slow", limit_s=2),
        "time_limit",
        "2 s",
        1,
        chatty=True,
    ),
    stage(
        "vessels",
        "child_crashes",
        "TotalSegmentator's process ends without a message",
        _child("crash"),
        "totalsegmentator_failed",
        "exit code 7",
        1,
        chatty=True,
    ),
    stage(
        "vessels",
        "empty_crop",
        "TotalSegmentator finds no lung and writes zeros",
        _child("empty_crop"),
        "empty_crop",
        "at least one lobe",
        chatty=True,
    ),
    stage(
        "vessels",
        "result_elsewhere",
        "TotalSegmentator's result is shifted by one voxel",
        _child("elsewhere"),
        "result_elsewhere",
        "",
        1,
        kind="geometry",
        chatty=True,
    ),
    stage(
        "cloud",
        "empty_vessel_map",
        "a vessel map without a voxel",
        lambda place: ["cloud", mask(place, "v", NOTHING), str(place.out / "dense.npz")],
        "empty_vessels",
        "at least one voxel",
    ),
    stage(
        "keypoints",
        "too_few_points",
        "a cloud with fewer points than neighbours",
        _keypoints(LATTICE[:20], spacing_mm=[1.5] * 3),
        "fewer_points_than_k",
        "found 20",
    ),
    stage("keypoints", "no_spacing", "a cloud without its voxel size", _keypoints(LATTICE), "no_spacing", ""),
    stage("keypoints", "nan_cloud", "a point with NaN", _nan_cloud, "non_finite_points", "row 3"),
    stage(
        "keypoints", "another_array", "a cloud under another name in its file", _no_points, "missing_array", "vertices"
    ),
    stage(
        "correspond",
        "constant_image",
        "an image of one value",
        _correspond(np.full(GRID.shape, -900, np.int16)),
        "constant_image",
        "",
    ),
    stage(
        "correspond",
        "mask_of_another_case",
        "corrfield with the mask of another case",
        _correspond(grid=_elsewhere()),
        "grid_mismatch",
        "",
        kind="geometry",
    ),
    stage(
        "register",
        "single_place",
        "a cloud whose points are all at one position",
        _register(np.ones((50, 3))),
        "degenerate_cloud",
        "",
    ),
    stage(
        "register",
        "cloud_in_metres",
        "a cloud in m where mm are expected",
        _register(LATTICE / 1000),
        "wrong_unit",
        "mm",
        kind="geometry",
    ),
    stage(
        "register",
        "cloud_in_another_frame",
        "clouds of two frames, 5 m apart",
        _register(LATTICE + 5000),
        "frame_mismatch",
        "",
        kind="geometry",
    ),
    stage("register", "no_gpu", "a GPU is requested but there is none", _no_gpu, "no_cuda", "--device cpu"),
    stage(
        "evaluate",
        "landmark_outside",
        "a landmark outside the scan",
        _evaluate("9000,0,0,9000,0,0\n"),
        "landmark_outside",
        "",
        kind="geometry",
    ),
    stage(
        "evaluate",
        "landmark_no_number",
        "a landmark's coordinate is a word",
        _evaluate("1,2,three,4,5,6\n"),
        "bad_number",
        "line 2, column fixed_z",
    ),
    stage(
        "evaluate",
        "nan_field",
        "a displacement field with NaN",
        _evaluate(INSIDE, hole=True),
        "non_finite",
        "field.nii.gz",
    ),
    stage(
        "evaluate",
        "scaling_rigid",
        "a rigid transform that scales",
        _evaluate(INSIDE, rigid=SCALING),
        "bad_transform",
        "rotation",
        kind="geometry",
    ),
    stage(
        "gates", "gates_on_two_grids", "vessels and lungs of two cases", _gates, "grid_mismatch", "", kind="geometry"
    ),
    stage(
        "keypoints",
        "unknown_setting",
        "a misspelt setting",
        _keypoints(LATTICE, "--set", "min_point=5"),
        "unknown_key",
        "min_points",
    ),
    stage(
        "keypoints",
        "absurd_setting",
        "a setting outside its range",
        _keypoints(LATTICE, "--set", "sigma_step=-1"),
        "bad_value",
        "1/voxel",
    ),
)

VERIFY = Fault(
    "verify",
    "changed_unseen",
    "system",
    "a file changed after others were made from it, but its date did not",
    _changed_behind_the_back,
    "",
    "",
    1,
    records=False,
    prints="changed: cases/a1/images/fixed.nii.gz",
)
