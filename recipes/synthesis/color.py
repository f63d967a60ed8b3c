"""The colors of one image given to another: what --preserve-color does; how a dream is finished.

Source: Gatys, Bethge, Hertzmann, Shechtman 2016, Preserving Color in Neural Artistic Style Transfer, arXiv 1606.05897.
"""
import numpy as np

from common.images import resize_image
from common.images import to_gray as luminance  # the Y of YIQ

SMALLEST_VARIANCE = 1e-3  # gray levels squared: below this a direction of color holds rounding errors only


def prepare(content, styles, preserve_color):
    """Gives images the colors with which style transfer is to see them.

    Args:
      content: float32 [height, width, 3], RGB in [0, 255].
      styles: list of float32 [any height, any width, 3].
      preserve_color: 'luminance': both in gray; 'histogram': the styles in the content's colors; 'no': as they are.

    Returns:
      (content image, list of style images).
    """
    if preserve_color == 'luminance':
        return gray(content), [match_luminance(style, content) for style in styles]
    if preserve_color == 'histogram':
        return content, [match_histogram(style, content) for style in styles]
    return content, styles


def restore(image, content, preserve_color):
    """Returns a painted image, float32 [height, width, 3], as it is to be saved: see `prepare`."""
    if preserve_color == 'luminance':
        return keep_luminance(resize_image(content, *image.shape[:2]), image)
    return image


def finish(image, content_image, contrast=None, preserve_color=False, blend=1.0):
    """Makes the image of a dream that is to be saved: contrast, colors and blend as asked for.

    Args:
      image: float32 [height, width, 3], the dream, at the content image's size.
      content_image: float32 of the same shape.
      contrast: float, the standard deviation that it is brought to; None to leave it.
      preserve_color: bool, keep the content image's colors.
      blend: float in [0, 1], the weight of the dream; the rest is the content image.
    """
    if contrast:
        image = np.clip((image - image.mean()) / max(image.std(), 1e-4) * contrast + 127.5, 0, 255)
    if preserve_color:
        image = keep_luminance(content_image, image)
    return blend * image + (1 - blend) * content_image


def is_plain(image):
    """Tells whether an image, float32 [height, width, 3] in [0, 255], is of one color: no channel varies by a level."""
    return bool(image.std(axis=(0, 1)).max() < 1)


def gray(image):
    """Returns the image without its colors: float32 [height, width, 3], three times the luminance."""
    return np.repeat(luminance(image)[..., np.newaxis], 3, axis=-1)


def keep_luminance(content, result):
    """Gives the result's luminance the content's colors.

    Where a color at its new luminance leaves the cube of what can be shown, it is drawn towards gray until it fits;
    cutting the channels off at 0 and 255 would change the luminance too.

    Args:
      content: float32 [height, width, 3], RGB in [0, 255]; its hues and saturations are kept.
      result: float32 of the same shape; its luminance is kept.

    Returns:
      float32 [height, width, 3] in [0, 255].

    Source: section 3.2 of the paper, luminance-only transfer. (Y, I, Q) with another Y is the same amount added to
      red, green and blue.
    """
    chroma = content - luminance(content)[..., np.newaxis]
    new_luminance = np.clip(luminance(result), 0, 255)[..., np.newaxis]
    highest = np.maximum(chroma.max(axis=-1, keepdims=True), 1e-6)
    lowest = np.minimum(chroma.min(axis=-1, keepdims=True), -1e-6)
    saturation = np.minimum(1, np.minimum((255 - new_luminance) / highest, -new_luminance / lowest))
    return np.clip(new_luminance + saturation * chroma, 0, 255).astype(np.float32)


def match_luminance(source, target):
    """Moves the source's luminance to the mean and the spread of the target's, colors left out.

    Args:
      source: float32 [height, width, 3], RGB in [0, 255].
      target: float32 [any height, any width, 3].

    Returns:
      float32 of the source's shape, gray, in [0, 255].

    Source: equation 10 of the paper: L' = (sd of target / sd of source) (L - mean of source) + mean of target.
    """
    own, aim = luminance(source), luminance(target)
    spread = aim.std() / own.std() if own.var() > SMALLEST_VARIANCE else 0
    matched = np.clip((own - own.mean()) * spread + aim.mean(), 0, 255)
    return np.repeat(matched[..., np.newaxis], 3, axis=-1).astype(np.float32)


def match_histogram(source, target):
    """Moves the source's colors so that their mean and covariance are the target's.

    Args:
      source: float32 [height, width, 3], RGB in [0, 255]: in style transfer the style image.
      target: float32 [any height, any width, 3]: the content image, whose colors are to be kept.

    Returns:
      float32 of the source's shape, in [0, 255].

    Source: section 3.1 of the paper: p' = A p + b with A = (covariance of target)^1/2 (covariance of source)^-1/2,
      the symmetric roots, which turn the colors least. A direction in which the source does not vary (a gray image
      has two) stays flat.
    """
    own, aim = (image.reshape(-1, 3).astype(np.float64) for image in (source, target))
    transform = _power(np.cov(own.T), -0.5) @ _power(np.cov(aim.T), 0.5)
    matched = (own - own.mean(axis=0)) @ transform + aim.mean(axis=0)
    return np.clip(matched, 0, 255).astype(np.float32).reshape(source.shape)


def _power(covariance, exponent):
    """Returns a symmetric matrix to a power, directions without variance left at 0."""
    variances, directions = np.linalg.eigh(covariance)
    powers = np.where(variances > SMALLEST_VARIANCE, np.maximum(variances, SMALLEST_VARIANCE) ** exponent, 0)
    return (directions * powers) @ directions.T
