"""Attribution: which pixels of an image a classifier's answer comes from, by four methods.

Integrated gradients adds up the gradient on the way from a gray image to the image; what it gives to all pixels adds up
to the difference of the two answers. SmoothGrad is the mean gradient over noisy copies. Occlusion covers one patch
after the other and notes what the answer loses. Grad-CAM weighs the channels of the last convolution.
"""
from typing import Any, NamedTuple

import numpy as np

from common import images as pictures
from common.session import tf
from networks.grad_cam import grad_cam

METHODS = 'integrated gradients', 'SmoothGrad', 'occlusion', 'Grad-CAM'
STEPS, TAGS = 50, 4         # of integrated gradients; points in each to choose from
SAMPLES, NOISE = 25, 0.15   # of SmoothGrad; its noise's standard deviation, of the image's range
PATCHES = 7                 # that cover a side without overlap; occlusion moves by half a patch
AT_ONCE = 10                # images in one step
STRONGEST = 99              # percentile of a map that is drawn at full strength


class Attribution(NamedTuple):
    """A classifier and what explains its answer, for one class at a time."""
    images: Any         # placeholder float32 [batch, height, width, 3], RGB in [0, 255]
    number: Any         # placeholder int32 [], the class
    probabilities: Any  # float32 [batch, num_classes]
    score: Any          # float32 [batch], the class's probability
    gradient: Any       # float32 [batch, height, width, 3], of the score
    logit_gradient: Any  # the same, of the class's logit
    heat_maps: Any      # float32 [batch, map height, map width], Grad-CAM; None without a layer with positions


def build(network, height, width, find_logits):
    """Adds a classifier with its gradients to the default graph.

    Args:
      network: function of float32 [batch, height, width, 3], RGB in [0, 255], to a dict from layer name to tensor.
      height, width: int, pixels.
      find_logits: function of that dict to the name of the layer before the softmax.

    Returns:
      Attribution.
    """
    images = tf.placeholder(tf.float32, [None, height, width, 3], name='explained')
    number = tf.placeholder(tf.int32, [], name='class')
    end_points = network(images)
    logits = end_points[find_logits(end_points)]
    probabilities = tf.nn.softmax(logits)
    last = find_last_convolution(end_points, logits)
    return Attribution(images=images, number=number, probabilities=probabilities, score=probabilities[:, number],
                       gradient=tf.gradients(probabilities[:, number], images)[0],
                       logit_gradient=tf.gradients(logits[:, number], images)[0],
                       heat_maps=None if last is None else grad_cam(last, logits[:, number]))


def find_last_convolution(end_points, logits):
    """Returns the last layer with several positions that the logits come from; None where there is none."""
    for tensor in reversed(list(end_points.values())):
        shape = tensor.shape.as_list()
        if len(shape) == 4 and (shape[1] or 1) > 1 and tf.gradients(logits, tensor)[0] is not None:
            return tensor
    return None


class Explainer:
    """An Attribution in a session: functions of one image and the number of a class.

    Args:
      sess: tf.Session.
      graph: Attribution.
    """

    def __init__(self, sess, graph):
        self.sess, self.graph = sess, graph

    def explain(self, image, number, seed=0):
        """Explains a class by all METHODS.

        Args:
          image: float32 [height, width, 3] in [0, 255].
          number: int, of the class.
          seed: int, of SmoothGrad's noise.

        Returns:
          ({method: float32 [height, width]}; float, what the sum of integrated gradients is off, relative to what they
          are to add up to).
        """
        integrated, difference = self.integrated_gradients(image, number)
        maps = dict(zip(METHODS, (integrated, self.smooth_grad(image, number, seed), self.occlusion(image, number),
                                  self.grad_cam(image, number))))
        gap = abs(float(integrated.sum(dtype=np.float64)) - difference) / max(abs(difference), 1e-12)
        return {method: found for method, found in maps.items() if found is not None}, gap

    def probabilities(self, image):
        """Returns float32 [num_classes]."""
        return self.sess.run(self.graph.probabilities, {self.graph.images: image[np.newaxis]})[0]

    def run(self, tensor, images, number):
        """Computes a tensor for many images, a few at a time."""
        return np.concatenate([self.sess.run(tensor, {self.graph.images: images[start:start + AT_ONCE],
                                                      self.graph.number: number})
                               for start in range(0, len(images), AT_ONCE)])

    def integrated_gradients(self, image, number, baseline=127.5, steps=STEPS):
        """Computes what each pixel adds to the class's probability.

        Args:
          image: float32 [height, width, 3] in [0, 255].
          number: int, of the class.
          baseline: float, the gray of the image without content that the way begins with.
          steps: int, gradients on the way.

        Returns:
          (float32 [height, width], which adds up to about the second; float, probability of the image less that of the
          baseline).

        Source: Sundararajan, Taly and Yan 2017, Axiomatic Attribution for Deep Networks, arXiv 1703.01365, equation 3.
          A network's gradient is rough: with those in the middle of each step the sum is up to 5 % off. Here each is
          taken at the one of TAGS points of its step whose slope keeps the sum closest to the probability so far.
        """
        difference = image - np.float32(baseline)
        scores = self.along(self.graph.score, difference, baseline, np.linspace(0, 1, steps * TAGS + 1), number)
        scores = scores.astype(np.float64)
        slopes = TAGS * np.diff(scores).reshape(steps, TAGS)    # what a step would add with the slope at each point
        changes = np.diff(scores[::TAGS])                       # what it is to add
        total, off = np.zeros_like(image, np.float64), 0.0
        for start in range(0, steps, AT_ONCE):
            tags = choose_tags(slopes[start:start + AT_ONCE], changes[start:start + AT_ONCE], off)
            ways = (start + np.arange(len(tags)) + (tags + 0.5) / TAGS) / steps
            total += self.along(self.graph.gradient, difference, baseline, ways, number).sum(axis=0,
                                                                                             dtype=np.float64) / steps
            off = changes[:start + AT_ONCE].sum() - (total * difference).sum()
        return np.sum(total * difference, axis=-1).astype(np.float32), float(scores[-1] - scores[0])

    def along(self, tensor, difference, baseline, ways, number):
        """Computes a tensor for images on the way, a few at a time."""
        return np.concatenate([self.run(tensor, on_the_way(difference, baseline, ways[start:start + AT_ONCE]), number)
                               for start in range(0, len(ways), AT_ONCE)])

    def smooth_grad(self, image, number, seed=0):
        """Computes the mean size of the logit's gradient over noisy copies of an image: float32 [height, width].

        Source: Smilkov et al. 2017, SmoothGrad, arXiv 1706.03825: the gradients are averaged with their signs.
        """
        random = np.random.RandomState(seed)
        noisy = image + random.normal(0, NOISE * max(float(np.ptp(image)), 1), (SAMPLES, *image.shape))
        gradients = self.run(self.graph.logit_gradient, noisy.astype(np.float32), number)
        return np.abs(gradients.mean(axis=0)).sum(axis=-1)

    def occlusion(self, image, number, baseline=127.5):
        """Computes what the class's probability loses where a gray patch lies: float32 [height, width].

        Source: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2.
        """
        height, width = image.shape[:2]
        patch = max(2, height // PATCHES), max(2, width // PATCHES)
        places = [(top, left) for top in range(-patch[0] // 2, height, patch[0] // 2)
                  for left in range(-patch[1] // 2, width, patch[1] // 2)]
        whole = self.run(self.graph.score, image[np.newaxis], number)[0]
        lost, covered = np.zeros([height, width]), np.zeros([height, width])
        for start in range(0, len(places), AT_ONCE):
            part = [(slice(max(top, 0), top + patch[0]), slice(max(left, 0), left + patch[1]))
                    for top, left in places[start:start + AT_ONCE]]
            copies = np.repeat(image[np.newaxis], len(part), axis=0)
            for copy, place in zip(copies, part):
                copy[place] = baseline
            for score, place in zip(self.run(self.graph.score, copies, number), part):
                lost[place] += whole - score
                covered[place] += 1
        return (lost / np.maximum(covered, 1)).astype(np.float32)

    def grad_cam(self, image, number):
        """Computes the heat map of grad_cam.grad_cam, enlarged to the image: float32 [height, width]; or None."""
        if self.graph.heat_maps is None:
            return None
        return pictures.resize_image(self.run(self.graph.heat_maps, image[np.newaxis], number)[0], *image.shape[:2])


def choose_tags(slopes, changes, off=0.0):
    """Chooses where in each step of an integral the integrand is taken.

    Args:
      slopes: float64 [steps, tags], about what a step adds with each choice.
      changes: float64 [steps], what it is to add.
      off: float, what the sum lacks before.

    Returns:
      int [steps]; what one step adds too much or too little, the next ones make up for.
    """
    tags = []
    for step, change in zip(slopes, changes):
        tags.append(int(np.abs(step - (change + off)).argmin()))
        off += change - step[tags[-1]]
    return np.array(tags)


def on_the_way(difference, baseline, ways):
    """Returns the images baseline + way * difference: float32 [len(ways), height, width, 3]."""
    return np.float32(baseline) + np.float32(ways)[:, np.newaxis, np.newaxis, np.newaxis] * difference


def draw(image, attribution):
    """Draws a map over its image in pale gray: red supports the class, blue speaks against it.

    Args:
      image: float32 [height, width, 3] in [0, 255].
      attribution: float32 [height, width].

    Returns:
      float32 [height, width, 3] in [0, 255].
    """
    pale = 255 - 0.35 * (255 - pictures.to_gray(image))[..., np.newaxis]
    strength = attribution / max(float(np.percentile(np.abs(attribution), STRONGEST)), 1e-12)
    color = np.where(strength[..., np.newaxis] > 0, np.float32([200, 0, 0]), np.float32([0, 60, 220]))
    opacity = np.minimum(np.abs(strength), 1)[..., np.newaxis]
    return ((1 - opacity) * pale + opacity * color).astype(np.float32)
