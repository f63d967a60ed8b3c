"""synthesis/transformations.py: shifts, scales and turns with known answers."""
import math

import numpy as np
import pytest

from common.session import tf
from synthesis import transformations


def run(tensor, feed=None):
    with tf.Session() as sess:
        return sess.run(tensor, feed)


def resample(images, shift=(0., 0.), scale=1., angle=0.):
    return run(transformations.resample(tf.constant(images, tf.float32), tf.constant(shift), tf.constant(scale),
                                        tf.constant(angle)))


def noise(*shape):
    return np.random.RandomState(0).uniform(0, 255, shape).astype(np.float32)


def test_nothing_changes_nothing():
    images = noise(2, 5, 7, 3)
    np.testing.assert_allclose(resample(images), images, rtol=1e-5)


def test_a_shift_by_whole_pixels_brings_gray_in():
    images = noise(2, 5, 7, 3)
    moved = resample(images, shift=(1., -2.))
    np.testing.assert_allclose(moved[:, 1:, :-2], images[:, :-1, 2:], rtol=1e-4)
    np.testing.assert_allclose(moved[:, 0], 127.5)
    np.testing.assert_allclose(moved[:, :, -2:], 127.5)


def test_half_a_pixel_is_the_mean_of_two():
    images = noise(1, 4, 6, 1)
    np.testing.assert_allclose(resample(images, shift=(0., 0.5))[:, :, 1:], (images[:, :, 1:] + images[:, :, :-1]) / 2,
                               rtol=1e-4)


def test_a_quarter_turn():
    images = noise(1, 5, 5, 2)
    turned = resample(images, angle=math.pi / 2)
    np.testing.assert_allclose(turned[0], np.rot90(images[0], -1), rtol=1e-3, atol=1e-2)


def test_twice_as_large_about_the_center():
    images = noise(1, 5, 5, 1)
    large = resample(images, scale=2.)
    np.testing.assert_allclose(large[0, ::2, ::2, 0], images[0, 1:4, 1:4, 0], rtol=1e-4)


def test_gradients_pass_and_every_picture_is_changed_alike():
    images = tf.placeholder(tf.float32, [None, 6, 6, 3])
    seed = tf.placeholder(tf.int32, [2])
    seen = transformations.transform(images, seed, jitter=1.0, scale=1.2, degrees=20)
    gradient, = tf.gradients(seen, images)
    pixels = noise(1, 6, 6, 3)
    with tf.Session() as sess:
        both = sess.run(seen, {images: np.repeat(pixels, 2, axis=0), seed: [3, 4]})
        alone, again, other = (sess.run(seen, {images: pixels, seed: pair}) for pair in ([3, 4], [3, 4], [3, 5]))
        found = sess.run(gradient, {images: pixels, seed: [3, 4]})
    np.testing.assert_array_equal(both[0], both[1])
    np.testing.assert_allclose(both[:1], alone, rtol=1e-5)
    np.testing.assert_array_equal(alone, again)
    assert np.abs(alone - other).mean() > 1
    assert found.shape == pixels.shape and found[0, 2:4, 2:4].min() > 0.3  # the middle is seen


def test_no_strength_no_change():
    pixels = noise(1, 6, 6, 3)
    seen = transformations.transform(tf.constant(pixels), tf.constant([0, 1]), 0.0, 1.0, 0.0)
    np.testing.assert_allclose(run(seen), pixels, rtol=1e-4)


@pytest.mark.parametrize('seed', range(5))
def test_shifts_stay_within_the_jitter(seed):
    pixels = np.full([1, 32, 32, 1], 127.5, np.float32)
    pixels[0, 16, 16] = 255
    seen = run(transformations.transform(tf.constant(pixels), tf.constant([seed, 0]), 3.0, 1.0, 0.0))[0, ..., 0]
    rows, columns = np.nonzero(seen > 128)
    assert np.abs(rows - 16).max() <= 4 and np.abs(columns - 16).max() <= 4
    np.testing.assert_allclose((seen - 127.5).sum(), 127.5, rtol=1e-3)  # nothing is lost
