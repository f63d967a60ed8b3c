"""VGG-16 with a new head: what is trained, and the same logits from wherever one starts."""
import numpy as np
import pytest

from common import session
from common.session import keras, tf
from networks import vgg_classifier, vgg_keras

PIXELS = np.random.RandomState(1).uniform(0, 255, [3, 32, 32, 3]).astype(np.float32)


@pytest.fixture
def sess():
    with tf.Graph().as_default() as graph, session.open_session(graph) as sess:
        keras.backend.set_session(sess)
        yield sess


def test_what_is_frozen_at_full_width():
    # Keras's VGG-16 has 19 layers with its input; the chapter freezes the lowest 15.
    model = vgg_classifier.build(224, 2, 'block4_pool')
    keras_layers = [layer for layer in model.layers if layer.name != vgg_keras.PREPROCESS][:19]
    assert [layer.trainable for layer in keras_layers] == [False] * 15 + [True] * 4
    assert [layer.name for layer in keras_layers][14:16] == ['block4_pool', 'block5_conv1']
    trained = sum(np.prod(variable.shape.as_list()) for variable in model.trainable_weights)
    assert trained == 3 * (9 * 512 * 512 + 512) + 512 * 256 + 256 + 256 * 2 + 2


@pytest.mark.parametrize('frozen_up_to, first', [('block5_pool', 'hidden'), ('block3_pool', 'block4_conv1'),
                                                 (None, 'block1_conv1')])
def test_what_is_trained(narrow_vgg16, frozen_up_to, first):
    model = vgg_classifier.build(32, 3, frozen_up_to)
    assert model.trainable_weights[0].name.startswith(first + '/')
    assert not model.get_layer(vgg_keras.PREPROCESS).trainable


@pytest.mark.parametrize('options, num_classes', [({}, 3), ({'pooling': 'flatten', 'sigmoid': True}, 2),
                                                  ({'pooling': 'max', 'hidden_units': 0}, 2)])
def test_the_logits_are_the_same_from_wherever_one_starts(narrow_vgg16, sess, options, num_classes):
    model = vgg_classifier.build(32, num_classes, 'block4_pool', **options)
    explained = vgg_classifier.explain(model)
    tensors = {}
    for name in (None, 'block3_pool', 'block4_pool', 'block5_pool'):
        activations = model.get_layer(name).output if name else model.input
        logits = vgg_classifier.logits_from(model, name, activations, tf.constant(1.0), [0, 0])
        tensors[name] = tf.nn.softmax(logits)
    sess.run(tf.global_variables_initializer())
    vgg_keras.set_weights(model, narrow_vgg16.weights())
    model.get_layer('logits').set_weights([np.random.RandomState(0).normal(0, 0.01, weight.shape)
                                           for weight in model.get_layer('logits').get_weights()])
    expected, whole, found = sess.run([explained.probabilities, model.output, tensors], {model.input: PIXELS})
    assert expected.shape == (3, num_classes) and expected.std() > 1e-4
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(whole, expected[:, 1:] if whole.shape[1] == 1 else expected, rtol=1e-5, atol=1e-9)
    for probabilities in found.values():
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_dropout_keeps_its_share_and_the_same_seed_keeps_the_same_units(narrow_vgg16, sess):
    model = vgg_classifier.build(32, 2, 'block4_pool')
    features = tf.constant(np.random.RandomState(0).uniform(0, 9, [400, 1, 1, 4]), tf.float32)
    keep_prob = tf.placeholder_with_default(0.6, [])
    same, again, other = [vgg_classifier.logits_from(model, 'block5_pool', features, keep_prob, seed)
                          for seed in ([0, 1], [0, 1], [0, 2])]
    sess.run(tf.global_variables_initializer())
    model.get_layer('logits').set_weights([np.full([256, 2], 0.1), np.zeros(2)])
    drawn, drawn_again, otherwise = sess.run([same, again, other])
    np.testing.assert_array_equal(drawn, drawn_again)
    assert np.abs(drawn - otherwise).max() > 0.1
    whole = sess.run(same, {keep_prob: 1.0})
    np.testing.assert_allclose(drawn.mean(axis=0), whole.mean(axis=0), rtol=0.02)  # its expectation


def test_the_maps_are_about_the_class_that_is_asked_for(narrow_vgg16, sess):
    explained = vgg_classifier.explain(vgg_classifier.build(64, 2, None, hidden_units=0))
    sess.run(tf.global_variables_initializer())
    pixels = np.random.RandomState(1).uniform(0, 255, [2, 64, 64, 3])
    maps = [sess.run(explained.maps, {explained.images: pixels, explained.classes: [number] * 2}) for number in (0, 1)]
    assert maps[0].shape == (2, 4, 4) and min(maps[0].min(), maps[1].min()) >= 0
    chosen, predicted = sess.run([explained.maps, explained.classes], {explained.images: pixels})
    np.testing.assert_allclose(chosen[0], maps[predicted[0]][0], rtol=1e-4)
    assert np.abs(maps[0] - maps[1]).max() > 0


def test_the_first_class_of_a_sigmoid_is_explained_too(narrow_vgg16, sess):
    model = vgg_classifier.build(32, 2, None, hidden_units=0, sigmoid=True)
    explained = vgg_classifier.explain(model)
    sess.run(tf.global_variables_initializer())
    vgg_keras.set_weights(model, narrow_vgg16.weights())
    model.get_layer('logits').set_weights([-np.ones([4, 1]), np.zeros(1)])  # everything speaks for the first
    classes, maps = sess.run([explained.classes, explained.maps], {explained.images: PIXELS})
    assert not classes.any() and maps.max() > 0
