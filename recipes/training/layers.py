"""Layers and initial weights that the recipes share."""
import numpy as np

from common.session import tf


def dropout(layer, keep_prob, seed):
    """Drops units at random, the same ones for the same seed.

    tf.nn.dropout, tflearn's and Keras's draw from a counter that no checkpoint holds; a mask drawn from (seed, step)
    is the same after a resumption.

    Args:
      layer: float32 [batch, units].
      keep_prob: float32 [], the probability of keeping a unit.
      seed: int32 [2], the run's seed and the step.

    Returns:
      float32 [batch, units]; what is kept is divided by keep_prob.

    Source: Srivastava et al. 2014, Dropout, Journal of Machine Learning Research 15.
    """
    with tf.name_scope('dropout'):
        kept = tf.random.stateless_uniform(tf.shape(layer), seed) < keep_prob
        return layer * tf.cast(kept, tf.float32) / keep_prob


def he_stddev(fan_in):
    """Returns the standard deviation of initial weights that keeps the size of activations from layer to layer.

    Source: He et al. 2015, arXiv 1502.01852, eq. 10.
    """
    return np.sqrt(2.0 / fan_in)
