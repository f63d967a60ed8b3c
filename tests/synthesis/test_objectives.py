"""synthesis/objectives.py: how objectives are written, and what they are worth."""
import numpy as np
import pytest

from common.errors import InputError
from common.session import tf
from synthesis import objectives
from synthesis.objectives import Objective

LABELS = ['background', 'tench, Tinca tinca', 'tabby, tabby cat', 'hen', 'kite', 'newt']


def end_points():
    return {'mixed4c': tf.placeholder(tf.float32, [1, None, None, 6]), 'mixed4d': tf.zeros([1, 2, 2, 8]),
            'softmax2_pre_activation': tf.placeholder(tf.float32, [None, 5])}


@pytest.mark.parametrize('text, layer, channel, position, weight', [
    ('mixed4c', 'mixed4c', None, None, 1),
    ('mixed4c*0.5', 'mixed4c', None, None, 0.5),
    ('mixed4c:12', 'mixed4c', 12, None, 1),
    ('mixed4c:12@0.25,1*-2e-1', 'mixed4c', 12, (0.25, 1), -0.2),
    ('mixed4c:mean', 'mixed4c', 'mean', None, 1),
    ('InceptionV3/Mixed_5b/concat : 3 * 2', 'InceptionV3/Mixed_5b/concat', 3, None, 2),
    ('softmax2_pre_activation:Egyptian cat*3', 'softmax2_pre_activation', 'Egyptian cat', None, 3),
])
def test_parse(text, layer, channel, position, weight):
    assert objectives.parse(text) == Objective(text, layer, channel, position, weight)


@pytest.mark.parametrize('text, wrong', [
    ('', 'the layer'),
    (':3', "the layer before ':' is missing"),
    ('*2', "the layer before '*' is missing"),
    ('mixed4c:', "the channel after ':' is missing"),
    ('mixed4c@0.5,0.5', "a position needs a channel's number"),
    ('mixed4c:cat@0.5,0.5', "a position needs a channel's number"),
    ('mixed4c:1@0.5', "the position '0.5' is not two numbers"),
    ('mixed4c:1@', "the position '' is not two numbers"),
    ('mixed4c:1@0.5,1.5', "the position '0.5,1.5' is outside the image"),
    ('mixed4c:1@nan,0', "the position 'nan,0' is outside the image"),
    ('mixed4c*', "the weight '' is not a number"),
    ('mixed4c*much', "the weight 'much' is not a number"),
    ('mixed4c*0', "the weight '0' is 0 or not finite"),
    ('mixed4c*inf', "the weight 'inf' is 0 or not finite"),
])
def test_malformed(text, wrong):
    with pytest.raises(InputError) as caught:
        objectives.parse(text)
    assert wrong in str(caught.value) and text in str(caught.value) and 'expected LAYER' in str(caught.value)


@pytest.mark.parametrize('text, said', [
    ('mixed9z', "no layer 'mixed9z'; did you mean 'mixed4"),
    ('zzz', "no layer 'zzz'; --list-layers shows all"),
    ('mixed4c:6', 'no channel 6; mixed4c has the channels 0 to 5'),
    ('mixed4c:-1', 'no channel -1'),
    ('mixed4d:hen', 'mixed4d is no layer of classes: it has 8 channels at every position, for 6 labels'),
    ('softmax2_pre_activation:taby', "no class 'taby'; did you mean 'tabby'"),
    ('softmax2_pre_activation:1@0,0', 'has no positions; leave @0,0 out'),
])
def test_unknown(text, said):
    with pytest.raises(InputError) as caught:
        objectives.resolve(objectives.parse(text), end_points(), LABELS)
    assert said in str(caught.value)


@pytest.mark.parametrize('name', ['tabby', 'Tabby Cat', 'tabby, tabby cat', '1'])
def test_a_class_by_any_of_its_names(name):
    term = objectives.parse('softmax2_pre_activation:' + name)
    assert objectives.resolve(term, end_points(), LABELS).channel == 1


def test_a_class_without_labels():
    with pytest.raises(InputError, match='--labels FILE'):
        objectives.resolve(objectives.parse('softmax2_pre_activation:hen'), end_points())


def test_labels_with_more_logits_than_names():
    term = objectives.parse('softmax2:newt')  # as inception5h has it: the class for nothing counts
    labels = [*LABELS, *map(str, range(995))]
    assert objectives.resolve(term, {'softmax2': tf.zeros([1, 1008])}, labels).channel == 5
    with pytest.raises(InputError, match='for 6 labels'):
        objectives.resolve(term, {'softmax2': tf.zeros([1, 8])}, LABELS)


def worth(text, activations, tile_shape, positions=((0, 0),), guides=None):
    terms = [objectives.parse(text)]
    value = objectives.total(terms, {terms[0].layer: tf.constant(activations, tf.float32)}, tf.constant(tile_shape),
                             tf.constant(positions), guides)
    with tf.Session() as sess:
        return sess.run(value)


def test_known_answers():
    activations = np.arange(2 * 3 * 4.).reshape(1, 2, 3, 4)
    pixels = 8 * 8  # per position of a layer with stride 8
    assert worth('a', activations, [16, 24]) == pytest.approx(pixels * np.square(activations).sum() / 4)
    assert worth('a:mean', activations, [16, 24]) == pytest.approx(pixels * activations.sum() / 4)
    assert worth('a:1*-0.5', activations, [16, 24]) == pytest.approx(-0.5 * pixels * activations[..., 1].sum())
    assert worth('a:1@0,0', activations, [16, 24], [(15, 8)]) == pytest.approx(pixels * activations[0, 1, 1, 1])


@pytest.mark.parametrize('position', [(-1, 0), (0, -1), (16, 0), (0, 24), (-100, -100)])
def test_a_neuron_outside_the_tile_counts_nothing(position):
    assert worth('a:1@0,0', np.ones([1, 2, 3, 4]), [16, 24], [position]) == 0


def test_a_side_that_is_no_multiple_of_the_stride():
    # 287 pixels are 18 positions of stride 16, of which each weighs as much as in a tile of 288
    assert worth('a:0', np.ones([1, 18, 32, 1]), [287, 512]) == worth('a:0', np.ones([1, 18, 32, 1]), [288, 512])


def test_a_class_weighs_as_much_as_its_tile_has_pixels():
    assert worth('a:1', [[1., 5.]], [10, 20]) == pytest.approx(5 * 200)
    assert worth('a:1', [[1., 5.], [1., 7.]], [10, 20]) == pytest.approx(6 * 200)  # one row for each window


def test_the_guide_draws_each_position_to_its_best_match():
    activations = tf.constant([[[[1., 0.], [0., 2.]]]])
    guide = tf.constant([[3., 0.], [0., 5.], [1., 1.]])
    value = objectives.guided(activations, guide)
    gradient, = tf.gradients(value, activations)
    with tf.Session() as sess:
        value, gradient = sess.run([value, gradient])
    np.testing.assert_allclose(value, [[[1.5, 5.]]])
    np.testing.assert_allclose(gradient, [[[[1.5, 0.], [0., 2.5]]]])


def test_a_channel_of_a_module_needs_its_branch_alone():
    branches = [tf.placeholder(tf.float32, [1, None, None, maps]) for maps in (3, 5, 2)]
    for axis in (3, -1):
        module = tf.concat(branches, axis)
        for channel, number, first in ((0, 0, 0), (2, 0, 0), (3, 1, 3), (7, 1, 3), (8, 2, 8), (9, 2, 8)):
            assert objectives.branch(module, channel) == (branches[number], first)
    rows = tf.concat([tf.zeros([1, 2, 4, 6]), tf.zeros([1, 3, 4, 6])], axis=1)
    assert objectives.branch(rows, 5) == (rows, 0)
    value = objectives.total([objectives.parse('a:4')], {'a': module}, tf.constant([8, 8]))
    with tf.Session() as sess:  # the other branches are not fed
        assert sess.run(value, {branches[1]: np.arange(4 * 5).reshape(1, 2, 2, 5)}) == (1 + 6 + 11 + 16) * 4 ** 2
