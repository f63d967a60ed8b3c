"""What makes a training step of several processes that of one: dropout of the whole batch, means over all its parts."""
from functools import partial

import numpy as np

from common import parallel
from common.session import tf

_MOVING = 'moving_mean', 'moving_variance'  # variables of batch normalization
_ALIGNED = 16  # numbers: where each tensor begins, so that TensorFlow takes it without a copy


def draw(shape, seed):
    """Draws random numbers in [0, 1) for a part of a batch: the rows of those that the whole batch has in one process.

    A stateless draw of more begins with the same numbers. TensorFlow 1.15 seeds the initializers that come after by
    the number of operations before them: several processes take as many as one.

    Args:
      shape: int32 [2], rows and columns of this process's part.
      seed: int32 [2].

    Returns:
      float32 [rows, columns].
    """
    if parallel.size() == 1:
        return tf.random.stateless_uniform(shape, seed)
    # a row of each process side by side
    whole = tf.raw_ops.StatelessRandomUniform(shape=shape * [1, parallel.size()], seed=seed)
    return tf.split(whole, parallel.size(), axis=1)[parallel.rank()]


def average(gradients, figures, labels):
    """Averages over the whole batch what each process has computed of its part; in one process nothing is added.

    Everything goes in one buffer, and is summed in the order of the processes. The moving averages of batch
    normalization, which normalizes each part by itself, are averaged, too.

    Args:
      gradients: list of (tensor, variable), means over the part, as optimizers take them.
      figures: sequence of float32 [], means over the part.
      labels: int64 [part of the batch].

    Returns:
      (list of (tensor, variable), list of float32 []).
    """
    if parallel.size() == 1:
        return gradients, figures
    gradients = [(tf.convert_to_tensor(gradient), variable) for gradient, variable in gradients
                 if gradient is not None]
    moving = [variable for variable in tf.global_variables() if variable.op.name.split('/')[-1] in _MOVING]
    before = [gradient for gradient, _ in gradients]
    with tf.name_scope('average'), tf.control_dependencies(before + tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        tensors = before + list(figures) + [variable.read_value() for variable in moving]
        ends = np.cumsum([-(-tensor.shape.num_elements() // _ALIGNED) * _ALIGNED for tensor in tensors])
        means = tf.py_func(partial(_means, parallel.Summation(ends[-1]), ends), [tf.size(labels), *tensors],
                           [tf.float32] * len(tensors))
        means = [tf.ensure_shape(mean, tensor.shape) for mean, tensor in zip(means, tensors)]
        with tf.control_dependencies([variable.assign(mean) for variable, mean in
                                      zip(moving, means[len(means) - len(moving):])]):
            averaged = [(tf.identity(mean), variable) for mean, (_, variable) in zip(means, gradients)]
    return averaged, means[len(gradients):len(means) - len(moving)]


def _means(summation, ends, count, *tensors):
    """Computes the means over all processes of tensors that are means over `count` images here; a list of arrays.

    Args:
      summation: parallel.Summation.
      ends: int [num_tensors], where each tensor's place in it ends.
    """
    weight = np.float32(count / sum(parallel.take_step(int(count))))
    places = [slice(start, start + tensor.size) for start, tensor in zip([0, *ends], tensors)]
    for place, tensor in zip(places, tensors):
        np.multiply(tensor.ravel(), weight, out=summation.mine[place])
    summation.add_up()
    memory = np.empty(ends[-1] + _ALIGNED, np.float32)  # new each time: TensorFlow may keep it, or write there
    means = memory[-memory.ctypes.data % 64 // 4:][:ends[-1]]
    means[:] = summation.total[:ends[-1]]
    return [means[place].reshape(tensor.shape) for place, tensor in zip(places, tensors)]
