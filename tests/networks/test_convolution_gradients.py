"""networks/convolution_gradients.py: the same gradients as TensorFlow's, with and without our own way."""
import numpy as np
import pytest

from common.session import tf
from networks import convolution_gradients


def gradients_of(convolve, layer, kernel, ours):
    """Returns (gradients with respect to layer and kernel, types of the operations between)."""
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        layer, kernel = tf.constant(layer), tf.constant(kernel)
        if ours:
            with graph.gradient_override_map({'Conv2D': convolution_gradients.register()}):
                result = convolve(layer, kernel)
        else:
            result = convolve(layer, kernel)
        weights = tf.constant(np.random.RandomState(1).normal(size=sess.run(tf.shape(result))), tf.float32)
        found = sess.run(tf.gradients(result, [layer, kernel], weights))
        return found, {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize('height, width, padding', [
    (3, 3, 'SAME'), (1, 1, 'SAME'), (5, 3, 'SAME'), (1, 7, 'SAME'), (3, 3, 'VALID'), (2, 4, 'VALID')])
def test_as_tensorflow_has_them(height, width, padding):
    random = np.random.RandomState(0)
    layer = random.normal(size=[2, 6, 9, 3]).astype(np.float32)
    kernel = random.normal(size=[height, width, 3, 4]).astype(np.float32)

    def convolve(layer, kernel):
        return tf.nn.conv2d(layer, kernel, 1, padding)
    (by_layer, by_kernel), operations = gradients_of(convolve, layer, kernel, ours=True)
    expected, _ = gradients_of(convolve, layer, kernel, ours=False)
    np.testing.assert_allclose(by_layer, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_kernel, expected[1], rtol=1e-5, atol=1e-5)
    assert not operations & {'Conv2DBackpropInput', 'Conv2DBackpropFilter'}


@pytest.mark.parametrize('size, options', [
    (3, {'strides': 2, 'padding': 'SAME'}), (2, {'strides': 1, 'padding': 'SAME'})], ids=['stride', 'even'])
def test_others_keep_tensorflows(size, options):
    random = np.random.RandomState(0)
    layer = random.normal(size=[2, 7, 8, 3]).astype(np.float32)
    kernel = random.normal(size=[size, size, 3, 4]).astype(np.float32)

    def convolve(layer, kernel):
        return tf.nn.conv2d(layer, kernel, **options)
    found, operations = gradients_of(convolve, layer, kernel, ours=True)
    expected, _ = gradients_of(convolve, layer, kernel, ours=False)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert operations >= {'Conv2DBackpropInput', 'Conv2DBackpropFilter'}


@pytest.mark.parametrize('stack, expected', [('tf1', set()), ('tf2', {'Conv2DBackpropInput', 'Conv2DBackpropFilter'})],
                         ids=['1.15', '2'])
def test_each_stack_has_those_that_are_faster_there(stack, expected, monkeypatch):
    monkeypatch.setattr('common.session.stack', lambda: stack)
    layer, kernel = np.ones([1, 4, 4, 1], np.float32), np.ones([3, 3, 1, 1], np.float32)

    def convolve(layer, kernel):
        with convolution_gradients.gradients_as_convolutions():
            return tf.nn.conv2d(layer, kernel, 1, 'SAME')
    _, operations = gradients_of(convolve, layer, kernel, ours=False)
    assert operations & {'Conv2DBackpropInput', 'Conv2DBackpropFilter'} == expected


def test_only_within_the_context(monkeypatch):
    monkeypatch.setattr('common.session.stack', lambda: 'tf1')
    layer, kernel = np.ones([1, 4, 4, 1], np.float32), np.ones([3, 3, 1, 1], np.float32)

    def convolve(layer, kernel):
        with convolution_gradients.gradients_as_convolutions():
            tf.nn.conv2d(layer, kernel, 1, 'SAME')
        return tf.nn.conv2d(layer, kernel, 1, 'SAME')
    _, operations = gradients_of(convolve, layer, kernel, ours=False)
    assert operations >= {'Conv2DBackpropInput', 'Conv2DBackpropFilter'}
