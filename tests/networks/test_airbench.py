"""The network of --network airbench: its filters at the start, its output in NumPy, its learning rates."""
import numpy as np
import pytest
import scipy.signal

from common import session
from common.session import tf
from networks import airbench


@pytest.mark.parametrize('maps, new_maps', [(3, 5), (5, 3), (4, 4)])
def test_the_first_filters_pass_their_input_on_and_the_others_are_random(maps, new_maps):
    layer = np.random.RandomState(0).normal(size=(2, 7, 7, maps)).astype(np.float32)
    filters = airbench.identity_filters(maps, new_maps)
    with session.open_session() as sess:
        found, kernel = sess.run([tf.nn.conv2d(layer, filters, 1, 'SAME'), filters])
    same = min(maps, new_maps)
    np.testing.assert_allclose(found[..., :same], layer[..., :same], atol=1e-6)
    others = kernel[..., same:]
    assert others.size == 0 or 0.5 / np.sqrt(9 * maps) < np.abs(others).max() <= 1 / np.sqrt(9 * maps)


def silu(values):
    return values / (1 + np.exp(-values))


def convolve(image, kernel, mode):
    return np.stack([sum(scipy.signal.correlate2d(image[..., old], kernel[:, :, old, new], mode)
                         for old in range(image.shape[2])) for new in range(kernel.shape[3])], axis=2)


def test_the_logits_written_out(monkeypatch):
    monkeypatch.setattr(airbench, 'MAPS', (3, 4, 5))
    random = np.random.RandomState(1)
    pixels = random.normal(size=(2, 32, 32, 3)).astype(np.float32)
    patches = random.normal(size=(2, 2, 3, 24)).astype(np.float32)
    logits, first = airbench.network(tf.constant(pixels), tf.constant(False), patches)
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        values = {}
        for variable in tf.global_variables():  # any but those of the start, so that each one counts
            value = random.uniform(0.1, 1.0, variable.shape.as_list()).astype(np.float32)
            if variable.op.name != 'patches':
                variable.load(value, sess)
            values[variable.op.name] = patches if variable.op.name == 'patches' else value
        found, filters = sess.run([logits, first])
    np.testing.assert_array_equal(filters, patches)
    for image, row in zip(pixels, found):
        layer = silu(convolve(image, patches, 'valid') + values['whitening_bias'])
        for number in range(6):
            layer = convolve(layer, values[f'filters{number // 2 + 1}{"ab"[number % 2]}'], 'same')
            if number % 2 == 0:
                side = len(layer) // 2
                layer = layer[:2 * side, :2 * side].reshape(side, 2, side, 2, -1).max((1, 3))
            norm = 'batch_normalization' + (f'_{number}' if number else '')
            layer = (layer - values[norm + '/moving_mean']) / np.sqrt(values[norm + '/moving_variance'] + 1e-5)
            layer = silu(layer + values[norm + '/beta'])
        assert layer.shape == (3, 3, 5)
        np.testing.assert_allclose(row, layer.max((0, 1)) @ values['head'] / 256, rtol=1e-3)


def test_the_head_starts_at_its_scale_and_the_number_of_weights():
    airbench.network(tf.zeros([1, 32, 32, 3]), tf.constant(False), np.zeros([2, 2, 3, 24], np.float32))
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        head = sess.run(next(variable for variable in tf.trainable_variables() if variable.op.name == 'head'))
    assert head.shape == (256, 10) and abs(head.std() - 1) < 1e-5 and np.abs(head).max() < 2
    assert sum(np.prod(variable.shape.as_list()) for variable in tf.trainable_variables()) == 1971352


def test_each_variable_has_its_rate():
    progress = tf.placeholder(tf.float32, [])
    airbench.network(tf.zeros([1, 32, 32, 3]), tf.constant(False), np.zeros([2, 2, 3, 24], np.float32))
    rate, filters, others = airbench.rates(0.12, progress)
    assert len(filters) == 6 and len(others) == 8
    found = {variable.op.name: (own, decay) for variable, own, decay in others}
    with session.open_session() as sess:
        for done, expected, whitening in ((0, 0.12, 0.12), (3 / 14, 0.12 * 11 / 14, 0.06), (0.5, 0.06, 0), (1, 0, 0)):
            assert sess.run(rate, {progress: done}) == pytest.approx(expected, abs=1e-7)
            for name, factor, own in (('head', 2800, expected), ('batch_normalization/beta', 220, expected),
                                      ('whitening_bias', 220, whitening)):
                assert sess.run(found[name], {progress: done}) == pytest.approx([factor * own, own], abs=1e-4)
