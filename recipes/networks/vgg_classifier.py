"""VGG-16 with a new head: a classifier for other classes than ImageNet's, its lower layers frozen or not."""
from typing import Any, NamedTuple

from common.session import keras, tf
from networks import grad_cam, vgg_keras

TOP_LAYER = 'block5_pool'           # the head's input
LAST_CONVOLUTION = 'block5_conv3'   # Grad-CAM's
POOLING = {'average': 'GlobalAveragePooling2D', 'max': 'GlobalMaxPooling2D', 'flatten': 'Flatten'}  # Keras's names


def build(size, num_classes, frozen_up_to, pooling='average', hidden_units=256, dropout=0.5, sigmoid=False, seed=0):
    """Adds VGG-16 with a new head to the default graph; published weights come in by vgg_keras.set_weights.

    Args:
      size: int, pixels of a side.
      num_classes: int.
      frozen_up_to: str, the deepest layer that is not trained; None for none.
      pooling: a key of POOLING: the mean or the maximum of each channel, or all positions.
      hidden_units: int, of the head's ReLU layer; 0 for none.
      dropout: float in [0, 1), the share of units that dropout takes.
      sigmoid: bool, two classes end in one sigmoid, the probability of the second, instead of a softmax over both.
      seed: int, of the head's initial weights.

    Returns:
      keras.Model of RGB float32 [batch, size, size, 3], in [0, 255], to probabilities, [batch, num_classes] or
      [batch, 1].
    """
    layers = keras.layers
    base = vgg_keras.vgg16(size)
    x = getattr(layers, POOLING[pooling])(name='pooled')(base.output)
    if hidden_units:
        x = layers.Dense(hidden_units, activation='relu', name='hidden',
                         kernel_initializer=keras.initializers.he_normal(seed))(x)
    x = layers.Dropout(dropout, name='dropout')(x)
    sigmoid = sigmoid and num_classes == 2
    # Nearly zero: no class is preferred, whatever the size of what comes in.
    x = layers.Dense(1 if sigmoid else num_classes, name='logits',
                     kernel_initializer=keras.initializers.RandomNormal(stddev=0.001, seed=seed))(x)
    x = layers.Activation('sigmoid' if sigmoid else 'softmax', name='probabilities')(x)
    model = keras.Model(base.input, x, name='vgg16_classifier')
    above = layers_above(model, frozen_up_to) if frozen_up_to else model.layers
    for layer in model.layers:
        layer.trainable = layer in above and layer.name != vgg_keras.PREPROCESS
    return model


def layers_above(model, name):
    """Returns the layers of a model that come after the one of that name."""
    return model.layers[[layer.name for layer in model.layers].index(name) + 1:]


def logits_from(model, layer_name, activations, keep_prob, dropout_seed):
    """Builds the model's layers anew, with the same weights, from one layer's activations on.

    Args:
      model: keras.Model from `build`.
      layer_name: str, the layer whose activations they are; None for images.
      activations: float32 [batch] + the layer's shape.
      keep_prob: float32 [], the probability that dropout keeps a unit.
      dropout_seed: int32 [2]. The same seed draws the same units.

    Returns:
      float32 [batch, num_classes].
    """
    x = activations
    for layer in layers_above(model, layer_name or model.layers[0].name)[:-1]:
        if layer.name == 'dropout':
            # Keras's own draws from a counter that no checkpoint holds; a mask from seed and step resumes exactly.
            kept = tf.random.stateless_uniform(tf.shape(x), dropout_seed) < keep_prob
            x = x * tf.cast(kept, tf.float32) / keep_prob
        else:
            x = layer.call(x)  # as a function: layer(x) would note that the model uses it twice
    return _of_each_class(x)


def _of_each_class(logits):
    """Gives the one logit z of a sigmoid as the two, -z/2 and z/2, whose softmax is the same; others stay as they are.

    Not as 0 and z: Grad-CAM asks what raises a class's logit, and nothing raises a 0.
    """
    return logits if logits.shape[-1].value > 1 else tf.concat([-logits / 2, logits / 2], axis=1)


class Explained(NamedTuple):
    """The whole network, from images on, with what Grad-CAM says about them."""
    images: Any          # placeholder float32 [batch, size, size, 3], RGB in [0, 255]
    classes: Any         # int64 [batch], which class the maps are about: the one predicted, unless fed
    probabilities: Any   # float32 [batch, num_classes]
    maps: Any            # float32 [batch, size / 16, size / 16], see grad_cam


def explain(model):
    """Adds Grad-CAM at the last convolution to the default graph.

    Args:
      model: keras.Model from `build`.

    Returns:
      Explained.
    """
    logits = _of_each_class(model.get_layer('logits').output)
    classes = tf.placeholder_with_default(tf.argmax(logits, axis=1), [None])
    scores = tf.reduce_sum(tf.one_hot(classes, logits.shape[-1].value) * logits, axis=1)
    maps = grad_cam.grad_cam(model.get_layer(LAST_CONVOLUTION).output, scores)
    return Explained(model.input, classes, tf.nn.softmax(logits), maps)
