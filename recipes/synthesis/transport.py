"""Style loss by transport: how far features would have to be moved until they are distributed like the style's.

The features of a layer, taken as a Gaussian of their mean and covariance, have a Wasserstein-2 distance from another
one that can be written down. A constant channel beside the features puts all that it needs into their Gram matrix: the
last row is the mean, the last entry 1. So tiles, masks and blends of styles add up these matrices as they do the
others.

Source: Dowson and Landau 1982, The Fréchet distance between multivariate normal distributions, J. Multivariate
  Analysis 12; as a style loss in Vacher et al. 2020, Texture Interpolation for Probing Visual Perception, arXiv
  2006.03698.
"""
import numpy as np

from common.session import tf

SCALE = 1 / 30  # one default of --style-weight serves this loss and that of Gram matrices: as much content is kept
STEPS = 12
FLOOR = 1e-3  # of the style's largest variance, added to both: float32 tells no root of less, and its slope is infinite


def with_constant(activations):
    """Adds a channel of ones to float32 [1, height, width, channels]."""
    return tf.pad(activations, [[0, 0], [0, 0], [0, 0], [0, 1]], constant_values=1.0)


def root_of_covariance(moments):
    """Prepares what features are compared with.

    Args:
      moments: float64 [channels + 1, channels + 1], the Gram matrix of features and a constant, per position.

    Returns:
      float64 of the same shape: the covariance's root in place of the correlations, the mean beside it, and last what
      is added to variances.
    """
    prepared, mean = np.array(moments), moments[-1, :-1]
    values, vectors = np.linalg.eigh(moments[:-1, :-1] - np.outer(mean, mean))
    floor = FLOOR * values.max() + 1e-6
    prepared[:-1, :-1] = vectors * np.sqrt(np.maximum(values, 0) + floor) @ vectors.T
    prepared[-1, -1] = floor
    return prepared


def transport_loss(moments, target):
    """Computes the squared Wasserstein-2 distance of two Gaussians, a mean over channels.

    Args:
      moments: float32 [channels + 1, channels + 1], the Gram matrix of features and a constant, per position.
      target: float32 of the same shape, from `root_of_covariance`.

    Returns:
      float32, in units of `SCALE`.
    """
    # Row and column each by half: the derivative is as symmetric as the matrix.
    mean, root = (moments[-1, :-1] + moments[:-1, -1]) / 2, target[:-1, :-1]
    covariance = moments[:-1, :-1] - mean[:, tf.newaxis] * mean + target[-1, -1] * tf.eye(int(root.shape[0]))
    moved = tf.reduce_sum(tf.square(mean - target[-1, :-1]))
    reshaped = tf.linalg.trace(covariance) + tf.reduce_sum(tf.square(root)) - 2 * trace_of_root(
        tf.matmul(root, tf.matmul(covariance, root)))
    return SCALE * (moved + reshaped) / int(root.shape[0])


def trace_of_root(matrix):
    """Computes the trace of the root of a symmetric float32 [size, size] with positive eigenvalues.

    Newton-Schulz steps, coupled: Y goes to the root, Z to its inverse, half of which is the slope. The steps are
    stretched for the least eigenvalue that is to converge.

    Source: Higham 2008, Functions of Matrices, eq. 6.35; the stretch: Chen and Chow 2014, A stable scaling of
      Newton-Schulz for improving the sign function computation of a Hermitian matrix, eq. 3.
    """
    @tf.custom_gradient
    def newton_schulz(matrix):
        norm = tf.norm(matrix)
        root, inverse, least = matrix / norm, tf.eye(int(matrix.shape[0])), FLOOR
        for _ in range(STEPS):
            stretch = (3 / (1 + least + least ** 2)) ** 0.5
            one, three = 1.5 * stretch, 0.5 * stretch ** 3
            least = one * least - three * least ** 3
            one, three = tf.constant(one), tf.constant(three)  # one of each for both products
            product = tf.matmul(inverse, root)
            root = one * root - three * tf.matmul(root, product)
            inverse = one * inverse - three * tf.matmul(product, inverse)
        return tf.sqrt(norm) * tf.linalg.trace(root), lambda from_above: from_above * inverse / (2 * tf.sqrt(norm))

    return newton_schulz(matrix)
