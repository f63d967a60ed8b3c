"""Small random changes of a picture between two steps: what only one exact position would answer to, averages out.

A network's answer to a pattern that is moved by a pixel, turned or scaled can be another altogether; what is drawn is
to be what it answers to however it lies. All pictures of a batch are changed alike, so that each is what it would have
been alone. Shift, scale and turn are one resampling in the graph, which gradients pass through.

Source: Olah, Mordvintsev and Schubert 2017, Feature Visualization (Distill), section "Transformation Robustness".
"""
import math

from common.session import tf

PADDING = 127.5     # the gray around a picture


def transform(images, seed, jitter, scale, degrees):
    """Shifts, scales and turns pictures around their center, at random; gray comes in at the edges.

    Args:
      images: float32 [batch, height, width, 3] of known height and width.
      seed: int32 [2], such as (seed, step): the same changes for the same seed.
      jitter: float, pixels; shifts are up to so many both ways.
      scale: float at least 1; a picture is shrunk or enlarged by up to this factor.
      degrees: float, turns are up to so many both ways.

    Returns:
      float32 of the same shape.
    """
    drawn = tf.random.stateless_uniform([4], seed, minval=-1.0)
    return resample(images, shift=jitter * drawn[:2], scale=tf.exp(math.log(scale) * drawn[2]),
                    angle=math.radians(degrees) * drawn[3])


def resample(images, shift, scale, angle):
    """Moves pictures: each pixel is interpolated between four of the picture, which gray surrounds.

    Args:
      images: float32 [batch, height, width, channels] of known height and width.
      shift: float32 [2], pixels down and right.
      scale: float32 scalar; 2 is twice as large.
      angle: float32 scalar, radians, clockwise.

    Returns:
      float32 of the same shape.
    """
    height, width, channels = images.shape.as_list()[1:]
    down = (tf.range(height, dtype=tf.float32) - (height - 1) / 2 - shift[0])[:, tf.newaxis] / scale
    right = (tf.range(width, dtype=tf.float32) - (width - 1) / 2 - shift[1])[tf.newaxis] / scale
    rows = tf.cos(angle) * down - tf.sin(angle) * right + (height - 1) / 2
    columns = tf.sin(angle) * down + tf.cos(angle) * right + (width - 1) / 2
    top, left = tf.floor(rows), tf.floor(columns)
    pixels = tf.reshape(tf.transpose(images - PADDING, [1, 2, 0, 3]), [height * width, -1])
    parts = []
    for row, row_weight in (top, 1 - (rows - top)), (top + 1, rows - top):
        for column, column_weight in (left, 1 - (columns - left)), (left + 1, columns - left):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = tf.where(inside, row * width + column, tf.zeros_like(row))
            weight = row_weight * column_weight * tf.cast(inside, tf.float32)
            taken = tf.gather(pixels, tf.cast(tf.reshape(index, [-1]), tf.int32))
            parts.append(taken * tf.reshape(weight, [-1, 1]))
    moved = tf.reshape(tf.add_n(parts), [height, width, -1, channels])
    return tf.transpose(moved, [2, 0, 1, 3]) + PADDING
