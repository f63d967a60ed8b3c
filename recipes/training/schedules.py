"""Learning rates as tensors of the step: a run that resumes goes on with the right one, since the step is restored."""
import numpy as np

from common.session import tf


def cosine(step, num_steps, peak, warmup_steps=0):
    """Computes a learning rate that rises linearly, then falls along half a cosine to zero at the last step.

    Args:
      step: int64 [], steps done.
      num_steps: int, steps of the whole training.
      peak: float.
      warmup_steps: int.

    Returns:
      float32 [].

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one period; warm-up as in Goyal et al. 2017, arXiv
      1706.02677.
    """
    step = tf.cast(step, tf.float32)
    if warmup_steps:
        peak = peak * tf.minimum(1.0, (step + 1.0) / warmup_steps)
    return peak * 0.5 * (1.0 + tf.cos(np.pi * step / max(num_steps, 1)))


def triangle(step, num_steps, peak, warmup_fraction):
    """Computes a learning rate that rises linearly over a fraction of the steps and falls linearly to zero.

    Args:
      step, num_steps, peak: see cosine.
      warmup_fraction: float in (0, 1).

    Returns:
      float32 [].

    Source: Smith and Topin 2018, Super-convergence, arXiv 1708.07120, the one-cycle policy with the same peak.
    """
    step = tf.cast(step, tf.float32)
    rising, falling = warmup_fraction * num_steps, (1.0 - warmup_fraction) * num_steps
    return peak * tf.minimum((step + 1.0) / rising, (num_steps - step) / falling)
