"""Learning rates by step, decaying weights and dropout, with known answers."""
import numpy as np
import pytest

from common import session
from common.session import tf
from training import optimization


def rates(schedule, steps):
    step = tf.placeholder(tf.int64, [])
    rate = schedule(step)
    with session.open_session() as sess:
        return [sess.run(rate, {step: number}) for number in steps]


def test_a_cosine_warms_up_and_ends_at_zero():
    found = rates(lambda step: optimization.cosine(step, 200, 0.002, warmup_steps=50), (0, 49, 100, 200))
    np.testing.assert_allclose(found, [0.002 / 50, 0.002 * 0.5 * (1 + np.cos(np.pi * 49 / 200)), 0.001, 0], atol=1e-9)


@pytest.mark.parametrize('num_steps', [0, 8])
def test_a_cosine_without_warm_up_starts_at_the_peak(num_steps):
    np.testing.assert_allclose(rates(lambda step: optimization.cosine(step, num_steps, 0.1), [0]), 0.1, rtol=1e-6)


def after_a_step(variables, loss, optimizer, decay):
    step, _ = optimization.minimize_with_decay(loss, optimizer, tf.train.get_or_create_global_step(), decay)
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        return sess.run(variables)


@pytest.mark.parametrize('name', ['AdamOptimizer', 'GradientDescentOptimizer'])
def test_weights_decay_by_their_fraction_and_biases_do_not(name):
    kernel, bias = tf.Variable([[2.0, -4.0]]), tf.Variable([3.0])
    loss = 0.0 * (tf.reduce_sum(kernel) + tf.reduce_sum(bias))
    found = after_a_step([kernel, bias, tf.train.get_or_create_global_step()], loss, getattr(tf.train, name)(0.1), 0.05)
    np.testing.assert_allclose(found[0], [[1.9, -3.8]], rtol=1e-6)
    assert (found[1], found[2]) == ([3.0], 1)


def test_the_gradient_is_of_the_weights_before_they_decay():
    weight = tf.Variable([[2.0]])
    found = after_a_step(weight, tf.reduce_sum(weight ** 2), tf.train.GradientDescentOptimizer(0.1), 0.05)
    np.testing.assert_allclose(found, 2 * 0.95 - 0.1 * 4)


def test_balanced_class_weights_count_each_class_the_same():
    np.testing.assert_allclose(optimization.class_weights([0, 1, 1, 1, 2, 2]) * [1, 3, 2], 2)
    assert list(optimization.class_weights([0, 1, 1], balanced=False)) == [1, 1]


def test_dropout_keeps_its_fraction_and_the_same_seed_keeps_the_same_units():
    layer = tf.ones([50, 512])
    dropped = [optimization.dropout(layer, keep_prob, seed) for keep_prob, seed in
               ((0.5, [0, 1]), (0.5, [0, 1]), (0.5, [0, 2]), (1.0, [0, 1]))]
    with session.open_session() as sess:
        same, again, other, whole = sess.run(dropped)
    np.testing.assert_array_equal(same, again)
    assert (same != other).mean() > 0.4 and set(np.unique(same)) == {0, 2}
    assert abs(same.mean() - 1) < 0.03 and (whole == 1).all()
