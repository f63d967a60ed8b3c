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
