"""synthesis/octaves.py: sizes, and steps that go a fraction of the way."""
import pytest

from common.errors import InputError
from common.session import tf
from synthesis import octaves
from synthesis.octaves import Octave


def sizes(height, width, num_octaves):
    planned = octaves.plan(height, width, num_octaves, octave_scale=1.4, steps=[1], step_sizes=[1.5], smallest=64)
    return [(octave.height, octave.width) for octave in planned]


def test_octaves_end_at_the_full_size():
    assert sizes(575, 1024, 4) == [(208, 372), (292, 522), (410, 731), (575, 1024)]


def test_octaves_stop_at_the_smallest_input():
    assert sizes(100, 300, 10) == [(71, 214), (100, 300)]
    assert sizes(64, 64, 4) == [(64, 64)]


def test_the_plan_takes_the_last_steps_where_small_octaves_are_missing():
    planned = octaves.plan(100, 300, 3, 1.4, steps=[9, 2, 1], step_sizes=[1.5], smallest=64)
    assert planned == [Octave(71, 214, 2, 1.5), Octave(100, 300, 1, 1.5)]
    with pytest.raises(InputError, match='900 x 63 pixels are too few for any octave: the network needs 64'):
        octaves.plan(63, 900, 3, 1.4, [1], [1.5], 64)


def test_a_fraction_of_the_steps_goes_a_fraction_of_the_way():
    octave = Octave(64, 64, steps=10, step_size=1.5)
    assert octaves.scale_steps(octave, 0.3) == octave._replace(steps=3, step_size=pytest.approx(1.5))
    assert octaves.scale_steps(octave._replace(steps=1), 0.3) == (64, 64, 1, pytest.approx(0.45))
    assert octaves.scale_steps(octave, 1) == octave


def test_octaves_too_small_for_a_pooling_are_dropped():
    image = tf.placeholder(tf.float32, [None, None, 3])
    pooled = tf.nn.avg_pool2d(image[tf.newaxis], 40, 1, 'VALID')[:, 0, 0]
    planned = [Octave(side, side, 1, 1.5) for side in (30, 45, 60)]
    with tf.Session() as sess:
        def gradient_of(zeros, shift):
            return sess.run(tf.gradients(pooled, image), {image: zeros})
        assert octaves.drop_too_small(planned, [pooled], gradient_of, 'a.png') == planned[1:]
        assert octaves.drop_too_small(planned, [image[tf.newaxis]], None, 'a.png') == planned
        with pytest.raises(InputError, match='--content a.png: 30 x 30 pixels are too few for this objective'):
            octaves.drop_too_small(planned[:1], [pooled], gradient_of, 'a.png')
