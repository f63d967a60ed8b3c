"""Learning rates by step, with known answers."""
import numpy as np
import pytest

from common import session
from common.session import tf
from training import schedules


def rates(schedule, steps):
    step = tf.placeholder(tf.int64, [])
    rate = schedule(step)
    with session.open_session() as sess:
        return [sess.run(rate, {step: number}) for number in steps]


def test_a_cosine_warms_up_and_ends_at_zero():
    found = rates(lambda step: schedules.cosine(step, 200, 0.002, warmup_steps=50), (0, 49, 100, 200))
    np.testing.assert_allclose(found, [0.002 / 50, 0.002 * 0.5 * (1 + np.cos(np.pi * 49 / 200)), 0.001, 0], atol=1e-9)


@pytest.mark.parametrize('num_steps', [0, 8])
def test_a_cosine_without_warm_up_starts_at_the_peak(num_steps):
    np.testing.assert_allclose(rates(lambda step: schedules.cosine(step, num_steps, 0.1), [0]), 0.1, rtol=1e-6)


def test_a_triangle_rises_and_falls_linearly():
    found = rates(lambda step: schedules.triangle(step, 100, 0.5, 0.2), (0, 19, 20, 60, 100))
    np.testing.assert_allclose(found, [0.5 / 20, 0.5, 0.5, 0.25, 0], atol=1e-7)
