import numpy as np
import pytest
from scipy.linalg import sqrtm

from common.session import tf
from synthesis import transport


def features_of(positions, channels, seed):
    """Random activations, some channels much stronger than others, as float64 [positions, channels]."""
    random = np.random.RandomState(seed)
    mixed = random.randn(positions, channels) @ (random.randn(channels, channels) * np.logspace(0, -2, channels))
    return mixed * 30 + random.randn(channels) * 20


def moments_of(features):
    bordered = np.pad(features, [(0, 0), (0, 1)], mode='constant', constant_values=1)
    return bordered.T @ bordered / len(bordered)


def evaluate(moments, style_moments):
    """Returns the loss and its gradient with respect to the moments."""
    fed = tf.placeholder(tf.float32, moments.shape)
    loss = transport.transport_loss(fed, tf.constant(transport.root_of_covariance(style_moments), tf.float32))
    with tf.Session() as sess:
        return sess.run([loss, tf.gradients(loss, fed)[0]], {fed: moments})


def test_a_constant_beside_the_features_gives_their_mean():
    features = features_of(12, 3, 0).astype(np.float32)
    bordered = transport.with_constant(tf.constant(features.reshape(1, 3, 4, 3)))
    with tf.Session() as sess:
        found = sess.run(bordered).reshape(12, 4)
    np.testing.assert_array_equal(found[:, :3], features)
    np.testing.assert_allclose((found.T @ found)[-1] / 12, [*features.mean(axis=0), 1], rtol=1e-5)


def test_the_loss_is_the_distance_of_two_gaussians():
    result, style = features_of(300, 24, 0), features_of(200, 24, 1)
    mean, style_mean = result.mean(axis=0), style.mean(axis=0)
    covariance, style_covariance = (np.cov(features.T, bias=True) for features in (result, style))
    floor = transport.FLOOR * np.linalg.eigvalsh(style_covariance).max() * np.eye(24)
    cross = sqrtm((style_covariance + floor) @ (covariance + floor)).real  # its trace is that of the symmetric form
    expected = (np.sum((mean - style_mean) ** 2) + np.trace(covariance + style_covariance + 2 * floor - 2 * cross)) / 24
    assert evaluate(moments_of(result), moments_of(style))[0] == pytest.approx(transport.SCALE * expected, rel=1e-4)


def test_the_slope_of_the_loss_agrees_with_finite_differences():
    result, style = features_of(300, 24, 0), features_of(200, 24, 1)
    moved = features_of(300, 24, 2)
    step = 0.01
    up, down = (evaluate(moments_of(result + sign * step * moved), moments_of(style))[0] for sign in (1, -1))
    gradient = evaluate(moments_of(result), moments_of(style))[1]
    np.testing.assert_allclose(gradient, gradient.T, atol=1e-4 * np.abs(gradient).max())
    bordered = [np.pad(values, [(0, 0), (0, 1)], mode='constant', constant_values=one)
                for values, one in ((result, 1), (moved, 0))]
    change = (bordered[0].T @ bordered[1] + bordered[1].T @ bordered[0]) / 300
    assert np.sum(gradient * change) == pytest.approx((up - down) / (2 * step), rel=1e-2)


@pytest.mark.parametrize('positions', [10, 100])  # fewer than channels, so that most variances are 0; or more
def test_there_is_nothing_to_move_where_both_are_the_same(positions):
    style, other = moments_of(features_of(positions, 48, 0)), moments_of(features_of(positions, 48, 1))
    loss, gradient = evaluate(style, style)
    other_loss, other_gradient = evaluate(other, style)
    assert np.isfinite(other_gradient).all() and abs(loss) < 1e-3 * other_loss
    assert np.abs(gradient).max() < 1e-2 * np.abs(other_gradient).max()


def test_features_that_are_all_zero_can_be_compared():
    nothing, style = np.zeros((9, 9)), moments_of(features_of(50, 8, 0))
    for moments, of_style in (nothing, style), (style, nothing), (nothing, nothing):
        loss, gradient = evaluate(moments, of_style)
        assert np.isfinite(loss) and np.isfinite(gradient).all()
