"""VGG-16 as Keras has it, to be trained further: its published weights, and its preprocessing as a layer.

The preprocessing is a 1x1 convolution, which puts the channels in the order BGR and subtracts ImageNet's means. It is
exact, and a plain layer: whoever loads the model, wherever, gives it RGB in [0, 255] and need not know of it.
"""
import hashlib

import numpy as np

from common.session import keras
from networks.vgg import MEAN_RGB

PREPROCESS = 'preprocess'
SMALLEST_SIZE = 32  # pixels: five poolings by 2
IMAGES_AT_ONCE, USUAL_SIZE = 16, 256
CHANNELS = {'block1_pool': 64, 'block2_pool': 128, 'block3_pool': 256, 'block4_pool': 512, 'block5_pool': 512}


def vgg16(size):
    """Adds VGG-16 without its fully connected layers to the default graph; see set_weights.

    Args:
      size: int, pixels of a side.

    Returns:
      keras.Model of RGB float32 [batch, size, size, 3], in [0, 255], to the activations of block5_pool,
      [batch, size // 32, size // 32, 512].
    """
    images = keras.Input([size, size, 3], name='images')
    preprocessed = keras.layers.Conv2D(3, 1, name=PREPROCESS, trainable=False)(images)
    return keras.applications.vgg16.VGG16(weights=None, include_top=False, input_tensor=preprocessed)


def set_weights(model, weights, as_in_book=False):
    """Puts published weights into the layers of a model that begins with vgg16's.

    Args:
      model: keras.Model.
      weights: dict from networks.vgg.load_weights.
      as_in_book: bool, the cookbook's preprocessing: RGB divided by 255, for a network that learned BGR minus means.
    """
    kernel, bias = (np.eye(3) / 255, np.zeros(3)) if as_in_book else (np.eye(3)[::-1], -np.array(MEAN_RGB[::-1]))
    model.get_layer(PREPROCESS).set_weights([kernel.reshape(1, 1, 3, 3), bias])
    for name, (kernel, bias) in weights.items():
        if name == 'conv1_1':
            kernel = kernel[:, :, ::-1]  # the reader has turned it to RGB
        model.get_layer(name.replace('conv', 'block').replace('_', '_conv')).set_weights([kernel, bias])


def feature_shape(layer, size):
    """Returns the shape (height, width, channels) of a pooling layer's activations for images of `size` pixels."""
    side = size >> int(layer[len('block')])
    return side, side, CHANNELS[layer]


def images_at_once(size):
    """Returns how many images of `size` pixels a side go through the network together: as a gigabyte or two bears."""
    return max(1, IMAGES_AT_ONCE * USUAL_SIZE ** 2 // max(size, USUAL_SIZE) ** 2)


def digest(weights):
    """Returns the SHA-256 of weights from networks.vgg.load_weights, whatever file they are from."""
    result = hashlib.sha256()
    for name in sorted(weights):
        for array in weights[name]:
            result.update(np.ascontiguousarray(array, '<f4').tobytes())
    return result.hexdigest()
