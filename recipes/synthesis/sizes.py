"""From coarse to fine: a small image settles what goes where, each larger one adds its own detail.

Source: Gatys, Ecker, Bethge, Hertzmann, Shechtman 2017, Controlling Perceptual Factors in Neural Style Transfer,
  arXiv 1611.07865, section 6. Steps of √2 as in crowsonkb/style-transfer-pytorch.
"""
import math
from typing import NamedTuple

import numpy as np

from common import images

COARSEST = 128  # pixels of the longer side: the first scale is about so large
SMALLEST_SIDE = 32  # pixels, two positions in the fifth block of a VGG network


class Scale(NamedTuple):
    """One size from coarse to fine."""

    height: int
    width: int
    iterations: int

    @property
    def size(self):
        """(height, width)."""
        return self.height, self.width


def plan_scales(height, width, iterations, num_scales=None):
    """Distributes iterations over sizes that grow by √2.

    A scale gets 1/√2 of the iterations of the one before and costs √2 times as much: an iteration's cost grows with
    the pixels.

    Args:
      height, width: pixels of the finished image.
      iterations: in all, at least 1.
      num_scales: None for as many as fit between `COARSEST` and the full size.

    Returns:
      list of Scale, the full size last. Each has iterations and, but for the full size, no side below `SMALLEST_SIDE`.
    """
    if num_scales is None:
        num_scales = 1 + max(0, round(2 * math.log2(max(height, width) / COARSEST)))
    factors = [2 ** (-steps / 2) for steps in reversed(range(num_scales))]
    sizes = [(round(height * factor), round(width * factor)) for factor in factors]
    sizes = [size for size in sizes[:-1] if min(size) >= SMALLEST_SIDE] + sizes[-1:]
    fractions = np.array([2 ** (-index / 2) for index in range(len(sizes))])
    counts = np.diff([0, *np.rint(np.cumsum(fractions / fractions.sum()) * (iterations - 1)).astype(int)])
    counts[-1] += 1  # however few there are, the full size has one
    return [Scale(height=height, width=width, iterations=int(count))
            for (height, width), count in zip(sizes, counts) if count > 0]


def style_size(own, content, style_scale=1.0, stretch=False, upscale=False):
    """Computes the size at which a style image goes with a content image.

    Args:
      own: (height, width) of the style image.
      content: (height, width) of the content image at this scale.
      style_scale: longer side, relative to the content's.
      stretch: whether the style takes the content's shape instead, as in the cookbook.
      upscale: whether it may be enlarged.

    Returns:
      (height, width); a narrow image is widened to what the network needs.
    """
    size = content if stretch else images.fit_size(*own, round(style_scale * max(content)), upscale)
    return tuple(max(side, SMALLEST_SIDE) for side in size)
