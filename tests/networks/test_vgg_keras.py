"""Keras's VGG-16: published weights, VGG's preprocessing, and a classifier's logits from wherever one starts."""
import json

import h5py
import numpy as np
import pytest

from common.session import keras, tf
from networks import vgg, vgg_keras

RANDOM = np.random.RandomState(7)


@pytest.fixture
def sess():
    with vgg_keras.open_session() as sess:
        yield sess


def full_width_weights():
    """Returns weights of VGG-16's own shapes, of He's size."""
    weights, depth = {}, 3
    for name in vgg.layer_names('vgg16'):
        if name.startswith('conv'):
            channels = vgg.CHANNELS[int(name[4]) - 1]
            kernel = RANDOM.standard_normal([3, 3, depth, channels]).astype(np.float32)
            weights[name] = kernel * np.float32(np.sqrt(2 / (9 * depth))), np.ones(channels, np.float32)
            depth = channels
    return weights


def run_both(sess, weights, pixels):
    """Returns what Keras's layers and our own builder make of the same image: pool4 and pool5 of each."""
    model = vgg_keras.vgg16(pixels.shape[1])
    sess.run(tf.global_variables_initializer())
    vgg_keras.set_weights(model, weights)
    ours = vgg.vgg(tf.constant(pixels), weights, 'vgg16', pooling='max')
    names = ('block4_pool', 'block5_pool')
    theirs = sess.run([model.get_layer(name).output for name in names], {model.input: pixels})
    preprocessed = sess.run(model.get_layer(vgg_keras.PREPROCESS).output, {model.input: pixels})
    return theirs, sess.run([ours['pool4'], ours['pool5']]), preprocessed


def test_the_preprocessing_is_vggs_own(narrow_vgg16, sess):
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


def test_keras_and_our_builder_agree(sess):
    pixels = RANDOM.uniform(0, 255, [1, 32, 32, 3]).astype(np.float32)
    theirs, ours, preprocessed = run_both(sess, full_width_weights(), pixels)
    np.testing.assert_allclose(preprocessed, keras.applications.vgg16.preprocess_input(pixels.copy()), atol=1e-4)
    for found, expected in zip(theirs, ours):
        assert expected.std() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.real_data
def test_real_weights_agree_too(real_vgg, sess):
    network, weights = real_vgg
    if network != 'vgg16':
        pytest.skip('VGG-16 is needed')
    theirs, ours, _ = run_both(sess, weights, RANDOM.uniform(0, 255, [1, 64, 64, 3]).astype(np.float32))
    for found, expected in zip(theirs, ours):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize('size', [224, 100, 33])
def test_the_shapes_of_features(size):
    model = vgg_keras.vgg16(size)
    for name in vgg_keras.CHANNELS:
        assert vgg_keras.feature_shape(name, size) == tuple(model.get_layer(name).output.shape.as_list()[1:])


def test_large_images_are_fewer_at_once():
    assert [vgg_keras.images_at_once(size) for size in (32, 224, 256, 257, 512, 1024)] == [16, 16, 16, 15, 4, 1]


def test_the_fingerprint_depends_on_every_number(narrow_vgg16):
    weights = narrow_vgg16.weights()
    assert vgg_keras.fingerprint(weights) == vgg_keras.fingerprint(dict(reversed(list(weights.items()))))
    changed = dict(weights, conv5_3=(weights['conv5_3'][0], weights['conv5_3'][1] + 1))
    assert vgg_keras.fingerprint(weights) != vgg_keras.fingerprint(changed)


# A classifier on top

PIXELS = np.random.RandomState(1).uniform(0, 255, [3, 32, 32, 3]).astype(np.float32)


def classifier(size=32, num_outputs=3, hidden_units=None):
    """Returns a keras.Model of VGG-16 and a small head; with one output a sigmoid."""
    base = vgg_keras.vgg16(size)
    x = keras.layers.Flatten()(base.output)
    if hidden_units:
        # Positive weights of positive activations: no unit is dead, as all five may be by chance.
        x = keras.layers.Dense(hidden_units, activation='relu',
                               kernel_initializer=keras.initializers.RandomUniform(0, 0.5, seed=0))(x)
    x = keras.layers.Dropout(0.5, name='dropout')(x)
    x = keras.layers.Dense(num_outputs, name='logits', kernel_initializer=keras.initializers.RandomNormal(
        stddev=0.01, seed=0))(x)
    return keras.Model(base.input, keras.layers.Activation('sigmoid' if num_outputs == 1 else 'softmax')(x))


@pytest.mark.parametrize('num_outputs', [1, 2, 3])
def test_the_logits_are_the_same_from_wherever_one_starts(narrow_vgg16, sess, num_outputs):
    model = classifier(num_outputs=num_outputs, hidden_units=5)
    explainer, tensors = vgg_keras.explain(model), {}
    for name in (None, 'block3_pool', 'block4_pool', 'block5_pool'):
        activations = model.get_layer(name).output if name else model.input
        tensors[name] = tf.nn.softmax(vgg_keras.logits_from(model, name, activations, dropout=lambda units: units))
    sess.run(tf.global_variables_initializer())
    vgg_keras.set_weights(model, narrow_vgg16.weights())
    expected, whole, found = sess.run([explainer.probabilities, model.output, tensors], {model.input: PIXELS})
    assert expected.shape == (3, max(num_outputs, 2)) and expected.std() > 1e-4
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(whole, expected[:, 1:] if num_outputs == 1 else expected, rtol=1e-5, atol=1e-9)
    for probabilities in found.values():
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_the_dropout_of_the_logits_is_the_one_given(narrow_vgg16, sess):
    model = classifier()
    none = vgg_keras.logits_from(model, 'block5_pool', tf.ones([1, 1, 1, 4]), dropout=lambda units: 0 * units)
    sess.run(tf.global_variables_initializer())
    model.get_layer('logits').set_weights([np.ones([4, 3]), np.array([1, 2, 3])])
    np.testing.assert_array_equal(sess.run(none), [[1, 2, 3]])


def test_the_first_class_of_a_sigmoid_is_explained_too(narrow_vgg16, sess):
    model = classifier(num_outputs=1)
    explainer = vgg_keras.explain(model)
    sess.run(tf.global_variables_initializer())
    vgg_keras.set_weights(model, narrow_vgg16.weights())
    model.get_layer('logits').set_weights([-np.ones([4, 1]), np.zeros(1)])  # everything supports the first
    classes, maps = sess.run([explainer.classes, explainer.heat_maps], {explainer.images: PIXELS})
    assert not classes.any() and maps.max() > 0


def test_layers_above(narrow_vgg16, sess):
    model = vgg_keras.vgg16(32)
    assert [layer.name for layer in vgg_keras.layers_above(model, 'block5_conv2')] == ['block5_conv3', 'block5_pool']
    assert vgg_keras.layers_above(model, None) == model.layers[1:]


def test_the_h5_names_its_classes(narrow_vgg16, sess, tmp_path):
    model = classifier()
    sess.run(tf.global_variables_initializer())
    assert vgg_keras.save_h5(model, tmp_path / 'model.h5', ['newt', 'hen', 'kite']) == tmp_path / 'model.h5'
    with h5py.File(str(tmp_path / 'model.h5'), 'r') as file:
        assert json.loads(file.attrs['class_names']) == ['newt', 'hen', 'kite'] and 'model_weights' in file


def test_the_summary_lists_the_layers(narrow_vgg16, sess, tmp_path):
    vgg_keras.save_summary(vgg_keras.vgg16(32), tmp_path / 'summary.txt')
    text = (tmp_path / 'summary.txt').read_text()
    assert 'block5_conv3' in text and max(map(len, text.splitlines())) <= 80
