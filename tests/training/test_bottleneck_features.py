"""Features computed once per image and view."""
import hashlib
from pathlib import Path

import numpy as np
import pytest

from common import session
from common.errors import UnavailableError
from common.session import keras, tf
from networks import vgg_keras
from training import bottleneck_features
from training.bottleneck_features import BottleneckFeatures, Images

LAYERS = ['block5_pool', 'block4_pool']
VIEWS = ['original', 'flip']
PATHS = [Path('%d.png' % number) for number in range(20)]
SUMS = [hashlib.sha256(str(path).encode()).hexdigest() for path in PATHS]
PARTS = [Images(PATHS[:12], SUMS[:12], VIEWS), Images(PATHS[12:], SUMS[12:], VIEWS[:1])]


def load(paths, sums, view):
    """Stands in for reading pictures: noise that hangs on the name."""
    images = np.stack([np.random.RandomState(int(path.stem)).randint(0, 256, [64, 64, 3]) for path in paths])
    return (images[:, :, ::-1] if view == 'flip' else images).astype(np.uint8)


class Run:
    """A process with a model, which counts the images that it has to compute."""

    def __init__(self, folder, module, layers=LAYERS, weights_sum='a' * 64):
        self.features = BottleneckFeatures(folder, layers, VIEWS, 64, weights_sum)
        self.module, self.computed = module, 0

    def compute(self, parts, stop_after=None):
        def counted(paths, sums, view):
            if self.computed == stop_after:
                raise KeyboardInterrupt
            self.computed += len(paths)
            return load(paths, sums, view)

        batches = self.features.missing(parts)
        with tf.Graph().as_default(), session.open_session() as sess:
            keras.backend.set_session(sess)
            model = vgg_keras.vgg16(64)
            sess.run(tf.global_variables_initializer())
            vgg_keras.set_weights(model, self.module.weights())
            if batches:
                self.features.compute(batches, sess, model, counted, quiet=True)
            outputs = [model.get_layer(layer).output for layer in LAYERS]
            return {view: sess.run(outputs, {model.input: load(PATHS, SUMS, view)}) for view in VIEWS}


def test_features_are_the_layers_activations_in_the_view_asked_for(tmp_path, narrow_vgg16):
    run = Run(tmp_path, narrow_vgg16)
    expected = run.compute(PARTS)
    assert run.computed == 12 * 2 + 8
    for layer, originals, flips in zip(LAYERS, expected['original'], expected['flip']):
        found = run.features.read(layer, [SUMS[3], SUMS[15], SUMS[0]], ['flip', 'original', 'original'])
        assert found.dtype == np.float16 and np.ptp(found) > 1
        np.testing.assert_allclose(found, np.stack([flips[3], originals[15], originals[0]]), rtol=1e-3, atol=1e-2)


def test_a_second_run_computes_nothing_and_a_new_image_only_itself(tmp_path, narrow_vgg16):
    Run(tmp_path, narrow_vgg16).compute([PARTS[0]])
    again = Run(tmp_path, narrow_vgg16)
    again.compute([PARTS[0]])
    assert again.computed == 0 and again.features.problems() == []
    again.compute(PARTS)
    assert again.computed == 8
    other = Run(tmp_path, narrow_vgg16, weights_sum='b' * 64)
    other.compute([PARTS[0]])
    assert other.computed == 24


def test_a_killed_extraction_resumes(tmp_path, narrow_vgg16, monkeypatch):
    monkeypatch.setattr(vgg_keras, 'IMAGES_AT_ONCE', 4)
    killed = Run(tmp_path / 'killed', narrow_vgg16)
    with pytest.raises(KeyboardInterrupt):
        killed.compute(PARTS, stop_after=16)
    resumed = Run(tmp_path / 'killed', narrow_vgg16)
    resumed.compute(PARTS)
    assert 0 < resumed.computed < 32 and resumed.features.problems() == []
    whole = Run(tmp_path / 'whole', narrow_vgg16)
    whole.compute(PARTS)
    for layer in LAYERS:
        np.testing.assert_array_equal(resumed.features.read(layer, SUMS, ['original'] * 20),
                                      whole.features.read(layer, SUMS, ['original'] * 20))


def test_a_layer_that_is_there_already_is_not_kept_twice(tmp_path, narrow_vgg16):
    Run(tmp_path, narrow_vgg16, layers=LAYERS[:1]).compute(PARTS)
    both = Run(tmp_path, narrow_vgg16)
    sizes = {path: path.stat().st_size for path in tmp_path.glob('block5*/rows')}
    both.compute(PARTS)
    assert len(sizes) == 2 and sizes == {path: path.stat().st_size for path in sizes}
    assert both.computed == 32 and both.features.missing(PARTS) == []


def test_a_disk_without_room_is_found_before_the_work(tmp_path, narrow_vgg16, monkeypatch):
    run = Run(tmp_path, narrow_vgg16)
    usage = bottleneck_features.shutil.disk_usage(str(tmp_path))
    monkeypatch.setattr(bottleneck_features.shutil, 'disk_usage', lambda path: usage._replace(free=1000))
    with pytest.raises(UnavailableError, match='the features of 32 images take 5,120 bytes, but only 1,000 are free'):
        run.compute(PARTS)
    assert run.computed == 0


def test_a_layer_that_is_there_already_needs_no_room(tmp_path, narrow_vgg16, monkeypatch):
    Run(tmp_path, narrow_vgg16, layers=LAYERS[:1]).compute(PARTS)
    usage = bottleneck_features.shutil.disk_usage(str(tmp_path))
    room = 32 * 4 * 4 * 4 * 2  # block4_pool's rows
    monkeypatch.setattr(bottleneck_features.shutil, 'disk_usage', lambda path: usage._replace(free=room))
    both = Run(tmp_path, narrow_vgg16)
    both.compute(PARTS)
    assert both.features.missing(PARTS) == []
