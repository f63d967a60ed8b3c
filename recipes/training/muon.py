"""Muon: momentum whose matrix is made orthogonal before it is applied, for the filters of convolutions.

A gradient's matrix has a few large singular values, and a step along it changes the filters in a few directions. With
its singular values made equal the step changes all directions alike, the rare ones too.

Source: K. Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks,
  https://kellerjordan.github.io/posts/muon/
"""
import numpy as np

from common.session import tf
from training import shared_steps

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the polynomial a x + b x³ + c x⁵ that takes (0, 1] to about 1


def orthogonalize(matrix, num_steps=3):
    """Brings the singular values of a matrix near each other by Newton-Schulz steps; the singular vectors stay.

    Args:
      matrix: float32 [rows, columns].
      num_steps: int. Three bring singular values of at least 0.02 of the Frobenius norm to between 0.68 and 1.21; five
        do so from 0.005 on.

    Returns:
      float32 [rows, columns], near the orthogonal factor of the polar decomposition, U Vᵀ of U S Vᵀ.

    Source: as above; G. Schulz 1933. The coefficients trade exactness for speed: the values need not be 1.
    """
    first, second, third = COEFFICIENTS
    tall = matrix.shape.as_list()[0] > matrix.shape.as_list()[1]
    matrix /= tf.sqrt(tf.reduce_sum(matrix ** 2)) + 1e-7
    for _ in range(num_steps):
        square = tf.matmul(matrix, matrix, transpose_a=tall, transpose_b=not tall)  # the shorter side's
        change = second * square + third * tf.matmul(square, square)
        matrix = first * matrix + (tf.matmul(matrix, change) if tall else tf.matmul(change, matrix))
    return matrix


def minimize(loss, global_step, rate, filters, others, *, figures=(), labels=None, weight_decay=0.0,
             filters_momentum=0.6, momentum=0.85):
    """Makes the operation of one step: Muon for filters, Nesterov's momentum for all else.

    The filters of a layer keep the norm sqrt(maps that they make): each step first scales them to it, so that the rate
    alone says how far a step turns them. That takes the place of weight decay. The momentum is kept in variables that
    are not trained, so a checkpoint holds them.

    Args:
      loss: float32 [].
      global_step: int64 [], which the operation increments.
      rate: float32 [], the learning rate of the filters: the length of a step, whatever the gradient's.
      filters: list of float32 [height, width, maps, new maps], variables.
      others: list of (variable, float32 [] learning rate, float32 [] rate of decay).
      weight_decay: float, in units of the rate of decay; of the others only, decoupled from the gradient.
      filters_momentum, momentum: float in [0, 1), of the filters and of the others.
      figures, labels: see optimization.minimize_with_decay.

    Returns:
      (tf.Operation, the figures).
    """
    variables = filters + [variable for variable, _, _ in others]
    pairs, figures = shared_steps.average(list(zip(tf.gradients(loss, variables), variables)), figures, labels)
    gradients = [gradient for gradient, _ in pairs]
    updates = []
    # The averages of batch normalization, and the gradients, belong to the weights before the step.
    with tf.control_dependencies(gradients + tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        for kernel, gradient in zip(filters, gradients):
            update, keep = _nesterov(kernel, gradient, filters_momentum)
            new_maps = kernel.shape.as_list()[3]
            step = tf.reshape(orthogonalize(tf.reshape(update, [-1, new_maps])), kernel.shape)
            norm = tf.sqrt(tf.reduce_sum(kernel ** 2))
            updates += [keep, kernel.assign(kernel * (np.sqrt(new_maps) / norm) - rate * step)]
        for (variable, own_rate, decay), gradient in zip(others, gradients[len(filters):]):
            update, keep = _nesterov(variable, gradient, momentum)
            updates += [keep, variable.assign(variable * (1.0 - weight_decay * decay) - own_rate * update)]
    with tf.control_dependencies(updates):
        return tf.assign_add(global_step, 1).op, figures


def _nesterov(variable, gradient, momentum):
    """Returns (the update of the same shape, the operation that keeps the momentum for the next step)."""
    slot = tf.get_variable(variable.op.name + '/momentum', variable.shape, trainable=False,
                           initializer=tf.zeros_initializer())
    moving = momentum * slot + gradient
    return gradient + momentum * moving, slot.assign(moving)
