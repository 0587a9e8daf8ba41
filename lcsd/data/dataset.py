"""Pairs of a release or a build as a torch ``Dataset``."""

import hashlib
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from lcsd.data.remote import SEPARATOR, Remote
from lcsd.data.sample import ATTRIBUTES, POINT_KEYS, Sample
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import read_image, read_rigid
from lcsd.io.nifti import ImageFileError, nibabel
from lcsd.io.points import PointPairs, read_cloud, read_point_pairs
from lcsd.io.tables import read_cases
from lcsd.landmarks.common_space import to_common_space
from lcsd.names import Space
from lcsd.release.choice import Chosen, choose, manifest_of
from lcsd.release.layout import CASES_NAME, CLOUDS, SCAN_NUMBER, Split, pair_file, scan_file

CloudKind = Literal["dense", "sparse"]
Part = Literal["train", "validation", "test"]
Transform = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True)
class _Files:
    """Paths of the files of a pair; ``landmarks`` is None if there are none."""

    case: str
    clouds: dict[str, Path]
    vessels: dict[str, Path]
    images: dict[str, Path]
    correspondences: Path
    rigid: Path
    landmarks: Path | None
    landmarks_frame: Space


def _of_release(root: Path, split: Split, cloud: CloudKind) -> list[_Files]:
    rows = read_cases(root / CASES_NAME, ("split", "landmarks"))
    return [
        _Files(
            case=row["case"],
            clouds={
                scan: root / scan_file("clouds", split, row["case"], scan, end=f"_{cloud}.npz") for scan in SCAN_NUMBER
            },
            vessels={scan: root / scan_file("labels", split, row["case"], scan, end=".nii.gz") for scan in SCAN_NUMBER},
            images={scan: root / scan_file("images", split, row["case"], scan, end=".nii.gz") for scan in SCAN_NUMBER},
            correspondences=root / pair_file("correspondences", split, row["case"], end=".csv"),
            rigid=root / pair_file("rigid", split, row["case"], end=".tfm"),
            landmarks=root / pair_file("landmarks", split, row["case"], end=".csv")
            if row["landmarks"] != "0"
            else None,
            landmarks_frame="common",
        )
        for row in rows
        if row["split"] == split
    ]


def _of_build(root: Path, manifest: Path | None, split: Split, cloud: CloudKind) -> list[_Files]:
    choice = choose(root, manifest_of(root, manifest))
    for problem in choice.problems:
        warnings.warn(f"{problem.line()}; the case is left out", stacklevel=4)
    return [_of_case(item, cloud) for item in choice.chosen if item.split == split]


def _of_case(item: Chosen, cloud: CloudKind) -> _Files:
    files, pair = item.files, item.pair
    return _Files(
        case=item.case,
        clouds={scan: files.cloud(scan, CLOUDS[cloud]) for scan in SCAN_NUMBER},
        vessels={scan: files.vessels(scan) for scan in SCAN_NUMBER},
        images={scan: files.image(scan) for scan in SCAN_NUMBER},
        correspondences=files.correspondences,
        rigid=files.rigid,
        landmarks=pair.landmarks if item.split == "test" else None,
        landmarks_frame=pair.landmarks_frame or "native",
    )


class LCSDataset(Dataset[Sample]):
    """Pairs of vessel clouds with correspondences and landmarks, as tensors.

    Parameters
    ----------
    root
        Folder of a release (``lcsd release``), or results of a build, of which a release's cases are taken. An address
        of fsspec, such as ``hf://datasets/owner/name``, is a release elsewhere: what the other arguments need of it is
        copied and verified once.
    split
        ``train``, ``validation`` or ``test``.
    cloud
        ``dense``: every vessel voxel; ``sparse``: the keypoints.
    points
        Largest number of points per cloud. They are drawn at random without replacement and keep the file's order;
        None keeps all points.
    normalise
        Coordinates in [-1, 1] of the common grid, as for ``grid_sample`` with ``align_corners=False``, instead of LPS
        mm.
    vessels, images
        Read the vessel maps, and the CT scans if the release has them.
    attributes
        Also give what the clouds' files hold for each point: structure, radius, weight.
    validation
        Share of the training cases that are left out of ``train`` and make up ``validation``, of 1. The name of a case
        and the seed alone decide, so that cases stay where they are when others join.
    transform
        Called with each sample and a random generator, which depends on seed, epoch and case alone; for example
        :class:`Augment`.
    manifest
        ``pairs.tsv`` of a build without a selection.
    cache
        Folder for copies of releases elsewhere; by default ``XDG_CACHE_HOME/lcsd/releases``.
    seed
        Seed of the drawn points, together with epoch, case and scan. The same points come in any order and from any
        worker; :meth:`set_epoch` changes them.

    Raises
    ------
    BadInputError
        There is no release or build, the split is unknown or has no case, or a file or package is missing.
    WorkError
        A release elsewhere cannot be copied, or a file is not the one that it lists.

    Notes
    -----
    A sample is a dictionary:

    ========================= ============== ======= ===========================================
    key                       shape          dtype   content
    ========================= ============== ======= ===========================================
    case                                     str     name of the case
    fixed, moving             (N, 3)         float32 cloud of baseline and follow-up
    correspondences           (K, 2, 3)      float32 fixed and moving point of each pair
    landmarks                 (L, 2, 3)      float32 the same; L is 0 without landmarks
    to_mm                     (4, 4)         float64 homogeneous matrix, a sample's point to LPS mm
    grid_to_mm                (4, 4)         float64 the same for [-1, 1] of the volumes, with ``vessels``, ``images``
    fixed/moving_label        (N,)           uint8   structure, with ``attributes`` if the cloud has it
    fixed/moving_radius       (N,)           float32 mm, the same
    fixed/moving_weight       (N,)           float32 the same
    fixed/moving_vessels      (1, z, y, x)   uint8   with ``vessels``
    fixed/moving_image        (1, z, y, x)   float32 HU, with ``images``
    ========================= ============== ======= ===========================================

    Files are open only while a sample is read, so a dataset can be pickled and used by several workers.
    """

    def __init__(
        self,
        root: str | Path,
        split: Part,
        *,
        cloud: CloudKind = "sparse",
        points: int | None = None,
        normalise: bool = False,
        vessels: bool = False,
        images: bool = False,
        attributes: bool = False,
        validation: float = 0.0,
        transform: Transform | None = None,
        manifest: str | Path | None = None,
        cache: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        for name, value, known in (("split", split, Part), ("cloud", cloud, CloudKind)):
            if value not in get_args(known):
                raise BadInputError(
                    "unknown value",
                    code="bad_value",
                    field=name,
                    expected=" or ".join(get_args(known)),
                    found=repr(value),
                )
        whole = isinstance(points, int) and not isinstance(points, bool)
        if points is not None and not (whole and points >= 1):
            raise BadInputError(
                "not a number of points",
                code="bad_value",
                field="points",
                expected="a whole number, 1 or more",
                found=repr(points),
            )
        if not 0 <= validation < 1:
            raise BadInputError(
                "not a share", code="bad_value", field="validation", expected="0 or more, below 1", found=validation
            )
        self.split = split
        self.points = points
        self.normalise = normalise
        self.vessels = vessels
        self.images = images
        self.attributes = attributes
        self.validation = validation
        self.transform = transform
        self.seed = seed
        # Shared, so that persistent workers see the change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        own: Split = "test" if split == "test" else "train"
        remote = None
        if SEPARATOR in str(root):
            remote = Remote(str(root), None if cache is None else Path(cache))
            remote.copy([CASES_NAME])
        self.root = Path(root) if remote is None else remote.folder
        if (self.root / CASES_NAME).exists():
            found = _of_release(self.root, own, cloud)
        else:
            found = _of_build(self.root, None if manifest is None else Path(manifest), own, cloud)
        self._files = [files for files in found if split == "test" or self._validates(files.case) == (split != "train")]
        if not self._files:
            raise BadInputError("the split has no case", code="empty_split", file=self.root, field=split)
        if remote is not None:
            wanted = (path for files in self._files for path in self._wanted(files))
            remote.copy(path.relative_to(self.root).as_posix() for path in wanted)
        self._check_files()

    def _validates(self, case: str) -> bool:
        """Return whether a training case belongs to the validation cases."""
        return bool(self._rng("validation", case).random() < self.validation)

    def _rng(self, *words: object) -> np.random.Generator:
        """Return the generator that the seed and words make."""
        digest = hashlib.sha256(":".join(map(str, (self.seed, *words))).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    def _wanted(self, files: _Files) -> list[Path]:
        """Return the files of a case that samples are read from."""
        wanted = [*files.clouds.values(), files.correspondences, files.rigid]
        wanted += [files.vessels["fixed"]] if self.normalise or self.vessels or self.images else []
        wanted += files.vessels.values() if self.vessels else []
        wanted += files.images.values() if self.images else []
        return wanted + ([files.landmarks] if files.landmarks is not None else [])

    def _check_files(self) -> None:
        for files in self._files:
            absent = next((path for path in self._wanted(files) if not path.is_file()), None)
            if absent is not None:
                scan = absent in files.images.values()
                raise BadInputError(
                    "file of a case not found",
                    code="missing_file",
                    file=absent,
                    field=files.case,
                    remedy="the release has no CT scans, so leave images out"
                    if scan
                    else "look for other differences: lcsd verify",
                )

    @property
    def cases(self) -> list[str]:
        """Names of the cases in the order of the samples."""
        return [files.case for files in self._files]

    def set_epoch(self, epoch: int) -> None:
        """Draw other points from the next sample on, also in running workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample.

        Raises
        ------
        BadInputError
            A file of the case is broken.
        """
        files = self._files[index]
        place = self._placed(files)
        sample: Sample = {"case": files.case}
        for scan, path in files.clouds.items():
            cloud = read_cloud(path)
            kept = self._draw(len(cloud), files.case, scan)
            rows = slice(None) if kept is None else kept
            sample[scan] = place.tensor(cloud.points[rows])
            for name in ATTRIBUTES if self.attributes else ():
                values = getattr(cloud, name)
                if values is not None:
                    sample[f"{scan}_{name}"] = torch.from_numpy(values[rows])
        sample["correspondences"] = place.pairs(read_point_pairs(files.correspondences))
        sample["landmarks"] = place.pairs(_landmarks(files))
        sample["to_mm"] = torch.from_numpy(place.to_mm)
        if self.vessels or self.images:
            sample["grid_to_mm"] = torch.from_numpy(_Place(_grid(files.vessels["fixed"])).to_mm)
        for scan in SCAN_NUMBER:
            if self.vessels:
                array = read_image(files.vessels[scan]).array
                sample[f"{scan}_vessels"] = torch.from_numpy(array.astype(np.uint8))[None]
            if self.images:
                array = read_image(files.images[scan]).array
                sample[f"{scan}_image"] = torch.from_numpy(array.astype(np.float32))[None]
        if self.transform is None:
            return sample
        return self.transform(sample, self._rng(int(self._epoch), files.case, "transform"))

    def _placed(self, files: _Files) -> "_Place":
        return _Place(_grid(files.vessels["fixed"]) if self.normalise else None)

    def _draw(self, count: int, case: str, scan: str) -> NDArray[np.int64] | None:
        """Return the indices of the points to keep, sorted; None keeps all."""
        if self.points is None or count <= self.points:
            return None
        return np.sort(self._rng(int(self._epoch), case, scan).choice(count, self.points, replace=False))


def _grid(path: Path) -> Grid:
    """Return the grid of a volume from its header, without reading voxels."""
    try:
        volume: Any = nibabel.load(path)
        return Grid.from_affine_ras(volume.affine, volume.shape)
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError) as error:
        raise BadInputError(
            "not a readable NIfTI volume",
            code="truncated_file",
            file=path,
            remedy="look for other differences: lcsd verify",
        ) from error


def _landmarks(files: _Files) -> PointPairs:
    """Return the landmarks of a case in common space; empty if there are none."""
    if files.landmarks is None:
        return PointPairs(np.empty((0, 3)), np.empty((0, 3)))
    given = read_point_pairs(files.landmarks)
    common, _ = to_common_space(given, rigid=read_rigid(files.rigid), frame=files.landmarks_frame)
    return common


class _Place:
    """Coordinates of a sample: LPS mm, or [-1, 1] of a grid."""

    def __init__(self, grid: Grid | None) -> None:
        self._grid = grid
        self.to_mm = np.eye(4)
        if grid is not None:
            corners = np.vstack([np.zeros(3), np.eye(3)])
            world = grid.normalised_to_world(corners)
            self.to_mm[:3, :3] = (world[1:] - world[0]).T
            self.to_mm[:3, 3] = world[0]

    def tensor(self, points: NDArray[Any]) -> torch.Tensor:
        """Return LPS points (N, 3) in the sample's coordinates, float32."""
        placed = points.astype(np.float64)
        if self._grid is not None:
            placed = self._grid.world_to_normalised(placed)
        return torch.from_numpy(placed.astype(np.float32))

    def pairs(self, pairs: PointPairs) -> torch.Tensor:
        """Return point pairs as (K, 2, 3), float32."""
        return torch.stack([self.tensor(pairs.fixed), self.tensor(pairs.moving)], dim=1)


def collate(samples: Sequence[Sample]) -> Sample:
    """Return a batch of samples; clouds of different sizes are padded with zeros.

    For ``DataLoader(..., collate_fn=lcsd.data.collate)``. Points become ``(B, N, 3)`` and pairs ``(B, K, 2, 3)``, with
    the largest N and K. Each has a mask, ``fixed_mask``, ``correspondences_mask``, ... of shape (B, N), bool, which is
    True for points. All other entries are stacked; names of cases become a list.

    Raises
    ------
    BadInputError
        Volumes of different sizes.
    """
    batch: Sample = {"case": [sample["case"] for sample in samples]}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if key in POINT_KEYS:
            counts = torch.tensor([len(value) for value in values])
            batch[key] = pad_sequence(values, batch_first=True)
            batch[f"{key}_mask"] = torch.arange(batch[key].shape[1]) < counts[:, None]
        elif key != "case":
            sizes = sorted({tuple(value.shape) for value in values})
            if len(sizes) > 1:
                raise BadInputError(
                    "volumes of different sizes cannot be stacked",
                    code="mixed_grids",
                    field=key,
                    expected="one size",
                    found=", ".join(map(str, sizes)),
                    remedy="use batches of one sample",
                )
            batch[key] = torch.stack(values)
    return batch
