"""Grad-CAM: its arithmetic, and its picture."""
import numpy as np

from common import session
from common.session import tf
from networks import grad_cam


def maps_of(activations, weights):
    """Maps of a class whose score is the mean of each channel times its weight."""
    layer = tf.constant(activations, tf.float32)
    scores = tf.reduce_sum(tf.reduce_mean(layer, axis=[1, 2]) * weights, axis=1)
    with session.open_session() as sess:
        return sess.run(grad_cam.grad_cam(layer, scores))


def test_a_channel_counts_by_how_much_it_raises_the_score():
    activations = np.random.RandomState(0).uniform(0, 1, [2, 3, 4, 2])
    found = maps_of(activations, [2.0, -1.0])
    # the gradient of the score is weight / (3 * 4) everywhere
    expected = np.maximum(activations[..., 0] * 2 - activations[..., 1], 0) / 12
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found == 0).any() and (found > 0).any()  # what speaks against the class is not shown


def test_the_overlay_is_red_where_the_map_is_strongest():
    heat_map = np.zeros([4, 4], np.float32)
    heat_map[0, 3] = 5
    seen = grad_cam.overlay(np.full([64, 64, 3], 128, np.uint8), heat_map)
    assert seen.shape == (64, 64, 3) and 0 <= seen.min() and seen.max() <= 255
    corner, opposite = seen[4, 60], seen[60, 4]
    assert corner[0] > corner[2] + 30 and opposite[2] > opposite[0] + 30


def test_a_map_of_nothing_is_no_error():
    assert np.isfinite(grad_cam.overlay(np.zeros([32, 32, 3]), np.zeros([2, 2], np.float32))).all()
