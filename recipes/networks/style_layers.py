"""Layers of feed-forward style networks, in as few passes over memory as they need.

At full size a layer of 32 channels is a hundred times a processor's cache, so that what moves memory, and not what
multiplies, takes the time.
"""
import numpy as np

from common.session import tf

WIDE = 4  # columns that a kernel of 9 x 9 sees at a time; 9 - 1 + WIDE is a multiple of it


def moments(layer):
    """Computes mean and variance of every channel of every image.

    By rows first: float32 sums over a million positions, one after the other, would cost three digits.
    """
    def mean(values):
        return tf.reduce_mean(tf.reduce_mean(values, 1, keepdims=True), 2, keepdims=True)
    average = mean(layer)
    return average, mean(tf.squared_difference(layer, average))


def convolve(layer, kernel, stride=1):
    """Convolves with 3 x 3, padded by reflection."""
    return tf.nn.conv2d(pad(layer, 1), tf.constant(kernel), stride, 'VALID')


def pad(layer, margin, more_columns=0, repeat_edge=False):
    """Pads by reflection, as tf.pad does in four times the time: every position is taken from where it lies.

    Args:
      layer: float32 [batch, height, width, channels].
      margin: int, rows and columns on each side.
      more_columns: int or int32 scalar, on the right.
      repeat_edge: bool, the edge's own rows and columns are reflected, too.
    """
    def sources(size, more):
        places = tf.range(-margin, size + margin + more)
        if repeat_edge:
            return tf.clip_by_value(places, 0, size - 1)  # of a margin of 1
        return size - 1 - tf.abs(size - 1 - tf.abs(places))
    shape = tf.shape(layer)
    rows, columns = sources(shape[1], 0), sources(shape[2], more_columns)
    places = tf.reshape(layer, [shape[0], -1, layer.shape[-1]])
    taken = tf.gather(places, rows[:, tf.newaxis] * shape[2] + columns, axis=1)
    return tf.reshape(taken, [shape[0], tf.size(rows), tf.size(columns), layer.shape[-1]])


def convolve_widely(layer, kernel):
    """Convolves with 9 x 9, padded by reflection: WIDE columns at a time.

    A layer of three or four channels makes small work for a processor. Of WIDE neighboring columns, their channels one
    after the other, it makes one position, by another shape alone; the kernel, at each of WIDE places among zeros,
    gives as many columns of the result at once.
    """
    size, _, depth, channels = kernel.shape
    width = tf.shape(layer)[2]
    padded = pad(layer, size // 2, more_columns=-width % WIDE)
    shape = tf.shape(padded)
    wide = np.zeros([size, size - 1 + WIDE, depth, WIDE, channels], kernel.dtype)
    for column in range(WIDE):
        wide[:, column:column + size, :, column] = kernel
    wide = tf.constant(wide.reshape([size, -1, WIDE * depth, WIDE * channels]))
    layer = tf.nn.conv2d(tf.reshape(padded, [shape[0], shape[1], -1, WIDE * depth]), wide, 1, 'VALID')
    return tf.reshape(layer, [shape[0], shape[1] - size + 1, -1, channels])[:, :, :width]


def upsample_and_convolve(layer, kernel):
    """Doubles rows and columns (nearest neighbor), then convolves with 3 x 3, padded by reflection: in one convolution.

    A row of the doubled layer sees two rows of the layer itself, so that four convolutions of 2 x 2, one for each of
    the four positions that come from one, give the same with fewer products, and nothing is doubled. The doubled
    layer's first row is reflected onto the same row of the layer: symmetric padding.
    """
    _, _, depth, channels = kernel.shape
    phases = np.zeros([3, 3, depth, 2, 2, channels], kernel.dtype)
    for row, column, y, x in np.ndindex(2, 2, 3, 3):
        phases[(row + y + 1) // 2, (column + x + 1) // 2, :, row, column] += kernel[y, x]
    phases = tf.constant(phases.reshape([3, 3, depth, 4 * channels]))
    return tf.depth_to_space(tf.nn.conv2d(pad(layer, 1, repeat_edge=True), phases, 1, 'VALID'), 2)
