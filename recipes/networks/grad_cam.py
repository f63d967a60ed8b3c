"""Grad-CAM: which places of an image support a class.

Source: Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks via gradient-based localization,
  arXiv 1610.02391, equations 1 and 2.
"""
import contextlib
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from common import parallel, plotting
from common.images import resize_image
from common.session import tf

OPACITY = 0.55      # of the heat map where it is strongest
MAX_ON_SHEET = 48   # images
Tensor = Any


class Explainer(NamedTuple):
    """A classifier, from images on, with the heat maps that explain its predictions."""
    images: Tensor         # placeholder float32 [batch, size, size, 3], RGB in [0, 255]
    classes: Tensor        # int64 [batch], the class that the heat map is about: the one predicted, unless fed
    probabilities: Tensor  # float32 [batch, num_classes]
    heat_maps: Tensor      # float32 [batch, height, width], see grad_cam


def explain(images, activations, logits):
    """Adds the heat maps of a classifier to the default graph.

    Args:
      images: placeholder float32 [batch, size, size, 3], RGB in [0, 255].
      activations: float32 [batch, height, width, channels], of the last convolution.
      logits: float32 [batch, num_classes].

    Returns:
      Explainer.
    """
    classes = tf.placeholder_with_default(tf.argmax(logits, axis=1), [None])
    scores = tf.reduce_sum(tf.one_hot(classes, logits.shape.as_list()[-1]) * logits, axis=1)
    heat_maps = grad_cam(activations, scores)
    return Explainer(images=images, classes=classes, probabilities=tf.nn.softmax(logits), heat_maps=heat_maps)


def grad_cam(activations, scores):
    """Adds the heat maps: the channels of a convolution, each weighted by how much it raises the class's score.

    Args:
      activations: float32 [batch, height, width, channels], of the last convolution, which `scores` comes from.
      scores: float32 [batch], each image's score of the class in question, before the softmax.

    Returns:
      float32 [batch, height, width], at least 0: what counts against the class is not shown.
    """
    gradient, = tf.gradients(scores, activations)
    weights = tf.reduce_mean(gradient, axis=[1, 2], keepdims=True)  # [batch, 1, 1, channels]
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=3))


def overlay(image, heat_map):
    """Draws a heat map over its image, from blue, where it is 0, to red, where it is strongest.

    Args:
      image: uint8 or float32 [height, width, 3], in [0, 255].
      heat_map: float32 [map height, map width], at least 0.

    Returns:
      float32 [height, width, 3], in [0, 255].
    """
    strength = resize_image(heat_map / max(float(heat_map.max()), 1e-12), *image.shape[:2])
    colors = 255 * matplotlib.colormaps['jet'](strength)[..., :3]
    return np.asarray((1 - OPACITY) * np.asarray(image, np.float32) + OPACITY * colors, np.float32)


def draw(path, sess, explainer, image_paths, load_images, class_names, at_once, title=None, writing=None):
    """Classifies images, and draws each beside the heat map of its class.

    Args:
      path: Path of the contact sheet to write.
      sess: tf.Session.
      explainer: Explainer.
      image_paths: sequence of Path; the first MAX_ON_SHEET are drawn.
      load_images: function of a list of Path to uint8 [num_images, size, size, 3].
      class_names: sequence of str.
      at_once: int, images for one step.
      title: str or None.
      writing: context manager around what is written; None for none.

    Returns:
      float32 [len(image_paths), num_classes], probabilities.
    """
    probabilities, shown, captions = [], [], []

    def look_at(start):
        part = list(image_paths[start:start + at_once])
        images, count = load_images(part), max(0, MAX_ON_SHEET - start)
        found, heat_maps = sess.run([explainer.probabilities, explainer.heat_maps], {explainer.images: images})
        return part[:count], images[:count], found, heat_maps[:count]
    for part, images, found, heat_maps in parallel.each(look_at, range(0, len(image_paths), at_once)):
        probabilities.extend(found)
        for name, image, row, heat_map in zip(part, images, found, heat_maps):
            shown += [image, overlay(image, heat_map)]
            captions += [f'{name.name}: {class_names[np.argmax(row)]} {100 * row.max():.1f}\u00a0%', '']
    with writing or contextlib.nullcontext():
        plotting.plot_image_grid(path, shown, captions, columns=min(4, max(len(shown), 1)), title=title)
    return np.array(probabilities)
