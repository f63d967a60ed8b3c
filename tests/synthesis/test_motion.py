"""synthesis/motion.py: where things come to lie, and what goes with them."""
import sys

import numpy as np
import pytest
from scipy import ndimage

from synthesis import motion


def scene(height=80, width=120, seed=0):
    """Returns a smooth colorful picture in [0, 255]."""
    noise = np.random.RandomState(seed).uniform(size=[height, width, 3])
    smooth = ndimage.gaussian_filter(noise, (4, 4, 0))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.float32)


@pytest.fixture(params=['with OpenCV', 'without OpenCV'])
def opencv(request, monkeypatch):
    """Says whether there is an OpenCV; runs the test with and without."""
    if request.param == 'without OpenCV':
        monkeypatch.setitem(sys.modules, 'cv2', None)
    return request.param == 'with OpenCV'


def test_the_camera_moves_into_the_middle():
    image = np.zeros([41, 61, 3], np.float32)
    image[20, 30], image[20, 40], image[10, 30] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    moved = motion.warp(image, motion.camera(41, 61, zoom=2))
    assert moved[20, 30].tolist() == [255, 0, 0] and moved[20, 50].tolist() == [0, 255, 0]
    assert moved[0, 30].tolist() == [0, 0, 255]


def test_it_turns_clockwise():
    image = np.zeros([41, 41], np.float32)
    image[10, 20] = 255  # above the middle
    moved = motion.warp(image, motion.camera(41, 41, degrees=90))
    assert np.unravel_index(moved.argmax(), moved.shape) == (20, 30)  # right of the middle


def test_standing_still_changes_nothing():
    image = scene()
    for order in (1, 3):
        np.testing.assert_allclose(motion.warp(image, motion.camera(80, 120), order), image, atol=0.01)


def test_beyond_the_edge_lies_the_mirror_image():
    image = np.tile(np.arange(9, dtype=np.float32), (5, 1))
    smaller = motion.warp(image, motion.camera(5, 9, zoom=0.5))
    assert smaller[2].tolist() == [4, 2, 0, 2, 4, 6, 8, 6, 4]


def test_splines_keep_a_picture_sharp_and_within_its_range():
    image = scene(seed=1)
    there, back = motion.camera(80, 120, degrees=7), motion.camera(80, 120, degrees=-7)
    errors = [np.abs(motion.warp(motion.warp(image, there, order), back, order) - image)[30:50, 40:80].mean()
              for order in (1, 3)]
    assert errors[1] < 0.3 * errors[0]
    moved = motion.warp(np.float32([[0, 0, 255, 255, 0]] * 5), motion.camera(5, 5, zoom=1.3), 3)
    assert moved.min() == 0 and moved.max() == 255


def test_optical_flow_finds_a_shift():
    whole = scene(100, 140)
    old, new = whole[5:85, 8:128, 0], whole[8:88, 2:122, 0]  # what was at (3, -6) is at the origin now
    shift = motion.optical_flow(old, new) - np.mgrid[:80, :120]
    np.testing.assert_allclose(np.median(shift.reshape(2, -1), axis=1), [3, -6], atol=0.1)


def test_the_flow_does_not_depend_on_images_seen_before():
    old, new = scene()[5:75, 8:118, 0], scene()[8:78, 2:112, 0]
    first = motion.optical_flow(old, new)
    motion.optical_flow(scene(200, 300, seed=1)[..., 0], scene(200, 300, seed=2)[..., 0])
    motion.optical_flow(old[:40, :50], new[:40, :50])
    np.testing.assert_array_equal(motion.optical_flow(old, new), first)


def test_a_change_goes_along_with_what_it_was_made_to():
    whole = scene(100, 140)
    old, new = whole[5:85, 8:128], whole[8:88, 2:122]
    change = np.zeros_like(old)
    change[40:44, 60:64] = 100
    carried = motion.warp_change(change, old, new)
    assert carried[37:41, 66:70].mean() == pytest.approx(100, rel=0.1)
    assert carried[:30].max() == 0


def test_without_opencv_a_change_stays_where_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    old, change = scene(), scene(seed=2) - 128
    np.testing.assert_allclose(motion.warp_change(change, old, old), change, atol=1e-3)


def test_sensor_noise_does_not_end_it(opencv):
    random = np.random.RandomState(4)
    old, new = (scene() + random.normal(0, 4, [80, 120, 3]).astype(np.float32) for _ in range(2))
    change = np.full_like(old, 50)
    assert motion.warp_change(change, old, new).mean() > 40


def test_a_cut_ends_it(opencv):
    assert np.abs(motion.warp_change(np.full([80, 120, 3], 50, np.float32), scene(), 255 - scene(seed=9))).mean() < 15


def test_nothing_is_carried_to_what_comes_into_sight(opencv):
    old = scene()
    new = old.copy()
    new[20:60, 30:70] = 255 - new[20:60, 30:70]
    carried = motion.warp_change(np.full_like(old, 50), old, new)
    assert carried[25:55, 35:65].mean() < 20 < 45 < carried[:, 90:].mean()
