"""The network of airbench94_muon, made to reach 94 % on CIFAR-10 as soon as possible, and what it is trained with.

Three blocks of two convolutions, with 64, 256 and 256 maps: wide and shallow, since a processor, too, works best on
large products of matrices. A fixed first layer makes neighboring pixels uncorrelated, so that training need not learn
to. Batch normalization learns no scale, the filters start as the identity, the last layer has no bias.

Source: K. Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds, arXiv 2404.00498, and airbench94_muon.py of his repository
  cifar10-airbench; D. Page 2018, How to train your ResNet. There GELU; SiLU is as accurate and, on a processor, takes a
  fraction of its time. No lookahead, no change of the images' brightness.
"""
import numpy as np

from common.session import tf
from networks import convolution_gradients

MAPS = 64, 256, 256            # of the blocks
NUM_CLASSES = 10
NORM_DECAY = 0.6               # of the averages that batch normalization keeps, per step
# What it is trained with; the learning rate is the filters', by Muon.
SETTINGS = {'epochs': 7, 'batch_size': 500, 'learning_rate': 0.12, 'keep_prob': 1.0, 'label_smoothing': 0.2,
            'weight_decay': 0.054, 'augment': 'alternating'}
# Learning rates in units of that of the filters. Per image of a batch of 500 these are 0.053 and 0.67.
BIAS_RATE, HEAD_RATE = 220.0, 2800.0
TTA_SHIFT = 1                  # pixels, by which test-time augmentation shifts images, too
WHITENING_FRACTION = 3 / 7     # of the steps, in which the whitening layer's bias is trained: three epochs of seven


def network(pixels, is_training, patches):
    """Builds the network.

    Args:
      pixels: float32 [batch, 32, 32, 3], normalized.
      is_training: bool [], whether batches are normalized by their own mean and variance.
      patches: float32 [2, 2, 3, 24], the first layer's filters; see whitening_filters.

    Returns:
      (float32 [batch, 10] logits, float32 [2, 2, 3, 24] the first layer's filters).
    """
    whitening = tf.get_variable('patches', initializer=patches, trainable=False)
    bias = tf.get_variable('whitening_bias', [patches.shape[-1]], initializer=tf.zeros_initializer())
    layer = tf.nn.swish(tf.nn.conv2d(pixels, whitening, 1, 'VALID') + bias)                      # [batch, 31, 31, 24]
    with convolution_gradients.gradients_as_convolutions():
        for block, num_maps in enumerate(MAPS, 1):                                        # 15, 7, 3 pixels each side
            layer = _convolve(f'filters{block}a', layer, num_maps)
            layer = _normalize(tf.nn.max_pool2d(layer, 2, 2, 'VALID'), is_training)
            layer = _convolve(f'filters{block}b', layer, num_maps)
            layer = _normalize(layer, is_training)
    layer = tf.reduce_max(layer, axis=[1, 2])                                                          # [batch, 256]
    start = tf.random_uniform([layer.shape.as_list()[1], NUM_CLASSES], -1.0, 1.0)
    head = tf.get_variable('head', initializer=start / tf.sqrt(tf.reduce_mean((start - tf.reduce_mean(start)) ** 2)))
    return tf.matmul(layer, head) / 256.0, whitening


def _convolve(name, layer, num_maps):
    filters = tf.get_variable(name, initializer=identity_filters(layer.shape.as_list()[3], num_maps))
    return tf.nn.conv2d(layer, filters, 1, 'SAME')


def _normalize(layer, is_training):
    """Normalizes each map over the batch and adds a bias, then SiLU."""
    return tf.nn.swish(tf.layers.batch_normalization(layer, momentum=NORM_DECAY, epsilon=1e-5, scale=False,
                                                     training=is_training, fused=True))


def whitening_filters(pixels):
    """Computes the filters that make the values of a 2x2 patch uncorrelated and of variance 1, and their negatives.

    Args:
      pixels: float32 [num_images, 32, 32, 3], normalized; a few thousand suffice.

    Returns:
      float32 [2, 2, 3, 24]. The negatives keep what SiLU, behind them, nearly cuts off.

    Source: D. Page 2018, How to train your ResNet, 8; arXiv 2404.00498, section 3.2.
    """
    corners = [pixels[:, row:row + 31, column:column + 31] for row in (0, 1) for column in (0, 1)]
    patches = np.stack(corners, axis=-2).reshape(-1, 12)  # row, column, channel
    variances, directions = np.linalg.eigh(patches.T.astype(np.float64) @ patches / len(patches))
    filters = (directions / np.sqrt(variances + 5e-4)).reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=3).astype(np.float32)


def identity_filters(maps, new_maps):
    """Draws filters of which the first pass their input on as it is.

    Args:
      maps: int, of the input.
      new_maps: int, of the output.

    Returns:
      float32 [3, 3, maps, new_maps], a tensor: the first min(maps, new_maps) output maps are the input's, the others
      random, uniform in ±1 / sqrt(9 maps).

    Source: S. Zagoruyko, N. Komodakis 2017, DiracNets, arXiv 1706.00388; arXiv 2404.00498.
    """
    identity = np.zeros([3, 3, maps, new_maps], np.float32)
    identity[1, 1] = np.eye(maps, new_maps)
    bound = 1 / np.sqrt(9 * maps)
    return identity + tf.random_uniform(identity.shape, -bound, bound) * np.float32(np.arange(new_maps) >= maps)


def rates(learning_rate, progress):
    """Says how the trained variables of the default graph are trained.

    Args:
      learning_rate: float, of the filters at the start; all rates fall linearly to zero.
      progress: float32 [], the fraction of the training that is done.

    Returns:
      (float32 [] the learning rate of the filters, list of the filters of the 3x3 convolutions,
       [(variable, float32 [] learning rate, float32 [] rate of decay)] of all others).
    """
    rate = learning_rate * (1.0 - progress)
    whitening_rate = learning_rate * tf.maximum(1.0 - progress / WHITENING_FRACTION, 0.0)
    filters, others = [], []
    for variable in tf.trainable_variables():
        if variable.shape.ndims == 4:
            filters.append(variable)
        elif variable.op.name == 'whitening_bias':
            others.append((variable, BIAS_RATE * whitening_rate, whitening_rate))
        else:
            others.append((variable, (HEAD_RATE if variable.op.name == 'head' else BIAS_RATE) * rate, rate))
    return rate, filters, others
