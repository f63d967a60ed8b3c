"""Keras's VGG-16 with published weights and VGG's preprocessing."""
import numpy as np
import pytest

from common import session
from common.session import keras, tf
from networks import vgg, vgg_keras

RANDOM = np.random.RandomState(7)


def full_width_weights():
    """Weights of VGG-16's own shapes, of He's size."""
    weights, depth = {}, 3
    for name in vgg.layer_names('vgg16'):
        if name.startswith('conv'):
            channels = vgg.CHANNELS[int(name[4]) - 1]
            kernel = RANDOM.standard_normal([3, 3, depth, channels]).astype(np.float32)
            weights[name] = kernel * np.float32(np.sqrt(2 / (9 * depth))), np.ones(channels, np.float32)
            depth = channels
    return weights


def run_both(weights, pixels):
    """Returns what Keras's layers and our own builder make of the same picture: pool4 and pool5 of each."""
    with session.open_session() as sess:
        keras.backend.set_session(sess)
        model = vgg_keras.vgg16(pixels.shape[1])
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, weights)
        ours = vgg.vgg(tf.constant(pixels), weights, 'vgg16', pooling='max')
        names = ('block4_pool', 'block5_pool')
        theirs = sess.run([model.get_layer(name).output for name in names], {model.input: pixels})
        preprocessed = sess.run(model.get_layer(vgg_keras.PREPROCESS).output, {model.input: pixels})
        return theirs, sess.run([ours['pool4'], ours['pool5']]), preprocessed


def test_the_preprocessing_is_vggs_own():
    with session.open_session() as sess:
        keras.backend.set_session(sess)
        model = vgg_keras.vgg16(32)
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, {})
        pixels = np.zeros([1, 32, 32, 3], np.float32)
        pixels[0, 0, 0] = 255, 128, 7  # RGB
        found = sess.run(model.get_layer(vgg_keras.PREPROCESS).output, {model.input: pixels})
        np.testing.assert_allclose(found[0, 0, 0], [7 - 103.939, 128 - 116.779, 255 - 123.68], rtol=1e-6)
        np.testing.assert_allclose(found[0, 5, 5], [-103.939, -116.779, -123.68], rtol=1e-6)
        vgg_keras.set_weights(model, {}, as_in_book=True)
        found = sess.run(model.get_layer(vgg_keras.PREPROCESS).output, {model.input: pixels})
        np.testing.assert_allclose(found[0, 0, 0], np.array([255, 128, 7]) / 255, rtol=1e-6)


def test_keras_and_our_builder_agree():
    pixels = RANDOM.uniform(0, 255, [1, 32, 32, 3]).astype(np.float32)
    theirs, ours, preprocessed = run_both(full_width_weights(), pixels)
    np.testing.assert_allclose(preprocessed, keras.applications.vgg16.preprocess_input(pixels.copy()), atol=1e-4)
    for found, expected in zip(theirs, ours):
        assert expected.std() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.real_data
def test_real_weights_agree_too(real_vgg):
    network, weights = real_vgg
    if network != 'vgg16':
        pytest.skip('VGG-16 is needed')
    theirs, ours, _ = run_both(weights, RANDOM.uniform(0, 255, [1, 64, 64, 3]).astype(np.float32))
    for found, expected in zip(theirs, ours):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize('size', [224, 100, 33])
def test_the_shapes_of_features(size):
    model = vgg_keras.vgg16(size)
    for name in vgg_keras.CHANNELS:
        assert vgg_keras.feature_shape(name, size) == tuple(model.get_layer(name).output.shape.as_list()[1:])


def test_large_images_are_fewer_at_once():
    assert [vgg_keras.images_at_once(size) for size in (32, 224, 256, 257, 512, 1024)] == [16, 16, 16, 15, 4, 1]


def test_the_digest_hangs_on_every_number(narrow_vgg16):
    weights = narrow_vgg16.weights()
    assert vgg_keras.digest(weights) == vgg_keras.digest(dict(reversed(list(weights.items()))))
    changed = dict(weights, conv5_3=(weights['conv5_3'][0], weights['conv5_3'][1] + 1))
    assert vgg_keras.digest(weights) != vgg_keras.digest(changed)
