"""networks/attribution.py on a network whose answers can be worked out."""
import numpy as np
import pytest

from common.session import tf
from networks import attribution

WEIGHTS = np.float32([[0.02, -0.01], [0.0, 0.01], [0.005, 0.0]])   # of red, green and blue for two classes


@pytest.fixture
def explainer():
    """An Explainer of images of 8 x 8 pixels; the left half counts alone."""
    def network(images):
        layer = tf.nn.conv2d(images, tf.constant(WEIGHTS[np.newaxis, np.newaxis]), 1, 'SAME')
        left = tf.constant(np.float32(np.arange(8) < 4)[np.newaxis, :, np.newaxis])
        return {'conv': layer, 'logits': tf.reduce_sum(layer * left, axis=[1, 2]) / 32}

    graph = attribution.build(network, 8, 8, lambda end_points: 'logits')
    with tf.Session() as sess:
        yield attribution.Explainer(sess, graph)


def photograph():
    return np.random.RandomState(0).uniform(0, 255, [8, 8, 3]).astype(np.float32)


def probability(image):
    logits = image[:, :4].mean(axis=(0, 1)) @ WEIGHTS
    return 1 / (1 + np.exp(logits[1] - logits[0]))


def test_integrated_gradients_add_up_and_see_what_counts(explainer):
    image = photograph()
    found, difference = explainer.integrated_gradients(image, 0)
    assert difference == pytest.approx(probability(image) - probability(np.full_like(image, 127.5)), abs=1e-6)
    assert found.sum() == pytest.approx(difference, rel=1e-3)
    np.testing.assert_array_equal(found[:, 4:], 0)
    # Along a straight way the gradient keeps its direction: weights times what differs from gray.
    expected = (image[:, :4] - 127.5) @ (WEIGHTS[:, 0] - WEIGHTS[:, 1])
    np.testing.assert_allclose(found[:, :4], expected * (difference / expected.sum()), rtol=1e-3, atol=1e-7)


def test_integrated_gradients_of_a_rough_network():
    def network(images):
        """A probability of 0.5 to 0.55, with a wave for each of the 50 steps, to which every middle gives -20 %."""
        way = tf.reduce_mean(images, axis=[1, 2, 3]) / 100 - 1
        probability = 0.5 + 0.05 * (way + 0.2 * tf.sin(100 * np.pi * way) / (100 * np.pi))
        return {'logits': tf.math.log(tf.stack([probability, 1 - probability], axis=1))}

    graph = attribution.build(network, 8, 8, lambda end_points: 'logits')
    with tf.Session() as sess:
        explainer = attribution.Explainer(sess, graph)
        found, difference = explainer.integrated_gradients(np.full([8, 8, 3], 200, np.float32), 0, baseline=100)
        middles = explainer.along(graph.gradient, np.full([8, 8, 3], 100, np.float32), 100,
                                  (np.arange(50) + 0.5) / 50, 0).mean(axis=0) * 100
    assert difference == pytest.approx(0.05, rel=1e-3)
    assert middles.sum() == pytest.approx(0.04, rel=1e-2)
    assert found.sum() == pytest.approx(difference, rel=1e-2)


def test_a_step_makes_up_for_the_last():
    slopes = np.array([[0.5, 2], [0.5, 2], [0.5, 2]])
    # 0.5 of 1 lacks 0.5; of the 1.5 that are then due 2 is nearest (0.5 too much); then 0.5 is due.
    assert attribution.choose_tags(slopes, np.ones(3)).tolist() == [0, 1, 0]
    assert attribution.choose_tags(slopes, np.ones(3), off=0.5).tolist() == [1, 0, 0]


def test_smooth_grad_of_a_linear_logit_is_its_weights(explainer):
    found = explainer.smooth_grad(photograph(), 0)
    np.testing.assert_allclose(found[:, :4], np.abs(WEIGHTS[:, 0]).sum() / 32, rtol=1e-5)
    np.testing.assert_array_equal(found[:, 4:], 0)


def test_occlusion_finds_what_the_answer_loses(explainer):
    image = np.full([8, 8, 3], 127.5, np.float32)
    image[2:4, 0:2, 0] = 255  # red speaks for class 0
    for_it, against = explainer.occlusion(image, 0), explainer.occlusion(image, 1)
    assert np.unravel_index(for_it.argmax(), for_it.shape) in [(row, column) for row in (2, 3) for column in (0, 1)]
    np.testing.assert_allclose(against, -for_it, atol=1e-6)
    assert np.abs(for_it[:, 5:]).max() < 1e-6  # processors round differently by the place in a batch


def test_grad_cam_is_as_large_as_the_image(explainer):
    found = explainer.grad_cam(photograph(), 0)
    assert found.shape == (8, 8) and found.min() >= 0 and found.max() > 0


def test_all_methods(explainer):
    maps, gap = explainer.explain(photograph(), 1)
    assert tuple(maps) == attribution.METHODS and gap < 1e-3
    again, _ = explainer.explain(photograph(), 1)
    assert all((maps[method] == again[method]).all() for method in maps)


def test_a_map_is_red_for_and_blue_against():
    image, found = np.full([2, 2, 3], 100, np.float32), np.float32([[1, -1], [0, 0.5]])
    drawn = attribution.draw(image, found)
    np.testing.assert_allclose(drawn[0, 0], [200, 0, 0], atol=8)
    np.testing.assert_allclose(drawn[0, 1], [0, 60, 220], atol=8)
    np.testing.assert_allclose(drawn[1, 0], 255 - 0.35 * 155)
    assert drawn[1, 1, 0] > drawn[1, 1, 2]
