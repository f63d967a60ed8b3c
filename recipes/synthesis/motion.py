"""How images move: a camera that zooms and turns, optical flow, and warping what was changed along with it.

A motion is a map of coordinates, float32 [2, height, width]: where in the old image (row, column) lies what is to be
seen at each pixel of the new one.
"""
import importlib

import numpy as np
from scipy import ndimage

from common import images

# Difference between warped and new frame, of 255, at which a change is dropped, and the pixels (standard deviation of a
# Gaussian) that it is averaged over: sensor noise stays far below, a scene cut or an occlusion far above.
TOLERANCE, NEIGHBORHOOD = 20.0, 3.0


def camera(height, width, zoom=1.0, degrees=0.0):
    """Computes the motion of a camera that moves into the middle of an image and turns.

    Args:
      height, width: int, pixels.
      zoom: float, the factor by which the image grows.
      degrees: float, by which the image turns clockwise.

    Returns:
      float32 [2, height, width].
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    middle = (height - 1) / 2, (width - 1) / 2
    down, right = (rows - middle[0]) / zoom, (columns - middle[1]) / zoom
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.stack([middle[0] + cosine * down - sine * right,
                     middle[1] + sine * down + cosine * right]).astype(np.float32)


def warp(image, motion, order=1):
    """Moves an image; beyond its edges lies its mirror image.

    Args:
      image: float32 [height, width] or [height, width, channels].
      motion: float32 [2, height, width].
      order: int, 1 for linear interpolation, 3 for cubic splines, with which an image that is warped again and again
        stays sharp, 5 for splines that keep the finest strokes, too.

    Returns:
      float32 of the image's shape and within its range.
    """
    planes = image.reshape(image.shape[:2] + (-1,))
    warped = np.stack([ndimage.map_coordinates(planes[:, :, channel], motion, order=order, mode='mirror')
                       for channel in range(planes.shape[2])], axis=-1)
    return np.clip(warped, image.min(), image.max()).reshape(image.shape)


def opencv():
    """Returns the module cv2, set to one thread (the flow depends on how threads share the patches), or None."""
    try:
        cv2 = importlib.import_module('cv2')
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return cv2


def optical_flow(old, new, finest=False):
    """Finds where everything in a frame was in the frame before.

    Args:
      old, new: float32 [height, width] in [0, 255], luminances.
      finest: bool, whether the search goes down to single pixels, and smooths the flow more, which noise would move
        otherwise; else it ends at half the size.

    Returns:
      float32 [2, height, width]; without OpenCV, the motion of an image that stands still.

    Source: Kroeger et al. 2016, 'Fast optical flow using dense inverse search', arXiv 1603.03590, in OpenCV.
    """
    still = np.mgrid[:new.shape[0], :new.shape[1]].astype(np.float32)
    cv2 = opencv()
    if cv2 is None:
        return still
    # A new object every time: one that has seen images of another size gives another flow.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if finest:
        search.setFinestScale(0)
        search.setVariationalRefinementAlpha(100.0)
        search.setVariationalRefinementIterations(50)
    right_and_down = search.calc(np.rint(new).astype(np.uint8), np.rint(old).astype(np.uint8), None)
    return still + np.moveaxis(right_and_down[..., ::-1], -1, 0)


def warp_change(change, old, new):
    """Warps what has been added to a frame with the motion from that frame to the next.

    Args:
      change: float32 [height, width, 3], what was added to the old frame.
      old, new: float32 [height, width, 3] in [0, 255], two frames of the video as it was filmed.

    Returns:
      float32 [height, width, 3], what is to be added to the new frame: 0 where the warped old frame does not match the
      new one (after a cut, or where something comes into sight).
    """
    motion = optical_flow(images.to_gray(old), images.to_gray(new))
    difference = ndimage.gaussian_filter(np.abs(new - warp(old, motion)).mean(axis=-1), NEIGHBORHOOD)
    confidence = np.exp(-np.square(difference / TOLERANCE))
    return warp(change, motion) * confidence[..., np.newaxis]
