"""networks/summary.py: layers, weights and receptive fields against published and hand-computed figures."""

import pytest

import cifar10_tflearn
import concepts
import mnist_convnet
import tiny_networks
import vgg16_transfer
from common import images
from common.session import tf
from networks import inception, summary, vgg


def fields(layers):
    return [(layer.field, layer.jump) for layer in layers if layer.field]


def in_table(network):
    return [(field, jump) for _, field, jump in concepts.receptive_field(concepts.NETWORKS[network])]


def test_mnist():
    graph = mnist_convnet.build_graph(num_steps=10)
    layers = summary.summarize(graph.images, graph.layers.logits)
    assert [(layer.name, layer.kind, layer.kernel, layer.stride, layer.shape, layer.weights) for layer in layers] == [
        ('conv1', 'convolution', 5, 1, [28, 28, 32], 832),             # 32 (25 + 1)
        ('conv1', 'max pooling', 2, 2, [14, 14, 32], 0),
        ('conv2', 'convolution', 5, 1, [14, 14, 64], 51264),           # 64 (25 · 32 + 1)
        ('conv2', 'max pooling', 2, 2, [7, 7, 64], 0),
        ('hidden', 'fully connected', 0, 1, [1024], 3212288),          # 1024 (7 · 7 · 64 + 1)
        ('output', 'fully connected', 0, 1, [10], 10250)]
    assert fields(layers) == in_table('MNIST') == [(5, 1), (6, 2), (14, 2), (16, 4)]
    assert layers[-1].field is layers[-1].jump is None


@pytest.mark.parametrize('network, weights', [('book', 2159114), ('airbench', 1971352 + 288)])  # 288: a fixed layer
def test_cifar10(network, weights):
    graph = cifar10_tflearn.build_graph(network=network)
    layers = summary.summarize(graph.images, graph.probabilities)
    assert sum(layer.weights for layer in layers) == weights
    assert fields(layers) == in_table(f'CIFAR-10, {network}')


def test_vgg16_in_keras():
    model = vgg16_transfer.build_model(2)
    layers = {layer.name: layer for layer in summary.summarize(model.input, model.output)}
    convolutions = [layer for name, layer in layers.items() if name.startswith('block')]
    assert sum(layer.weights for layer in convolutions) == 14714688  # as published
    assert fields(convolutions) == in_table('VGG-16')
    assert layers['block5_conv3'].field == 196 and layers['block5_pool'].field == 212
    assert layers['hidden'].weights == 256 * 513 and layers['logits'].weights == 2 * 257
    assert layers['pooled'].kind == 'global mean' and layers['pooled'].field is None


def test_vgg19_of_constants_and_any_size():
    weights = tiny_networks.vgg19_weights()
    pixels = tf.placeholder(tf.float32, [1, None, None, 3])
    end_points = vgg.vgg(pixels, weights, 'vgg19')
    layers = summary.summarize(pixels, [end_points['conv1_1'], end_points['conv5_1']])
    assert [layer.name for layer in layers] == list(vgg.layer_names('vgg19'))[:17]
    assert sum(layer.weights for layer in layers) == sum(
        array.size for name in vgg.layer_names('vgg19')[:17] if name in weights for array in weights[name])
    assert (layers[-1].field, layers[-1].jump, layers[-1].shape[:2]) == (156, 16, [None, None])
    assert layers[-1].field == vgg.halo('conv5_1')


@pytest.mark.real_data
def test_inception(real_models_dir):
    path, _, _ = inception.obtain_graph(real_models_dir)
    pixels = tf.placeholder(tf.float32, [1, None, None, 3])
    end_points = inception.inception(pixels, inception.load_graph_def(path))
    layers = summary.summarize(pixels, end_points['mixed5b'])
    found = {layer.name.replace('_pre_relu', ''): (layer.field, layer.jump) for layer in layers}
    for name, field, jump in concepts.receptive_field(concepts.NETWORKS['Inception']):
        assert found[name] == (field, jump), name
    assert layers[0].weights == 7 * 7 * 3 * 64 + 64


def test_dilation_branches_and_gram_matrices():
    pixels = tf.placeholder(tf.float32, [1, 32, 32, 3], name='pixels')
    kernel = tf.get_variable('kernel', [3, 3, 3, 4])
    left = tf.nn.conv2d(pixels, kernel, 1, 'SAME', dilations=2)          # 5 pixels
    right = tf.nn.avg_pool2d(tf.nn.conv2d(pixels, kernel, 1, 'SAME'), 2, 1, 'SAME')  # 3, then 4; the same weights
    joined = tf.reshape(tf.concat([left, right], axis=3), [-1, 8])
    layers = summary.summarize(pixels, tf.matmul(joined, joined, transpose_a=True))
    assert sorted((layer.kind, layer.field) for layer in layers) == [
        ('average pooling', 4), ('concatenation', 5), ('convolution', 3), ('convolution', 5)]
    assert sum(layer.weights for layer in layers) == 3 * 3 * 3 * 4


def test_depth_to_space_doubles_rows_and_columns():
    pixels = tf.placeholder(tf.float32, [1, 32, 32, 3])
    small = tf.nn.conv2d(pixels, tf.get_variable('small', [2, 2, 3, 8]), 2, 'SAME')          # field 2, jump 2
    large = tf.nn.conv2d(tf.depth_to_space(small, 2), tf.get_variable('large', [3, 3, 2, 4]), 1, 'SAME')
    layers = summary.summarize(pixels, large)
    assert [(layer.kind, layer.stride, layer.shape, layer.weights, layer.field, layer.jump) for layer in layers] == [
        ('convolution', 2, [16, 16, 8], 96, 2, 2), ('depth to space', 0.5, [32, 32, 2], 0, 2, 1),
        ('convolution', 1, [32, 32, 4], 72, 4, 1)]
    assert summary._cells(layers[1])[1:3] == ('depth to space × 2', '32 × 32 × 2')


def test_the_figure(tmp_path):
    graph = mnist_convnet.build_graph()
    summary.draw(tmp_path / 'network.png', graph.images, graph.layers.logits)
    height, width, _ = images.load_image(tmp_path / 'network.png').shape
    assert 7 * 20 < height < 300 and width > 900


def test_cells():
    layer = summary.Layer(name='conv2d0', kind='convolution', kernel=7, stride=2, shape=[None, None, 64], weights=9472,
                          field=7, jump=2)
    assert summary._cells(layer) == ('conv2d0', 'convolution 7×7 / 2', 'h/2 × w/2 × 64', '9,472', '7×7')
    whole = layer._replace(kind='fully connected', kernel=0, stride=1, shape=[1000], field=None, jump=None)
    assert summary._cells(whole)[1:] == ('fully connected', '1,000', '9,472', 'all')
    assert summary._short_names(['a/b/conv', 'a/pool0', 'a/c/MatMul_1']) == ['b', 'pool0', 'c']
