"""What resumes with the step: learning rates, dropout; and weight decay, class weights."""
import numpy as np

from common.session import tf
from training import shared_steps


def cosine(step, num_steps, peak, warmup_steps=0):
    """Computes a learning rate that rises linearly, then falls along half a cosine to zero at the last step.

    Args:
      step: int64 [], steps done.
      num_steps, warmup_steps: int, of the whole training and of its rise.
      peak: float.

    Returns:
      float32 [].

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one period; warm-up as in Goyal et al. 2017, arXiv
      1706.02677.
    """
    step = tf.cast(step, tf.float32)
    if warmup_steps:
        peak = peak * tf.minimum(1.0, (step + 1.0) / warmup_steps)
    return peak * 0.5 * (1.0 + tf.cos(np.pi * step / max(num_steps, 1)))


def minimize_with_decay(loss, optimizer, global_step, decay=None, figures=(), labels=None):
    """Makes the operation of one step, in which the weights (not the biases) decay apart from the gradient.

    In the loss, Adam would divide the decay of a weight by the size of its gradients.

    Args:
      loss: float32 [].
      optimizer: tf.train.Optimizer.
      global_step: int64 [], which the operation increments.
      decay: float32 [], the fraction of each weight that is taken off; None for none.
      figures: sequence of float32 [], means over this process's part of the batch, such as the loss.
      labels: int64 [part of the batch], for their number.

    Returns:
      (tf.Operation, the figures, means over the whole batch; see shared_steps.average).

    Source: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
    """
    gradients, figures = shared_steps.average(optimizer.compute_gradients(loss), figures, labels)
    kernels = [variable for variable in tf.trainable_variables() if variable.shape.ndims > 1 and decay is not None]
    # The averages of batch normalization, and the gradients, belong to the weights before the step.
    before = [gradient for gradient, _ in gradients] + tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(before):
        decayed = [kernel.assign(kernel * (1.0 - decay)) for kernel in kernels]
    with tf.control_dependencies(before + decayed):
        return optimizer.apply_gradients(gradients, global_step), figures


def dropout(layer, keep_prob, seed):
    """Drops units at random, the same ones for the same seed.

    The random state of tf.nn.dropout, tflearn's and Keras's is not stored in checkpoints; a mask drawn from
    (seed, step) is the same after a resumption.

    Args:
      layer: float32 [batch, units].
      keep_prob: float32 [], the probability of keeping a unit.
      seed: int32 [2], the run's seed and the step.

    Returns:
      float32 [batch, units]; the units that stay are divided by keep_prob.

    Source: Srivastava et al. 2014, Dropout, Journal of Machine Learning Research 15.
    """
    with tf.name_scope('dropout'):
        kept = shared_steps.draw(tf.shape(layer), seed) < keep_prob
        kept.set_shape(layer.shape)
        return layer * tf.cast(kept, tf.float32) / keep_prob


def class_weights(labels, balanced=True):
    """Computes the factors with which the classes enter the loss.

    Args:
      labels: int [num_images].
      balanced: bool, let every class count the same, rare or not; else all factors are 1.

    Returns:
      float [num_classes].
    """
    counts = np.bincount(labels)
    return counts.sum() / (len(counts) * counts) if balanced else np.ones(len(counts))
