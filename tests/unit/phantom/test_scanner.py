import numba
import numpy as np
import pytest
from scipy import ndimage

from lcsd.phantom import make_case
from lcsd.phantom.anatomy import lung_levels
from lcsd.phantom.case import ROLES
from lcsd.phantom.scanner import LATTICE_PAD, _lattice_row, _spline_weights

pytestmark = pytest.mark.xdist_group("phantom")


def _index(scan, world):
    """Continuous voxel index (x, y, z), written out without the scan's own helper."""
    return np.linalg.solve(scan.direction * scan.spacing, (world - scan.origin).T).T


def _nearest(image, scan, world):
    x, y, z = np.rint(_index(scan, world)).astype(int).T
    return image[z, y, x]


@pytest.mark.slow
def test_same_seed_gives_the_same_voxels_whatever_the_threads(tiny, clean):
    before = numba.get_num_threads()
    first = {role: tiny.acquired(role, clean[role], tiny.kernels[0]) for role in ROLES}
    numba.set_num_threads(1)
    try:
        again = make_case(0, size="tiny")
        for role in ROLES:
            np.testing.assert_array_equal(again.clean_image(role), clean[role])
            np.testing.assert_array_equal(again.acquired(role, clean[role], again.kernels[0]), first[role])
    finally:
        numba.set_num_threads(before)


def test_other_seed_or_case_gives_other_voxels(tiny):
    assert not np.array_equal(make_case(1, size="tiny").body_landmarks, tiny.body_landmarks)
    assert not np.array_equal(make_case(0, case=1, size="tiny").body_landmarks, tiny.body_landmarks)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_landmarks_are_bright_in_both_scans(tiny, clean, masks, role):
    """The image itself shows the motion: vessels appear where the closed form says."""
    fixed, moving = tiny.landmarks
    world = fixed if role == "fixed" else moving
    lungs, vessels = masks[role]
    scan = tiny.scan(role)
    assert _nearest(lungs, scan, world).all()
    at_landmarks = _nearest(clean[role], scan, world)
    background = clean[role][(lungs > 0) & (vessels == 0)]
    assert (at_landmarks > background.mean() + 100.0).mean() > 0.95
    elsewhere = _nearest(clean[role], scan, world + np.array([9.0, 9.0, 9.0]))
    assert at_landmarks.mean() > elsewhere.mean() + 150.0


@pytest.mark.slow
def test_without_the_truth_the_scans_do_not_match(tiny, clean):
    fixed, moving = tiny.points
    scans = tiny.fixed_scan, tiny.moving_scan
    pair = [
        ndimage.map_coordinates(clean[role], _index(scan, world)[:, ::-1].T, order=1)
        for role, scan, world in zip(("fixed", "moving"), scans, (fixed, moving), strict=True)
    ]
    shifted = ndimage.map_coordinates(
        clean["moving"], _index(scans[1], moving + np.array([0, 6, 0]))[:, ::-1].T, order=1
    )
    assert np.corrcoef(*pair)[0, 1] > np.corrcoef(pair[0], shifted)[0, 1] + 0.15


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_interpolated_body_positions_are_exact_to_a_hundredth_mm(role, full_size):
    case = full_size(2)
    scan, lattice = case.scan(role), case.lattice(role)
    rng = np.random.default_rng(4)
    index = rng.uniform(0, np.array(scan.size_xyz) - 1, (200, 3))
    world = scan.to_world(index)
    if role == "moving":
        exact, _ = case.motion.body_of_moving(world)
    else:
        exact = world - case.motion.fixed_origin
    found = np.empty((200, 3))
    row, w = np.empty((lattice.coefficients.shape[2], 4)), np.empty(4)
    for n, (i, j, k) in enumerate(index):
        x, y, z = (np.array([i, j, k]) / lattice.steps) + LATTICE_PAD
        _lattice_row(lattice.coefficients, z, y, row)
        b = int(np.floor(x))
        _spline_weights(x - b, w)
        found[n] = w @ row[b - 1 : b + 3, :3]
    assert np.linalg.norm(found - exact, axis=1).max() < 0.01


def _lung_depth(case, fixed):
    """Depth (N,) in mm of fixed points (N, 3) inside the lungs, negative outside."""
    return lung_levels(np.ascontiguousarray(fixed - case.motion.fixed_origin), case.body)


def test_masks_follow_the_closed_form(tiny, masks):
    scan = tiny.moving_scan
    lungs, vessels = masks["moving"]
    rng = np.random.default_rng(7)
    index = rng.integers(0, np.array(scan.size_xyz), (4000, 3))
    depth = _lung_depth(tiny, tiny.inverse(scan.to_world(index.astype(float))))
    clear = np.abs(depth) > 0.05
    inside = lungs[index[:, 2], index[:, 1], index[:, 0]] > 0
    np.testing.assert_array_equal(inside[clear], (depth > 0)[clear])
    assert not (vessels & ~lungs).any()


@pytest.mark.slow
def test_hounsfield_units_are_those_of_tissue(clean, masks):
    for role in ("fixed", "moving"):
        lungs, vessels = masks[role]
        lung = clean[role][(lungs > 0) & (vessels == 0)]
        assert -900 < np.median(lung) < -780
        assert clean[role].min() >= -1000.0
        assert 400 < clean[role].max() <= 700
        # Air around the body, fat, soft tissue and bone all exist.
        for low, high in ((-1001, -999), (-120, -60), (20, 70), (250, 700)):
            share = ((clean[role] > low) & (clean[role] < high)).mean()
            assert share > 0.001, (role, low)


@pytest.mark.slow
def test_density_falls_where_the_lung_expands(tiny, clean, masks):
    worlds = dict(zip(("fixed", "moving"), tiny.points, strict=True))
    clear = _lung_depth(tiny, worlds["fixed"]) > 12.0
    density = {}
    for role, world in worlds.items():
        scan = tiny.scan(role)
        smooth = ndimage.gaussian_filter(clean[role] + 1000.0, 1.0)
        density[role] = _nearest(smooth, scan, world)
        clear &= ~_nearest(ndimage.binary_dilation(masks[role][1], iterations=3), scan, world)
    change = np.log(density["moving"][clear] / density["fixed"][clear])
    determinant = np.log(tiny.determinant(worlds["fixed"])[clear])
    assert clear.sum() > 100
    assert np.polyfit(determinant, change, 1)[0] == pytest.approx(-1.0, abs=0.3)


def test_kernels_have_their_noise_and_share_their_photons(tiny):
    scan = tiny.fixed_scan
    flat = np.full(scan.size_xyz[::-1], 40.0, dtype=np.float32)
    images = [tiny.acquired("fixed", flat, k).astype(float) - 40.0 for k in tiny.kernels]
    middle = (slice(None), slice(30, 66), slice(30, 66))
    soft, sharp = (image[middle] for image in images)
    assert 24.0 < soft.std() < 40.0
    assert sharp.std() > 60.0
    assert np.corrcoef(soft.ravel(), sharp.ravel())[0, 1] > 0.5
    # Outside the circular field of view nothing is reconstructed.
    assert (images[0][:, 0, 0] + 40.0 == -1024.0).all()


def test_scans_differ_in_everything(tiny):
    fixed, moving = tiny.fixed_scan, tiny.moving_scan
    assert fixed.size_xyz[:2] != moving.size_xyz[:2]
    assert not np.allclose(fixed.spacing, moving.spacing)
    assert fixed.thickness != moving.thickness
    for scan in (fixed, moving):
        np.testing.assert_allclose(scan.direction @ scan.direction.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(scan.direction) == pytest.approx(1.0)
    np.testing.assert_array_equal(np.sign(np.diag(moving.direction)), [-1, 1, -1])
    assert 0.0 < np.abs(moving.direction - np.diag([-1, 1, -1])).max() < 0.08
