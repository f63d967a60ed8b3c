"""The Laplacian pyramid: images as bands of frequencies.

Source: Burt and Adelson 1983, 'The Laplacian pyramid as a compact image code', IEEE Trans. Communications 31 (4).
"""
import numpy as np


def split(image, num_levels):
    """Splits an image into bands of frequencies, each half as fine as the one before.

    Args:
      image: float32 [..., height, width]: one plane, or several, such as the channels of a batch of images.
      num_levels: int, how many bands to take out.

    Returns:
      list of num_levels + 1 arrays: the bands from fine to coarse, and what is left of the image, shrunk num_levels
      times. Fewer where the image gets down to one pixel.
    """
    levels = []
    while len(levels) < num_levels and min(image.shape[-2:]) > 1:
        coarse = _shrink(image)
        levels.append(image - _grow(coarse, image.shape))
        image = coarse
    return levels + [image]


def merge(levels):
    """Adds up what `split` took apart.

    Returns:
      float32 [..., height, width], the image within float32's rounding.
    """
    image = levels[-1]
    for level in reversed(levels[:-1]):
        image = level + _grow(image, level.shape)
    return image


def normalize(gradient, num_levels):
    """Gives every band of frequencies of a gradient the same strength, so that none drowns the others.

    Args:
      gradient: float32 [..., height, width, channels]: one, or a batch, each by itself.
      num_levels: int, bands apart from the coarsest rest; 0 leaves the gradient as it is.

    Returns:
      float32 of the same shape, each band divided by its root mean square.

    Source: the DeepDream notebook (Mordvintsev 2015, Apache 2.0), which does it tile by tile; here it is the gradient
      of the whole image, so that no tile's contrast is raised above its neighbor's.
    """
    if not num_levels:
        return gradient
    planes = np.ascontiguousarray(np.moveaxis(gradient, -1, -3))  # rows and columns innermost: twice as fast
    levels = [level / np.maximum(_root_mean_square(level), np.float32(1e-10)) for level in split(planes, num_levels)]
    return np.moveaxis(merge(levels), -3, -1)


def _root_mean_square(level):
    return np.sqrt(np.mean(np.square(level), axis=(-3, -2, -1), keepdims=True))


def _shrink(image):
    """Blurs with [1, 4, 6, 4, 1] / 16 both ways and keeps every second row and column; edges are mirrored."""
    return _shrink_along(_shrink_along(image, -2), -1)


def _shrink_along(image, axis):
    size, padded = image.shape[axis], _pad(image, 2, 'symmetric', axis)
    outer, inner, middle, far_inner, far_outer = (_part(padded, axis, start, start + size, 2) for start in range(5))
    return ((outer + far_outer) + 4 * (inner + far_inner) + 6 * middle) * np.float32(1 / 16)


def _grow(image, shape):
    """Doubles rows and columns with the same kernel, and cuts the result to `shape`'s height and width."""
    return _grow_along(_grow_along(image, shape[-2], -2), shape[-1], -1)


def _grow_along(image, size, axis):
    padded = _pad(image, 1, 'edge', axis)
    before, after = _part(padded, axis, None, -2), _part(padded, axis, 2, None)
    grown = np.empty([2 * side if number == image.ndim + axis else side for number, side in enumerate(image.shape)],
                     image.dtype)
    _part(grown, axis, 0, None, 2)[...] = (before + after + 6 * image) * np.float32(1 / 8)
    _part(grown, axis, 1, None, 2)[...] = (image + after) * np.float32(1 / 2)
    return _part(grown, axis, None, size)


def _part(image, axis, *bounds):
    return image[(..., slice(*bounds)) + (slice(None),) * (-1 - axis)]


def _pad(image, margin, mode, axis):
    return np.pad(image, [(margin, margin) if number == image.ndim + axis else (0, 0) for number in range(image.ndim)],
                  mode)
