"""VGG-16 in Keras's layers, to be trained further: its published weights, its preprocessing as a layer, its export.

The preprocessing is a 1x1 convolution, which puts the channels in the order BGR and subtracts ImageNet's means. It is
exact, and a plain layer: whoever loads the model, wherever, gives it RGB in [0, 255] and need not know of it.
"""
import contextlib
import hashlib
import json

import numpy as np

from common import files, session
from common.session import keras, tf
from networks import grad_cam
from networks.vgg import MEAN_RGB

PREPROCESS = 'preprocess'
LAST_CONVOLUTION, TOP_LAYER = 'block5_conv3', 'block5_pool'
CHANNELS = {'block1_pool': 64, 'block2_pool': 128, 'block3_pool': 256, 'block4_pool': 512, 'block5_pool': 512}
SMALLEST_SIZE = 32  # pixels: five poolings by 2
IMAGES_AT_ONCE, USUAL_SIZE = 16, 256


@contextlib.contextmanager
def open_session(device='auto', threads=None, xla=False):
    """Opens a session for Keras's layers, in a graph of its own; see common.session.open_session.

    Yields:
      tf.Session.
    """
    with tf.Graph().as_default(), session.open_session(device=device, threads=threads, xla=xla) as sess:
        tf.set_random_seed(0)  # a GPU's deterministic operations ask for a seed, of weights too that are replaced
        keras.backend.set_session(sess)
        yield sess


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
    values = {PREPROCESS: (kernel.reshape(1, 1, 3, 3), bias)}
    for name, (kernel, bias) in weights.items():
        if name == 'conv1_1':
            kernel = kernel[:, :, ::-1]  # the reader has turned it to RGB
        values[name.replace('conv', 'block').replace('_', '_conv')] = kernel, bias
    keras.backend.batch_set_value([  # in one run of the session; Layer.set_weights takes one for each layer
        pair for name, arrays in values.items() for pair in zip(model.get_layer(name).weights, arrays)])


def layers_above(model, name):
    """Returns the layers of a model that come after the one of that name; all but the input where it is None."""
    return model.layers[[layer.name for layer in model.layers].index(name or model.layers[0].name) + 1:]


def logits_from(model, layer, activations, dropout):
    """Builds a classifier's layers again, with the same weights, from one layer's activations on.

    Args:
      model: keras.Model that ends in logits and an activation.
      layer: str, the layer whose activations they are; None for images.
      activations: float32 [batch] + the layer's shape.
      dropout: function of float32 [batch, units], in the place of the layer 'dropout': Keras's cannot be resumed.

    Returns:
      float32 [batch, num_classes].
    """
    x = activations
    for upper in layers_above(model, layer)[:-1]:
        # As a function: upper(x) would add to the model itself.
        x = dropout(x) if upper.name == 'dropout' else upper.call(x)
    return of_each_class(x)


def of_each_class(logits):
    """Turns the one logit z of a sigmoid into two, -z/2 and z/2, whose softmax is the same; others stay as they are.

    Not into 0 and z: Grad-CAM asks what raises a class's logit, and nothing raises a 0.
    """
    return logits if logits.shape.as_list()[-1] > 1 else tf.concat([-logits / 2, logits / 2], axis=1)


def explain(model):
    """Adds Grad-CAM at the last convolution of a classifier to the default graph; returns a grad_cam.Explainer."""
    return grad_cam.explain(model.input, model.get_layer(LAST_CONVOLUTION).output,
                            of_each_class(model.get_layer('logits').output))


def freeze(model, name):
    """Lets a model train the layers above the one of that name alone; all but the preprocessing where it is None."""
    trained = layers_above(model, name)
    for layer in model.layers:
        layer.trainable = layer in trained and layer.name != PREPROCESS


def feature_shape(layer, size):
    """Returns the shape (height, width, channels) of a pooling layer's activations for images of `size` pixels."""
    side = size >> int(layer[len('block')])
    return side, side, CHANNELS[layer]


def images_at_once(size):
    """Returns how many images of `size` pixels a side fit into one evaluation step of one or two gigabytes."""
    return max(1, IMAGES_AT_ONCE * USUAL_SIZE ** 2 // max(size, USUAL_SIZE) ** 2)


def fingerprint(weights):
    """Returns the SHA-256 of weights from networks.vgg.load_weights, whatever file they are from; hexadecimal."""
    result = hashlib.sha256()
    for name in sorted(weights):
        for array in weights[name]:
            result.update(np.ascontiguousarray(array, '<f4').tobytes())
    return result.hexdigest()


def save_summary(model, path):
    """Writes Keras's table of the model's layers as a text file."""
    lines = []
    model.summary(line_length=80, print_fn=lines.append)
    with files.replacing(path) as beside:
        beside.write_text('\n'.join(lines) + '\n')


def save_h5(model, path, class_names):
    """Writes a classifier as Keras's .h5, with its classes as JSON in the attribute 'class_names'.

    Args:
      model: keras.Model.
      path: Path.
      class_names: sequence of str.

    Returns:
      Path, `path`.

    Raises:
      OSError: it cannot be written; the disk is full, for instance.
    """
    import h5py
    # Into memory first: HDF5, writing to a file itself, does not say that the disk is full.
    with h5py.File(path.name, 'w', driver='core', backing_store=False) as file:
        model.save(file)
        file.attrs['class_names'] = json.dumps(list(class_names))
        file.flush()
        content = file.id.get_file_image()
    with files.replacing(path) as beside:
        beside.write_bytes(content)
    return path
