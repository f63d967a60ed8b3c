"""What keeps a painted film from flickering: earlier frames, warped to the one to paint where the flow can be trusted.

Source: Ruder, Dosovitskiy and Brox 2016, Artistic Style Transfer for Videos, arXiv 1604.08610. We add a test that the
  warped frame looks like the new one, as motion.warp_change has it: it finds cuts, and light that changes. And there is
  one target with one weight for all earlier frames: where c is 0 or 1, at most one of them counts at a pixel.
"""
import collections
import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from common import film, images
from synthesis import motion
from synthesis.optimizers import dot

REFERENCES = (1, 2, 4)  # frames back, the nearest first
LEAST_COVERED = 0.25  # of the pixels: an earlier frame that shows less of the new one lies before a cut


class Past(NamedTuple):
    """What earlier frames say about the one to paint."""
    target: Any  # float32 [height, width, 3] in [0, 255], as they were painted, warped
    weight: Any  # float32 [height, width, 1], c: 1 where that holds, 0 where something else is to be seen

    def start(self, content):
        """Returns what the optimization starts from: the target, and the photograph where there is none."""
        return np.where(self.weight > 0, self.target, content)

    def add_loss(self, evaluate, temporal_weight):
        """Adds the temporal loss to a function that an optimizer minimizes.

        Args:
          evaluate: function of an image, float32 [height * width * 3], to (losses, gradient): a NamedTuple of floats
            with `total` and `temporal`, and float32 of the image's shape.
          temporal_weight: float, gamma.

        Returns:
          function of the same kind.

        Source: eq. 7, the mean of c (x - target)² over all D elements of the image, times gamma.
        """
        weight = np.broadcast_to(self.weight, self.target.shape).ravel()
        target, factor = self.target.ravel(), temporal_weight / self.target.size

        def evaluate_both(x):
            losses, gradient = evaluate(x)
            difference = x - target
            weighted = weight * difference
            temporal = factor * dot(weighted, difference)
            return (losses._replace(total=losses.total + temporal, temporal=temporal),
                    gradient + np.float32(2 * factor) * weighted)
        return evaluate_both


def walk(source, folder, first=0):
    """Reads a film frame by frame, each with what the ones painted before it say.

    Args:
      source: frames.VideoSource.
      folder: Path, where the painted frames are saved, each before the next is asked for.
      first: int, number of the first to paint; from 0.

    Yields:
      (number, float32 [height, width, 3] in [0, 255], Past; None for the first frame and after a cut).
    """
    begin = max(first - max(REFERENCES), 0)
    filmed = source.read(begin)
    earlier = collections.deque(itertools.islice(filmed, first - begin), maxlen=max(REFERENCES))
    for number in range(first, source.num_frames):
        new = next(filmed)
        yield number, new, look_back(new, [
            (earlier[-back], images.load_image(film.frame_path(folder, number - back)))
            for back in REFERENCES if back <= len(earlier)])
        earlier.append(new)


def look_back(new, earlier):
    """Puts together what earlier frames say about a new one; see Past.

    Args:
      new: float32 [height, width, 3] in [0, 255], as it was filmed.
      earlier: list of (as it was filmed, as it was painted), the nearest frame first.

    Returns:
      Past; None if no earlier frame shows enough of the new one.

    Source: eq. 8 and 9, long-term consistency: what a nearer frame covers, a farther one does not.
    """
    target, weight = np.zeros_like(new), np.zeros([*new.shape[:2], 1], np.float32)
    for old, painted in earlier:
        flow, certain = reliable_flow(old, new)
        if certain.mean() >= LEAST_COVERED:
            added = np.maximum(certain[..., np.newaxis] - weight, 0)
            target += added * motion.warp(painted, flow, order=5)
            weight += added
    return Past(target=target, weight=weight) if weight.any() else None


def reliable_flow(old, new):
    """Finds where everything in a frame was in an earlier one, and where that can be relied on.

    Args:
      old, new: float32 [height, width, 3] in [0, 255].

    Returns:
      (float32 [2, height, width], see motion; float32 [height, width], c: 0 where something comes into sight, at the
      boundaries of motions, beyond the old frame's edges, and where the old frame looks otherwise; else 1).

    Source: eq. 5 and 6.
    """
    still = np.mgrid[:new.shape[0], :new.shape[1]].astype(np.float32)
    gray_old, gray_new = images.to_gray(old), images.to_gray(new)
    flow = motion.optical_flow(gray_old, gray_new, finest=True)
    backward = flow - still
    forward = motion.optical_flow(gray_new, gray_old, finest=True) - still
    returned = np.stack([ndimage.map_coordinates(part, flow, order=1, mode='nearest') for part in forward])
    hidden = _square(backward + returned) > 0.01 * (_square(backward) + _square(returned)) + 0.5
    gradients = [part for component in backward for part in np.gradient(component)]
    at_boundary = _square(np.stack(gradients)) > 0.01 * _square(backward) + 0.002
    beyond = ((flow < 0) | (flow > np.array(new.shape[:2]).reshape(2, 1, 1) - 1)).any(axis=0)
    difference = ndimage.gaussian_filter(np.abs(new - motion.warp(old, flow)).mean(axis=-1), motion.NEIGHBORHOOD)
    wrong = hidden | at_boundary | beyond | (difference > motion.TOLERANCE)
    return flow, (~wrong).astype(np.float32)


def _square(vectors):
    return np.square(vectors).sum(axis=0)
