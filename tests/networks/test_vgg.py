"""VGG: the table, the builder against a NumPy network, the checks of weights, the order of sources."""
import itertools

import h5py
import numpy as np
import pytest

from common import download
from common.errors import InputError, UnavailableError
from common.session import keras, tf
from networks import vgg

NUM_PARAMETERS = {'vgg16': 14714688, 'vgg19': 20024384}  # of the convolutions: Simonyan and Zisserman's table 2 less fc
COMBINATIONS = list(itertools.product(('average', 'max', 'l2'), ('zero', 'reflect')))


# The table

def test_layer_names():
    assert vgg.layer_names('vgg16') == (
        'conv1_1', 'conv1_2', 'pool1', 'conv2_1', 'conv2_2', 'pool2', 'conv3_1', 'conv3_2', 'conv3_3', 'pool3',
        'conv4_1', 'conv4_2', 'conv4_3', 'pool4', 'conv5_1', 'conv5_2', 'conv5_3', 'pool5')
    assert set(vgg.layer_names('vgg19')) - set(vgg.layer_names('vgg16')) == {'conv3_4', 'conv4_4', 'conv5_4'}


@pytest.mark.parametrize('layer, network, width', [
    ('conv1_1', 'vgg19', 3), ('conv1_2', 'vgg19', 5), ('pool1', 'vgg19', 6), ('conv2_1', 'vgg19', 10),
    ('conv5_1', 'vgg19', 156), ('conv5_1', 'vgg16', 132), ('pool5', 'vgg16', 212)])
def test_halo_is_the_receptive_field(layer, network, width):
    assert vgg.halo(layer, network) == width


def test_stride():
    assert [vgg.stride(layer) for layer in ('conv1_2', 'pool1', 'conv2_1', 'conv5_1', 'pool5')] == [1, 2, 2, 16, 32]


def test_unknown_layer_names_the_nearest():
    with pytest.raises(InputError, match=r"^VGG-16 has no layer 'conv5_4'; did you mean 'conv5_3' or "):
        vgg.check_layer('conv5_4', 'vgg16')
    with pytest.raises(InputError, match="no layer 'mixed'; it has conv1_1, conv1_2, pool1"):
        vgg.stride('mixed')


# The builder

def random_image(height, width):
    return np.random.RandomState(0).uniform(0, 255, [1, height, width, 3]).astype(np.float32)


def pad(layer, padding):
    return np.pad(layer, [(1, 1), (1, 1), (0, 0)], {'zero': 'constant', 'reflect': 'reflect'}[padding])


def convolve_in_numpy(layer, kernel, bias, padding):
    height, width, _ = layer.shape
    padded = pad(layer, padding)
    total = sum(padded[i:i + height, j:j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    return np.maximum(total + bias, 0)


def pool_in_numpy(layer, pooling):
    reduce = {'average': np.mean, 'max': np.max, 'l2': lambda x, axis: np.sqrt(np.mean(x ** 2, axis) + 1e-6)}[pooling]
    height, width, _ = layer.shape
    return np.array([[reduce(layer[y:y + 2, x:x + 2], axis=(0, 1)) for x in range(0, width, 2)]
                     for y in range(0, height, 2)])


@pytest.mark.parametrize('pooling, padding', COMBINATIONS)
def test_builder_against_numpy(tiny_vgg_weights, pooling, padding):
    image = random_image(21, 34)  # odd and even: 11 x 17, 6 x 9, 3 x 5, 2 x 3
    end_points = vgg.vgg(tf.constant(image), tiny_vgg_weights, 'vgg19', 'conv5_1', pooling, padding)
    with tf.Session() as session:
        found = session.run(end_points)
    layer = image[0].astype(np.float64) - [123.68, 116.779, 103.939]
    for name in vgg.layer_names('vgg19')[:-4]:
        layer = (pool_in_numpy(layer, pooling) if name.startswith('pool')
                 else convolve_in_numpy(layer, *tiny_vgg_weights[name], padding))
        assert found[name].shape == (1,) + layer.shape
        np.testing.assert_allclose(found[name][0], layer, rtol=1e-4, atol=1e-4)
    assert name == 'conv5_1'


def plain_tensorflow(images, weights, pooling, padding):
    """The first layers without a gradient of our own."""
    layer = images - [123.68, 116.779, 103.939]
    for name in ('conv1_1', 'conv1_2', 'pool1', 'conv2_1'):
        if name.startswith('pool'):
            layer = {'average': lambda: tf.nn.avg_pool2d(layer, 2, 2, 'SAME'),
                     'max': lambda: tf.nn.max_pool2d(layer, 2, 2, 'SAME'),
                     'l2': lambda: tf.sqrt(tf.nn.avg_pool2d(layer ** 2, 2, 2, 'SAME') + 1e-6)}[pooling]()
            continue
        mode = {'zero': 'CONSTANT', 'reflect': 'REFLECT'}[padding]
        layer = tf.nn.conv2d(tf.pad(layer, [[0, 0], [1, 1], [1, 1], [0, 0]], mode), weights[name][0], 1, 'VALID')
        layer = tf.nn.relu(layer + weights[name][1])
    return layer


@pytest.mark.parametrize('pooling, padding', COMBINATIONS)
def test_gradient_is_tensorflows_own(tiny_vgg_weights, pooling, padding):
    images = tf.constant(random_image(9, 14))
    ours = vgg.vgg(images, tiny_vgg_weights, 'vgg19', 'conv2_1', pooling, padding)['conv2_1']
    plain = plain_tensorflow(images, tiny_vgg_weights, pooling, padding)
    gradients = [tf.gradients(tf.reduce_sum(layer ** 2), images)[0] for layer in (ours, plain)]
    with tf.Session() as session:
        ours, plain = session.run(gradients)
    np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())
    assert np.abs(plain).min(axis=-1).max() > 0


def test_gradient_of_l2_pooling_is_finite_where_nothing_is_active(tiny_vgg_weights):
    inactive = {name: (0 * kernel, 0 * bias) for name, (kernel, bias) in tiny_vgg_weights.items()}
    images = tf.constant(random_image(8, 8))
    end_points = vgg.vgg(images, inactive, 'vgg19', 'conv2_1', pooling='l2')
    with tf.Session() as session:
        assert np.all(session.run(tf.gradients(end_points['conv2_1'], images)[0]) == 0)


def test_average_pooling_is_exact(tiny_vgg_weights):
    with tf.Session() as session:
        found = session.run(vgg.vgg(tf.constant(random_image(4, 5)), tiny_vgg_weights, last_layer='pool1'))
    before, after = found['conv1_2'][0], found['pool1'][0]
    np.testing.assert_allclose(after[1, 1], before[2:4, 2:4].mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(after[1, 2], before[2:4, 4].mean(axis=0), rtol=1e-6)  # the odd column by itself


def test_mean_image_stays_flat_up_to_its_border(tiny_vgg_weights):
    # zero padding pads with the mean: with it folded into the bias, the border would see black
    images = np.broadcast_to(np.float32([123.68, 116.779, 103.939]), [1, 6, 6, 3])
    with tf.Session() as session:
        layer = session.run(vgg.vgg(tf.constant(images), tiny_vgg_weights, last_layer='conv1_1')['conv1_1'])
    np.testing.assert_allclose(layer[0], np.broadcast_to(tiny_vgg_weights['conv1_1'][1], [6, 6, 2]), atol=1e-3)


@pytest.mark.parametrize('network', ['vgg16', 'vgg19'])
def test_end_points_are_in_order_and_only_as_deep_as_asked(tiny_vgg_weights, network):
    images = tf.zeros([1, 32, 32, 3])
    end_points = vgg.vgg(images, tiny_vgg_weights, network, last_layer='conv3_2', prefix='style')
    assert tuple(end_points) == vgg.layer_names(network)[:8]
    assert len([op for op in tf.get_default_graph().get_operations() if op.type == 'Conv2D']) == 6
    assert all(tensor.name.startswith(f'style/{layer}/') for layer, tensor in end_points.items())
    assert tuple(vgg.vgg(images, tiny_vgg_weights, network)) == vgg.layer_names(network)


def test_weights_are_constants_that_nothing_trains(tiny_vgg_weights):
    images = tf.placeholder(tf.float32, [None, None, None, 3])
    tf.gradients(vgg.vgg(images, tiny_vgg_weights)['conv5_4'], images)
    operations = tf.get_default_graph().get_operations()
    assert tf.global_variables() == tf.trainable_variables() == []
    assert not [op for op in operations if 'Variable' in op.type or 'BackpropFilter' in op.type]


def test_unknown_last_layer(tiny_vgg_weights):
    with pytest.raises(InputError, match='no layer'):
        vgg.vgg(tf.zeros([1, 32, 32, 3]), tiny_vgg_weights, last_layer='relu4_2')


# Weights

def write_weights(path, weights):
    """Writes a Keras file, which keeps conv1_1 for BGR."""
    with h5py.File(str(path), 'w') as file:
        for layer, (kernel, bias) in weights.items():
            name = f'block{layer[4]}_conv{layer[6]}'
            file[f'{name}/{name}_W_1:0'] = kernel[:, :, ::-1] if layer == 'conv1_1' else kernel
            file[f'{name}/{name}_b_1:0'] = bias
    return path


@pytest.fixture
def narrow(monkeypatch, tiny_vgg_weights):
    """Makes the table two channels wide; returns the weights of such a VGG-19 and VGG-16."""
    monkeypatch.setattr(vgg, 'CHANNELS', (2,) * 5)
    fewer = {name: value for name, value in tiny_vgg_weights.items() if name in vgg.layer_names('vgg16')}
    return {'vgg19': tiny_vgg_weights, 'vgg16': fewer}


@pytest.mark.parametrize('network', ['vgg16', 'vgg19'])
def test_a_file_of_the_real_size_has_as_many_parameters_as_published(tmp_path, network):
    path = tmp_path / 'weights.h5'
    with h5py.File(str(path), 'w') as file:  # never written to, a dataset reads as zeros and takes no space
        depth = 3
        for block, count in enumerate(vgg.CONVOLUTIONS[network], 1):
            for number in range(1, count + 1):
                name = f'block{block}_conv{number}'
                file.create_dataset(name + '/kernel:0', [3, 3, depth, vgg.CHANNELS[block - 1]], 'f')
                file.create_dataset(name + '/bias:0', [vgg.CHANNELS[block - 1]], 'f')
                depth = vgg.CHANNELS[block - 1]
    weights = vgg.load_weights(path, network)
    assert sum(kernel.size + bias.size for kernel, bias in weights.values()) == NUM_PARAMETERS[network]


def test_load_weights(tmp_path, narrow):
    for network, weights in narrow.items():
        path = write_weights(tmp_path / network, weights)
        for found in (vgg.load_weights(path, network), vgg.load_weights(path, None)):
            assert vgg.identify(found) == network
            np.testing.assert_array_equal(found['conv1_1'][0], weights['conv1_1'][0])


def error_of_loading(path, network='vgg19'):
    with pytest.raises(ValueError) as error:
        vgg.load_weights(path, network)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('network, expected', [
    ('vgg19', 'expected the weights of VGG-19, vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 '
     '(https://github.com/fchollet/deep-learning-models/releases/download/v0.1/) or imagenet-vgg-verydeep-19.mat '
     '(http://www.vlfeat.org/matconvnet/models/)'),
    ('vgg16', 'expected the weights of VGG-16, vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 '
     '(https://github.com/fchollet/deep-learning-models/releases/download/v0.1/) or imagenet-vgg-verydeep-16.mat '
     '(http://www.vlfeat.org/matconvnet/models/)')])
def test_errors_say_what_was_found_which_file_is_expected_and_where_it_is(tmp_path, narrow, network, expected):
    other = {'vgg16': 'vgg19', 'vgg19': 'vgg16'}[network]
    path = write_weights(tmp_path / 'weights.h5', narrow[other])
    title = {'vgg16': 'VGG-16', 'vgg19': 'VGG-19'}
    found = f'the weights of {title[other]}, not of {title[network]}'
    assert error_of_loading(path, network) == f'{path}: {found}; {expected}'
    path.write_bytes(b'<html>Not Found</html>')
    found = 'a web page, such as a failed download leaves behind'
    assert error_of_loading(path, network) == f'{path}: {found}; {expected}'


def change(weights, layer, kernel=None, bias=None):
    old_kernel, old_bias = weights[layer]
    return dict(weights, **{layer: (old_kernel if kernel is None else kernel, old_bias if bias is None else bias)})


@pytest.mark.parametrize('spoil, said', [
    (lambda w: {}, 'does not contain the convolutions of a VGG network'),
    (lambda w: {k: v for k, v in w.items() if k != 'conv4_3'}, 'conv4_3 is missing'),
    (lambda w: change(w, 'conv1_1', np.zeros([3, 3, 1, 2])),
     'conv1_1 has a kernel of (3, 3, 1, 2) and a bias of (2,), not (3, 3, 3, 2) and (2,)'),
    (lambda w: change(w, 'conv1_2', bias=np.zeros(3)),
     'conv1_2 has a kernel of (3, 3, 2, 2) and a bias of (3,), not (3, 3, 2, 2) and (2,)'),
    (lambda w: change(w, 'conv2_1', np.zeros([2, 2, 3, 3])),
     'conv2_1 has a kernel of (2, 2, 3, 3) and a bias of (2,), not (3, 3, 2, 2) and (2,) (Theano\'s order)'),
    (lambda w: change(w, 'conv3_1', np.full([3, 3, 2, 2], np.nan)), 'conv3_1 has weights that are not finite'),
    (lambda w: change(w, 'conv5_4', bias=np.array([np.inf, 0])), 'conv5_4 has weights that are not finite'),
], ids=['empty', 'a layer missing', 'one input channel', 'a long bias', 'Theano', 'NaN', 'infinite'])
def test_wrong_weights(tmp_path, narrow, spoil, said):
    path = write_weights(tmp_path / 'weights.h5', spoil(narrow['vgg19']))
    assert error_of_loading(path).startswith(f'{path}: {said}; expected the weights of VGG-19')


# The order of sources

KERAS_19, = [asset.name for asset in vgg.ASSETS['vgg19']]
KERAS_16, ONNX_16 = [asset.name for asset in vgg.ASSETS['vgg16']]


@pytest.fixture
def sources(monkeypatch, tmp_path, narrow):
    """Stands in for mirrors and package index: `sources` names what is available, `asked` lists what was asked for."""
    class Sources(list):
        models_dir = tmp_path / 'models'
        weights = narrow

    sources = Sources()
    sources.asked = []
    obtain = download.obtain

    def stand_in(assets, folder, quiet=False):
        asset, = assets
        path = sources.models_dir / asset.name
        if path.is_file():
            return obtain(assets, folder, quiet)
        sources.asked.append(asset.name)
        if asset.name not in sources:
            raise UnavailableError(f'cannot get {asset.name}\n  https://mirror: nobody there\n  by hand: ...')
        write_weights(path, narrow['vgg19' if '19' in asset.name else 'vgg16'])
        return [download.Found(path, 'downloaded', 'its sum')]

    monkeypatch.setattr(download, 'obtain', stand_in)
    sources.models_dir.mkdir()
    return sources


def test_own_path_goes_first(sources, tmp_path):
    path = write_weights(tmp_path / 'mine.h5', sources.weights['vgg16'])
    network, weights, source, sha256 = vgg.obtain_weights(sources.models_dir, path=path)
    assert (network, len(weights), source, len(sha256)) == ('vgg16', 13, str(path), 64)
    with pytest.raises(InputError, match='the weights of VGG-16, not of VGG-19'):
        vgg.obtain_weights(sources.models_dir, 'vgg19', path=path)
    with pytest.raises(InputError, match='No such file'):
        vgg.obtain_weights(sources.models_dir, path=tmp_path / 'nowhere.h5')
    assert sources.asked == []


@pytest.mark.parametrize('name', [
    KERAS_19, 'imagenet-vgg-verydeep-19.mat', 'vgg19_weights_tf_dim_ordering_tf_kernels.h5'])
def test_a_file_in_the_folder_is_found_by_its_known_names(sources, name, capsys):
    path = write_weights(sources.models_dir / name, sources.weights['vgg19'])
    write_weights(sources.models_dir / KERAS_16, sources.weights['vgg16'])
    for wanted in (None, 'vgg19'):
        network, weights, source, sha256 = vgg.obtain_weights(sources.models_dir, wanted)
        assert (network, len(weights), source, len(sha256)) == ('vgg19', 16, str(path), 64)
    assert sources.asked == []
    assert 'VGG-16' not in capsys.readouterr().err


def test_vgg19_is_downloaded_by_default(sources, capsys):
    sources += [KERAS_19, KERAS_16, ONNX_16]
    network, weights, source, sha256 = vgg.obtain_weights(sources.models_dir)
    assert (network, len(weights), source, sha256) == ('vgg19', 16, 'downloaded', 'its sum')
    assert sources.asked == [KERAS_19] and capsys.readouterr().err == ''


def test_falls_back_to_vgg16_with_one_warning(sources, capsys):
    sources += [ONNX_16]
    assert vgg.obtain_weights(sources.models_dir, quiet=True)[0] == 'vgg16'
    assert sources.asked == [KERAS_19, KERAS_16, ONNX_16]
    assert capsys.readouterr().err == (
        'warning: VGG-19 is unavailable; using VGG-16 (https://mirror: nobody there)\n')


def test_vgg16_in_the_folder_spares_the_wait_for_vgg19(sources, capsys):
    write_weights(sources.models_dir / 'imagenet-vgg-verydeep-16.mat', sources.weights['vgg16'])
    assert vgg.obtain_weights(sources.models_dir)[0] == 'vgg16'
    assert sources.asked == []
    warning, = capsys.readouterr().err.splitlines()
    assert warning.startswith(f'warning: no VGG-19 in {sources.models_dir}; using VGG-16')


def test_named_network_that_is_unavailable_is_an_error(sources):
    sources += [KERAS_16, ONNX_16]
    with pytest.raises(UnavailableError, match='cannot get ' + KERAS_19):
        vgg.obtain_weights(sources.models_dir, 'vgg19')
    assert sources.asked == [KERAS_19]


def test_no_source_lists_all_that_was_tried(sources):
    with pytest.raises(UnavailableError) as error:
        vgg.obtain_weights(sources.models_dir)
    assert [str(error.value).count(name) for name in (KERAS_19, KERAS_16, ONNX_16)] == [1, 1, 1]


def test_damaged_file_in_the_folder_is_named(sources):
    path = sources.models_dir / 'imagenet-vgg-verydeep-19.mat'
    path.write_bytes(b'<html>')
    with pytest.raises(InputError, match='imagenet-vgg-verydeep-19.mat: a web page'):
        vgg.obtain_weights(sources.models_dir)


# Real weights

@pytest.mark.real_data
def test_real_weights_give_what_keras_gives(real_vgg):
    """Keras's own VGG and preprocessing, with these weights, on a photograph."""
    from matplotlib import cbook
    from PIL import Image
    network, weights = real_vgg
    with cbook.get_sample_data('grace_hopper.jpg') as file:
        images = np.asarray(Image.open(file).convert('RGB').resize((160, 192)), np.float32)[None]
    last = f'conv5_{vgg.CONVOLUTIONS[network][-1]}'
    with tf.Graph().as_default(), tf.Session() as session:
        ours = session.run(vgg.vgg(tf.constant(images), weights, network, last, pooling='max')[last])
    with tf.Graph().as_default(), tf.Session().as_default():
        module = getattr(keras.applications, network)
        model = getattr(module, network.upper())(weights=None, include_top=False)
        bgr = dict(weights, conv1_1=(weights['conv1_1'][0][:, :, ::-1], weights['conv1_1'][1]))
        model.set_weights([array for name in vgg.layer_names(network) if name in bgr for array in bgr[name]])
        layer = model.get_layer(f'block5_conv{last[-1]}').output
        theirs = keras.models.Model(model.input, layer).predict(module.preprocess_input(images.copy()))
    assert ours.shape == theirs.shape == (1, 12, 10, 512)
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert 0.02 < (ours > 0).mean() < 0.5  # trained features are sparse
