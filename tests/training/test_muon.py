"""Muon against NumPy: the orthogonal factor by singular values, and a step written out."""
import numpy as np
import pytest

from common import session
from common.session import tf
from training import muon


def run(tensors, steps=()):
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        for step in steps:
            sess.run(step)
        return sess.run(tensors)


@pytest.mark.parametrize('shape', [(40, 12), (12, 40), (16, 16)], ids=str)
@pytest.mark.parametrize('num_steps, lowest', [(3, 0.02), (5, 0.005)])
def test_the_singular_values_come_near_one_and_the_vectors_stay(shape, num_steps, lowest):
    random = np.random.RandomState(0)
    left, right = (np.linalg.qr(random.normal(size=(side, min(shape))))[0] for side in shape)
    values = np.geomspace(1, 1.1 * lowest, min(shape)) ** 1.0
    matrix = left * values @ right.T
    assert values.min() / np.linalg.norm(matrix) < lowest < 0.2  # some below the bound
    found = run(muon.orthogonalize(tf.constant(matrix, tf.float32), num_steps))
    inside = left.T @ found @ right  # diagonal: the same vectors
    np.testing.assert_allclose(found, left @ np.diag(np.diag(inside)) @ right.T, atol=2e-4)
    bounded = values / np.linalg.norm(matrix) >= lowest
    assert bounded.sum() > 5 and np.diag(inside)[bounded].min() > 0.68 and np.diag(inside).max() < 1.21


@pytest.mark.parametrize('shape', [(200, 20), (20, 200)], ids=str)
def test_a_random_matrix_becomes_its_polar_factor_but_for_a_third(shape):
    matrix = np.random.RandomState(1).normal(size=shape)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    found = run(muon.orthogonalize(tf.constant(matrix, tf.float32)))
    assert np.linalg.norm(found - left @ right, 2) < 0.32
    assert np.linalg.norm(matrix / np.linalg.norm(matrix, 2) - left @ right, 2) > 0.32  # it was not before


def by_hand(matrix):
    matrix = matrix / np.linalg.norm(matrix)
    for _ in range(3):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix - 4.775 * square @ matrix + 2.0315 * square @ square @ matrix
    return matrix


def test_two_steps_written_out():
    random = np.random.RandomState(2)
    kernel, head, kernel_slope, head_slope = (random.normal(size=shape) for shape in ((3, 3, 4, 6), (6, 2)) * 2)
    filters, others = tf.Variable(kernel, dtype=tf.float32), tf.Variable(head, dtype=tf.float32)
    loss = (tf.reduce_sum(filters ** 2 * kernel_slope.astype(np.float32)) / 2
            + tf.reduce_sum(others ** 2 * head_slope.astype(np.float32)) / 2)
    step, _ = muon.minimize(loss, tf.train.get_or_create_global_step(), tf.constant(0.12), [filters],
                         [(others, tf.constant(0.3), tf.constant(0.2))], weight_decay=0.1)
    found = run([filters, others, tf.train.get_global_step()], [step, step])
    kernel_moving = head_moving = 0
    for _ in range(2):
        kernel_gradient, head_gradient = kernel * kernel_slope, head * head_slope
        kernel_moving, head_moving = 0.6 * kernel_moving + kernel_gradient, 0.85 * head_moving + head_gradient
        update = (kernel_gradient + 0.6 * kernel_moving).transpose(3, 2, 0, 1).reshape(6, -1)  # maps first
        change = by_hand(update).reshape(6, 4, 3, 3).transpose(2, 3, 1, 0)
        kernel = kernel * np.sqrt(6) / np.linalg.norm(kernel) - 0.12 * change
        head = head * (1 - 0.1 * 0.2) - 0.3 * (head_gradient + 0.85 * head_moving)
    np.testing.assert_allclose(found[0], kernel, atol=1e-5)
    np.testing.assert_allclose(found[1], head, atol=1e-5)
    assert found[2] == 2


def test_the_momentum_is_saved_but_not_trained():
    variable = tf.get_variable('weights', [2, 3])
    muon.minimize(tf.reduce_sum(variable), tf.train.get_or_create_global_step(), tf.constant(1.0), [],
                  [(variable, tf.constant(1.0), tf.constant(1.0))])
    assert [one.op.name for one in tf.trainable_variables()] == ['weights']
    assert 'weights/momentum' in [one.op.name for one in tf.global_variables()]
