"""Networks with which a whole recipe runs in milliseconds; narrow_vgg16.py is another."""
import functools

import numpy as np

CONVOLUTIONS_OF_VGG19 = (2, 2, 4, 4, 4)


def vgg19_weights():
    """Draws random weights for VGG-19, two channels wide.

    He's scale and this seed keep both channels of every layer alive, and conv5_4 still tells pictures apart.

    Returns:
      dict {'conv1_1': (kernel float32 [3, 3, in, out], bias float32 [out]), ..., 'conv5_4': ...} for RGB in [0, 255].
    """
    random = np.random.RandomState(371)
    weights = {}
    num_inputs = 3
    for block, num_convolutions in enumerate(CONVOLUTIONS_OF_VGG19, 1):
        for number in range(1, num_convolutions + 1):
            kernel = random.normal(0, np.sqrt(2 / (9 * num_inputs)), [3, 3, num_inputs, 2])
            bias = random.uniform(1, 10, 2)
            weights[f'conv{block}_{number}'] = kernel.astype(np.float32), bias.astype(np.float32)
            num_inputs = 2
    return weights


def write_inception(folder):
    """Writes a frozen graph and its labels into a new folder, a Path; returns the graph's Path.

    It has a few layers, named as inception5h names them: conv2d0 (stride 2), maxpool0 (stride 4 in all), mixed4c of two
    branches with 4 + 2 channels, and softmax2 over 5 classes, for 6 labels: the first is for nothing.
    """
    folder.mkdir()
    (folder / 'labels.txt').write_text('background\ntench, Tinca tinca\ntabby, tabby cat\nhen\nkite\nnewt\n')
    (folder / 'tensorflow_inception_graph.pb').write_bytes(_inception_graph())
    return folder / 'tensorflow_inception_graph.pb'


@functools.lru_cache(maxsize=None)
def _inception_graph():
    from common.session import tf
    random = np.random.RandomState(5)

    def convolve(layer, name, size, num_maps, stride=1):
        shape = [size, size, layer.shape[-1].value, num_maps]
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype(np.float32)
        kernel = tf.constant(kernel, name=name + '_w')
        layer = tf.nn.conv2d(layer, kernel, stride, 'SAME', name=name + '_pre_relu/conv')
        layer = tf.nn.bias_add(layer, tf.constant(np.float32(random.uniform(1, 5, num_maps))), name=name + '_pre_relu')
        return tf.nn.relu(layer, name=name)

    with tf.Graph().as_default() as graph:
        layer = convolve(tf.placeholder(tf.float32, [None, None, None, 3], name='input'), 'conv2d0', 5, 4, stride=2)
        layer = tf.nn.max_pool2d(layer, 3, 2, 'SAME', name='maxpool0')
        branches = [convolve(layer, 'mixed4c_1x1', 1, 4), convolve(layer, 'mixed4c_3x3', 3, 2)]
        layer = tf.concat(branches, axis=-1, name='mixed4c')
        pooled = tf.reduce_mean(layer, [1, 2], name='avgpool0')
        kernel = tf.constant(random.normal(size=[6, 5]).astype(np.float32))
        logits = tf.matmul(pooled, kernel, name='softmax2_pre_activation/matmul')
        tf.nn.softmax(tf.nn.bias_add(logits, tf.zeros([5]), name='softmax2_pre_activation'), name='softmax2')
        return graph.as_graph_def().SerializeToString()


def shorten_style_networks(set_attribute):
    """Leaves the feed-forward style networks one residual block; `set_attribute` is monkeypatch.setattr, or setattr."""
    from networks import style_networks
    set_attribute(style_networks, 'LAYOUTS', {
        kind: dict(layout, num_residuals=1) for kind, layout in style_networks.LAYOUTS.items()})


def write_style_networks(folder):
    """Writes the three files of the feed-forward style networks into a folder: of their true sizes, random weights.

    Those for any painting have their weights in 8 bits, a scale for each output channel, as the published ones.

    Args:
      folder: Path, made if it is missing.
    """
    import onnx
    from networks import style_networks
    random = np.random.RandomState(7)
    folder.mkdir(parents=True, exist_ok=True)

    def draw(*shape):
        return random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)

    def save(name, nodes, arrays):
        tensors = [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items()]
        graph = onnx.helper.make_graph(nodes, 'tiny', [], [], tensors)
        (folder / name).write_bytes(onnx.helper.make_model(graph).SerializeToString())

    def convolution(name, kernel, bias, nodes, arrays):
        scale = np.abs(kernel).max(axis=(1, 2, 3)) / 127
        arrays[name] = np.rint(kernel / scale[:, None, None, None]).astype(np.int8)
        arrays[f'{name} scale'], arrays[f'{name} zero'] = scale.astype(np.float32), np.zeros(len(scale), np.int8)
        arrays[f'{name} bias'] = bias
        nodes.append(onnx.helper.make_node('DequantizeLinear', [name, f'{name} scale', f'{name} zero'], [f'{name} dq']))
        nodes.append(onnx.helper.make_node('Conv', ['layer', f'{name} dq', f'{name} bias'], ['layer']))

    nodes, arrays, depth = [], {}, 3
    for name, channels, size in style_networks._layers(**style_networks.LAYOUTS['multistyle']):
        nodes.append(onnx.helper.make_node('Conv', ['layer', f'{name}.w'], ['layer']))
        arrays[f'{name}.w'] = draw(channels, depth, size, size)
        arrays[f'{name}.norm.gamma'] = random.uniform(0.5, 1.5, (26, channels)).astype(np.float32)
        arrays[f'{name}.norm.beta'] = random.normal(0, 0.3, (26, channels)).astype(np.float32)
        depth = channels
    save('multistyle26.onnx', nodes, arrays)

    nodes, arrays, depth = [], {}, 3
    for name, channels, size in style_networks._layers(**style_networks.LAYOUTS['any painting']):
        group, *numbers = name.split('.')
        path = (f'residual/residual{int(numbers[0]) + 1}/conv{int(numbers[1]) + 1}' if group == 'res' else
                f'{group}/conv{int(numbers[0]) + 1}')
        path += '/conv' if group == 'expand' else ''
        convolution(f'transformer/{path}/weights', draw(channels, depth, size, size), np.zeros(channels, np.float32),
                    nodes, arrays)
        for part, mean in ('Conv', 0), ('Conv_1', 1):
            if group != 'contract':
                convolution(f'style_params/transformer/{path}/StyleNorm/{part}/weights', draw(channels, 100, 1, 1),
                            np.full(channels, mean, np.float32), nodes, arrays)
        depth = channels
    save('arbitrary_transform.onnx', nodes, arrays)

    nodes, arrays, depth = [], {}, 3
    for name, depthwise in style_networks._predictor_layers():
        block = int((name.split('/')[0].split('_conv')[-1] or '_0')[1:] or 0) if name.startswith('expanded') else 0
        if depthwise:
            shape = depth, 1, 3, 3
        elif name.endswith('/expand'):
            shape = 6 * depth, depth, 1, 1
        else:
            channels = {'Conv': 32, 'Conv_1': 1280, 'mobilenet_conv/Conv': 100}.get(name) or next(
                width for last, width in ((0, 16), (2, 24), (5, 32), (9, 64), (12, 96), (15, 160), (16, 320))
                if block <= last)
            shape = channels, depth, *((3, 3) if name == 'Conv' else (1, 1))
        prefix = '' if name.startswith('mobilenet') else 'MobilenetV2/'
        suffix = 'depthwise_weights' if depthwise else 'weights'
        convolution(f'{prefix}{name}/{suffix}', draw(*shape), np.zeros(shape[0], np.float32), nodes, arrays)
        depth = shape[0]
    save('arbitrary_predict.onnx', nodes, arrays)
