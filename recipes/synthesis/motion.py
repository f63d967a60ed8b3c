"""How pictures move: a camera that zooms and turns, optical flow, and what it carries from one frame to the next.

A motion is a map of coordinates, float32 [2, height, width]: where in the old picture (row, column) lies what is to be
seen at each pixel of the new one.
"""
import functools
import importlib

import numpy as np
from scipy import ndimage

from common import images

# How unlike, of 255, what is carried along may be to what is there now before it is given up, and over how many pixels
# that is averaged: sensor noise stays far below, a scene cut or a place that was hidden before far above.
TOLERANCE, NEIGHBORHOOD = 20.0, 3.0


def camera(height, width, zoom=1.0, degrees=0.0):
    """Computes the motion of a camera that moves into the middle of a picture and turns.

    Args:
      height, width: int, pixels.
      zoom: float, what is 1 pixel wide is so many wide afterwards.
      degrees: float, by which the picture turns clockwise.

    Returns:
      float32 [2, height, width].
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    middle = (height - 1) / 2, (width - 1) / 2
    down, right = (rows - middle[0]) / zoom, (columns - middle[1]) / zoom
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.stack([middle[0] + cosine * down - sine * right,
                     middle[1] + sine * down + cosine * right]).astype(np.float32)


def move(image, motion, order=1):
    """Moves a picture; beyond its edges lies its mirror image.

    Args:
      image: float32 [height, width] or [height, width, channels].
      motion: float32 [2, height, width].
      order: int, 1 interpolates between neighbors, 3 with cubic splines: what is moved again and again stays sharp.

    Returns:
      float32 of the image's shape and within its range.
    """
    planes = image.reshape(image.shape[:2] + (-1,))
    moved = np.stack([ndimage.map_coordinates(planes[:, :, channel], motion, order=order, mode='mirror')
                      for channel in range(planes.shape[2])], axis=-1)
    return np.clip(moved, image.min(), image.max()).reshape(image.shape)


@functools.lru_cache(maxsize=None)
def flow_method():
    """Returns OpenCV's dense inverse search, or None where there is no OpenCV.

    Source: Kroeger et al. 2016, 'Fast optical flow using dense inverse search', arXiv 1603.03590.
    """
    try:
        cv2 = importlib.import_module('cv2')
    except ImportError:
        return None
    cv2.setNumThreads(1)  # patches are shared out among threads, and the flow depends on how
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def optical_flow(old, new):
    """Finds where everything in a frame was in the frame before.

    Args:
      old, new: float32 [height, width] in [0, 255], luminances.

    Returns:
      float32 [2, height, width]; without OpenCV, of a picture that stands still.
    """
    still = np.mgrid[:new.shape[0], :new.shape[1]].astype(np.float32)
    method = flow_method()
    if method is None:
        return still
    right_and_down = method.calc(np.rint(new).astype(np.uint8), np.rint(old).astype(np.uint8), None)
    return still + np.moveaxis(right_and_down[..., ::-1], -1, 0)


def carry(change, old, new):
    """Carries along with a scene what has been done to its last frame.

    Args:
      change: float32 [height, width, 3], what was added to the old frame.
      old, new: float32 [height, width, 3] in [0, 255], two frames of the scene as it was filmed.

    Returns:
      float32 [height, width, 3], what is to be added to the new frame: the same, moved with what it was added to;
      nothing where the scene has changed otherwise than by moving (a cut, something that comes into sight).
    """
    motion = optical_flow(images.to_gray(old), images.to_gray(new))
    difference = ndimage.gaussian_filter(np.abs(new - move(old, motion)).mean(axis=-1), NEIGHBORHOOD)
    trust = np.exp(-np.square(difference / TOLERANCE))
    return move(change, motion) * trust[..., np.newaxis]
