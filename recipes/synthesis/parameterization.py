"""What gradient ascent moves instead of pixels: a picture's Fourier coefficients, in colors that vary independently.

A step along the gradient of the pixels makes what is easiest for a network to answer: a hash of high frequencies. The
steepest direction depends on the coordinates, and in these the same gradient draws what photographs have most of: large
shapes. Every coefficient is divided by its frequency, as natural images are (their amplitudes fall by 1 / f), and the
three channels are mixed as red, green and blue go together in photographs. A sigmoid keeps every pixel in [0, 255].

Or the amplitudes are those of photographs from first to last, and only the phases are moved.

Source: Olah, Mordvintsev and Schubert 2017, Feature Visualization (Distill), section "Preconditioning and
  Parameterization". The square root of ImageNet's color covariance is the one published with it. Phases: Fel et al.
  2023, Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization, arXiv 2306.06805;
  there the amplitudes are means over ImageNet, here 1 / f, which they follow.
"""
import numpy as np

from common.session import tf

BASES = 'fourier', 'phase', 'pixels'
START_DEVIATION = 0.01  # standard deviation of the coordinates at the start: a picture that is nearly gray
# Square root of the covariance of red, green and blue over ImageNet: most of the variance is gray, then blue to yellow.
COLOR_COVARIANCE_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
CONTRAST = 0.25         # of a unit of the inverse transform, before the sigmoid
PHASE_DEVIATION = 1.5   # standard deviation of each channel before the sigmoid, where only phases are moved
RADIANS = 4.0           # of phase per coordinate, so that one learning rate suits all bases


def coordinates_shape(basis, height, width, channels=3):
    """Returns the shape of a picture's coordinates: a list of int.

    Args:
      basis: one of BASES.
      height, width: int, pixels.
      channels: int, 3, or 1 for a gray picture.
    """
    if basis == 'phase':
        return [channels, height, width // 2 + 1]
    if basis == 'fourier':  # of a real picture the other half of the frequencies is the first one's mirror image
        return [channels, height, width // 2 + 1, 2]
    return [height, width, channels]


def draw_start(basis, shape, seed):
    """Draws the coordinates that a picture begins with: float32 of that shape; `seed` is a list of int."""
    random = np.random.RandomState(seed)
    if basis == 'phase':  # any phase alike
        return random.uniform(-np.pi / RADIANS, np.pi / RADIANS, shape).astype(np.float32)
    return random.normal(0, START_DEVIATION, shape).astype(np.float32)


def to_images(coordinates, basis, height, width):
    """Adds the pictures that coordinates stand for to the default graph.

    Args:
      coordinates: float32 [batch, *coordinates_shape].
      basis: one of BASES.
      height, width: int, pixels.

    Returns:
      float32 [batch, height, width, 3], RGB in [0, 255].
    """
    if basis == 'phase':
        angles = RADIANS * coordinates
        spectrum = tf.complex(tf.cos(angles), tf.sin(angles)) * magnitudes(height, width)
    elif basis == 'fourier':
        spectrum = tf.complex(coordinates[..., 0], coordinates[..., 1]) * frequency_scale(height, width)
    planes = coordinates if basis == 'pixels' else CONTRAST * tf.transpose(
        tf.signal.irfft2d(spectrum, [height, width]), [0, 2, 3, 1])
    if planes.shape.as_list()[-1] == 1:
        return 255 * tf.tile(tf.sigmoid(planes), [1, 1, 1, 3])
    return 255 * tf.sigmoid(tf.tensordot(planes, color_matrix(), 1))


def frequency_scale(height, width):
    """Returns what each coefficient is multiplied by: complex64 [height, width // 2 + 1].

    That is 1 / max(f, 1 / max(height, width)) for the frequency f in cycles per pixel, and the square root of the
    pixels, which the inverse transform divides by.
    """
    frequencies = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    scale = np.sqrt(height * width) / np.maximum(frequencies, 1 / max(height, width))
    return scale.astype(np.complex64)


def magnitudes(height, width):
    """Returns the fixed magnitude of each coefficient, where only phases are moved: complex64 [height, width // 2 + 1].

    They fall as 1 / f, are 0 for the mean, and make planes of PHASE_DEVIATION.
    """
    scale = frequency_scale(height, width)
    scale[0, 0] = 0
    both = 2 - np.isin(np.arange(width // 2 + 1), [0, width / 2])   # columns that stand for their mirror images, too
    deviation = CONTRAST * np.sqrt(np.sum(both * np.abs(scale) ** 2)) / (height * width)
    return scale * np.complex64(PHASE_DEVIATION / deviation)


def color_matrix():
    """Returns float32 [3, 3], from independent channels to red, green and blue; its longest column has length 1."""
    root = COLOR_COVARIANCE_ROOT
    return root.T / np.linalg.norm(root, axis=0).max()
