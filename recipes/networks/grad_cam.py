"""Grad-CAM: which places of a picture speak for a class.

Source: Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks via gradient-based localization,
  arXiv 1610.02391, equations 1 and 2.
"""
import matplotlib
import numpy as np

from common import images as pictures
from common.session import tf

OPACITY = 0.55  # of the map where it is strongest


def grad_cam(activations, scores):
    """Builds the maps: the channels of a convolution, each weighted by how much it raises the class's score.

    Args:
      activations: float32 [batch, height, width, channels], of the last convolution, which `scores` comes from.
      scores: float32 [batch], each image's score of the class in question, before the softmax.

    Returns:
      float32 [batch, height, width], at least 0: what speaks against the class is not shown.
    """
    gradient, = tf.gradients(scores, activations)
    weights = tf.reduce_mean(gradient, axis=[1, 2], keepdims=True)  # [batch, 1, 1, channels]
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=3))


def overlay(image, heat_map):
    """Draws a map over its picture, from blue, where it is 0, to red, where it is strongest.

    Args:
      image: uint8 or float32 [height, width, 3], in [0, 255].
      heat_map: float32 [map height, map width], at least 0.

    Returns:
      float32 [height, width, 3], in [0, 255].
    """
    strength = pictures.resize_image(heat_map / max(float(heat_map.max()), 1e-12), *image.shape[:2])
    colors = 255 * matplotlib.colormaps['jet'](strength)[..., :3]
    return np.asarray((1 - OPACITY) * np.asarray(image, np.float32) + OPACITY * colors, np.float32)
