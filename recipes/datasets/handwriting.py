"""Digits that are not MNIST's, made to look like MNIST's: a person's own pictures.

A network that has seen only MNIST reads other digits badly, mostly because they are shown otherwise: MNIST is white on
black, without paper, shadow or dust, each digit scaled to 20 pixels and centered by its mass.
"""
import itertools
from typing import NamedTuple

import cv2
import numpy as np

from common import images
from common.errors import InputError

SIDE = 28  # pixels of a digit's image, in height and in width
DIGIT_BOX = 20  # pixels: the longer side of the digit in it
WORKING_SIZE = 900  # pixels on the longer side of a picture
MOST_BLURRED = 400  # pixels of the shorter side that grow the blur against noise, a 250th of it

MIN_CONTRAST = 16  # gray levels between ink and paper
MIN_SEPARATION = 4  # the same in standard deviations of the paper; noise alone gives 1.6
EDGE_OF_STROKE = 0.2  # of the ink's strength: where a stroke ends
DUST = 0.05  # of the ink of the largest stroke: what has less is no part of the digit
MIN_EXTENT = 0.05  # of the picture's shorter side: where the largest stroke is smaller, all is dust
LINE_EDGES = 0.12, 0.2, 0.27, 0.35, 0.45, 0.6  # of the ink's strength: lines of the paper end below one of them
# A sheet of paper on a table: parts of the picture's shorter side, of the picture, of its own rectangle, of its sides.
MIN_PAPER, MAX_PAPER, RECTANGULAR, PAPER_MARGIN = 0.15, 0.95, 0.9, 0.03
PAPER_CONTRAST = 50  # gray levels between the sheet and the table
# Several digits: of the tallest one's height, how small another may be, and how near a detached stroke is; how much of
# the narrower of two parts of a digit lies above or below the other; width by height of one digit.
SMALLEST_OF_ROW, MAX_GAP, MIN_OVERLAP, MAX_ASPECT = 0.4, 0.2, 0.4, 1.6
MAX_PARTS = 60  # connected ones in a picture, those with most ink
# Of the picture's ink, what the digits have at least; where there is more beside them, it shows something else.
MIN_OF_INK = 0.95
NO_DIGIT = 'does not look like a digit'
# Width of a stroke in a box of 20: measured on MNIST, nine in ten are 1.8 to 4.4. A fine pen's are brought up to it.
THIN_STROKE, USUAL_STROKE = 1.6, 2.2


class Reading(NamedTuple):
    """The digits found in a picture, from left to right, line by line."""
    # uint8 [num_digits, 28, 28], as MNIST's: white ink on black, each scaled with its proportions kept, so that its
    # longer side has 20 pixels, and moved by whole pixels until its center of mass is the center.
    digits: np.ndarray
    picture: np.ndarray     # float32 [height, width, 3], cut out to the paper and at most WORKING_SIZE large
    boxes: np.ndarray       # int [num_digits, 4], top, left, bottom and right in it
    notes: list             # of str, what was decided about the picture


def find_digits(image, name='the picture', several=True):
    """Finds the digits in a photograph or drawing, and makes each look as MNIST's do.

    Dark ink on light paper is distinguished from light ink on a dark ground. Uneven light, hard shadows, fainter lines
    of ruled or squared paper and dust are removed, as is whatever touches the border. Paper that lies on something
    darker is cut out.

    Args:
      image: float32 [height, width, 3], RGB, or [height, width]; in [0, 255].
      name: what to call it in a message, such as its path.
      several: bool; without it all ink is one digit.

    Returns:
      Reading.

    Raises:
      InputError: no digit in it: uniform, nothing but noise or dust.

    Source: http://yann.lecun.com/exdb/mnist/ on size and center (that the center is pixel 14 of 0 to 27 was measured).
      The threshold is Ridler's and Calvard's, 1978. Fine strokes are thickened, which MNIST's pens did not need.
    """
    image = np.asarray(image, np.float32)
    image = image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)
    image = images.fit(image, WORKING_SIZE)
    image, notes = _cut_out_paper(image)
    ink, light_ink = _remove_paper(image)
    ink, labels, kept, found = _find_strokes(ink, name)
    notes += ['light ink'] * light_ink + found
    groups, left_out = _group(labels, kept) if several else ([list(kept)], 0)
    if left_out:
        notes.append('specks beside the digits are left out')
    strokes = ink[np.isin(labels, np.concatenate(groups))]
    if several and strokes.sum() < MIN_OF_INK * ink[ink > 0.5].sum():
        notes.append(NO_DIGIT)
    boxes, digits = [], []
    for group in groups:
        strokes = np.isin(labels, group)
        rows, columns = (np.flatnonzero(strokes.any(axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        boxes.append([box[0].start, box[1].start, box[0].stop, box[1].stop])
        digits.append(_as_mnist(np.where(strokes[box], ink[box], np.float32(0))))
    if len(groups) > 1:
        notes.append(f'{len(groups)} digits')
    if several and any(right - left > MAX_ASPECT * (bottom - top) for top, left, bottom, right in boxes):
        notes.append('wider than a digit: touching digits are read as one')
    return Reading(digits=np.stack(digits), picture=image, boxes=np.array(boxes), notes=notes)


def load(path):
    """Reads a picture of digits; see images.load_image. On a transparent ground, whatever its color, the ink is black.

    Where most of the picture is opaque, what is transparent gets the color of the rest.

    Returns:
      float32 [height, width, 3], RGB in [0, 255].
    """
    image, alpha = images.load_image(path), images.load_alpha(path)
    if alpha is None:
        return image
    opaque, alpha = alpha > 127, np.repeat(alpha[:, :, np.newaxis], 3, axis=2)
    if opaque.mean() < 0.5:
        return 255 - alpha
    return image - (1 - alpha / 255) * (255 - np.median(image[opaque], axis=0))


def _as_mnist(digit):
    """Scales and centers the ink of a digit, float32 in [0, 1] in its box; uint8 [28, 28]."""
    digit = _thicken(digit)
    height, width = images.fit_size(*digit.shape, DIGIT_BOX, upscale=True)
    digit = images.resize_image(digit, height, width)
    top, left = (_offset(digit.sum(axis)) for axis in (1, 0))
    prepared = np.zeros((SIDE, SIDE), np.uint8)
    prepared[top:top + height, left:left + width] = np.round(digit * (255 / digit.max()))
    return prepared


def _cut_out_paper(image):
    """Cuts out a sheet of light paper that lies on something darker, and turns it upright.

    Returns:
      (float32 [height, width, 3], list of notes).
    """
    gray = np.clip(images.to_gray(image), 0, 255).astype(np.uint8)
    threshold, light = cv2.threshold(gray, 0, 1, cv2.THRESH_OTSU)
    outlines = cv2.findContours(light, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[-2]
    outline = max(outlines, key=cv2.contourArea, default=np.zeros((1, 1, 2), np.int32))
    (x, y), (width, height), angle = cv2.minAreaRect(outline)
    sheet = cv2.drawContours(np.zeros_like(gray), [outline], -1, 1, -1).astype(bool)
    edges = [sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]]
    if (min(width, height) < MIN_PAPER * min(gray.shape) or sheet.mean() > MAX_PAPER
            or sheet.sum() < RECTANGULAR * width * height
            or not 0.6 < light[sheet].mean() < 0.998  # something is written on it
            or sum(edge.mean() > 0.1 for edge in edges) > 1
            or np.median(gray[sheet]) - np.median(gray[~sheet]) < PAPER_CONTRAST):
        return image, []
    if angle > 45:  # which of the two sides is called the width depends on OpenCV's version
        angle, width, height = angle - 90, height, width
    elif angle < -45:
        angle, width, height = angle + 90, height, width
    turn = cv2.getRotationMatrix2D((x, y), angle, 1)
    inner = 1 - 2 * PAPER_MARGIN
    width, height = int(width * inner), int(height * inner)
    turn[:, 2] += width / 2 - x, height / 2 - y
    cut = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(cut, 0, 255), ['cut out to the paper']


def _remove_paper(image):
    """Computes how much each pixel stands out against the paper around it.

    Returns:
      (float32 [height, width], gray levels; bool, whether the ink is lighter than the paper).

    Of a colored picture that channel is taken in which the ink shows best. The paper under a stroke is found by a
    morphological opening or closing: it keeps what is wider than a third of the picture, shadows for instance.
    """
    channels = np.atleast_3d(image)
    skews = [_skewness(channels[:, :, channel]) for channel in range(channels.shape[2])]
    best = int(np.argmax(np.abs(skews)))
    light_ink = skews[best] > 0
    shorter = min(image.shape[:2])
    sigma = max(min(shorter, MOST_BLURRED) / 250, 0.01)
    gray = cv2.GaussianBlur(np.ascontiguousarray(channels[:, :, best]), (0, 0), sigma)
    size = shorter // 3 | 1
    paper = cv2.copyMakeBorder(gray, size, size, size, size, cv2.BORDER_REPLICATE)
    operation = cv2.MORPH_OPEN if light_ink else cv2.MORPH_CLOSE
    paper = cv2.morphologyEx(paper, operation, np.ones((size, size), np.uint8))[size:-size, size:-size]
    if light_ink:
        return gray - paper, True
    return (paper - gray) * (paper.max() / np.maximum(paper, 1)), False  # ink absorbs a fraction, in shadow too


def _skewness(gray):
    """Computes which way few pixels differ most from their surroundings: above 0 where these are light."""
    small = images.fit(gray, 128)
    small = np.clip(np.round(small), 0, 255).astype(np.uint8)
    size = max(3, min(small.shape) // 2 | 1)  # so wide that ink is the smaller part everywhere
    return np.sum((small.astype(np.float64) - cv2.medianBlur(small, size)) ** 3)


def _find_strokes(ink, name):
    """Finds the connected parts of the picture that are ink.

    Returns:
      (float32 [height, width], the ink scaled to [0, 1]; int [height, width], which part a pixel is in; the numbers of
      the parts that are the digits', those with most ink first; list of notes).
    """
    paper = np.median(ink)
    grain = 1.4826 * np.median(np.abs(ink - paper))  # the standard deviation, were the paper's noise normal
    threshold, contrast = _threshold(ink, paper)
    if contrast < max(MIN_CONTRAST, MIN_SEPARATION * grain):
        raise InputError(f'{name}: no digit in it; expected one in ink that stands out from the paper')
    dark = ink > threshold
    strength = np.percentile(ink[dark], 75) - paper
    edge = min(threshold, paper + max(EDGE_OF_STROKE * strength, 4 * grain))
    free = next((fraction for fraction in LINE_EDGES
                 if not _crossed(ink > paper + max(fraction * strength, 4 * grain))), 0.0)
    lines = free > LINE_EDGES[0]  # of the paper, fainter than the ink
    if lines:
        edge = max(edge, paper + 1.3 * free * strength)
    labels, masses, extents = _measure_parts(ink > edge, np.where(dark, ink - paper, 0))
    if lines:  # what a higher edge took from the rims of the strokes
        rim = cv2.dilate(labels.astype(np.float32), np.ones((3, 3))).astype(int)
        labels = np.where((labels == 0) & (ink > paper + EDGE_OF_STROKE * strength), rim, labels)
    inside = np.where(extents > 0, masses, 0)
    if inside.max() > 0.1 * masses.max():  # what touches the border is a digit only where nothing else can be
        masses = inside
    if abs(extents[masses.argmax()]) < max(4, MIN_EXTENT * min(ink.shape)):
        raise InputError(f'{name}: no digit in it, nothing larger than specks of dust')
    order = np.argsort(-masses)
    return (np.clip((ink - paper) / strength, 0, 1), labels, order[masses[order] >= DUST * masses.max()],
            ['fainter lines of the paper are left out'] * lines)


def _crossed(pixels):
    """Returns whether something reaches from the border through half of the picture."""
    _, _, extents = _measure_parts(pixels, pixels)
    return -extents.min() > 0.5 * max(pixels.shape)


def _measure_parts(pixels, ink):
    """Finds connected parts.

    Returns:
      (int [height, width], each pixel's part; float [num_parts], the ink in each, 0 for the paper; int, pixels of its
      longer side, below 0 where it touches the border).
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))
    masses = np.bincount(labels.ravel(), ink.ravel(), count)
    extents = boxes[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]].max(axis=1)
    extents[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] *= -1
    masses[0] = extents[0] = 0
    return labels, masses, extents


def _group(labels, parts):
    """Puts the parts of the same digit together.

    Args:
      labels: int [height, width], the part that each pixel is in.
      parts: int, the numbers of those that count.

    Returns:
      (list of lists of numbers, digit by digit in the order of reading; int, how many parts are left out).
    """
    def box(part):
        rows, columns = (np.flatnonzero((labels == part).any(axis)) for axis in (1, 0))
        return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])

    groups = [([part], box(part)) for part in parts[:MAX_PARTS]]
    tallest = max(bottom - top for _, (top, _, bottom, _) in groups)
    merged = True
    while merged:
        merged = False
        for one, other in itertools.combinations(range(len(groups)), 2):
            if _belong_together(groups[one][1], groups[other][1], tallest):
                (some, first), (more, second) = groups[one], groups.pop(other)
                groups[one] = (some + more, np.concatenate([np.minimum(first[:2], second[:2]),
                                                            np.maximum(first[2:], second[2:])]))
                merged = True
                break
    digits = [(group, place) for group, place in groups
              if place[2] - place[0] >= SMALLEST_OF_ROW * tallest]
    lines = []
    for group, place in sorted(digits, key=lambda item: item[1][0] + item[1][2]):
        middle = (place[0] + place[2]) / 2
        if not lines or middle > lines[-1][0]:
            lines.append((place[2], []))  # the next line begins below the first digit's foot
        lines[-1][1].append((place[1], group))
    in_order = [group for _, line in lines for _, group in sorted(line)]
    return in_order, len(groups) - len(digits) + max(0, len(parts) - MAX_PARTS)


def _belong_together(one, other, tallest):
    """Returns whether two boxes (top, left, bottom, right) are of one digit, one of them a detached stroke."""
    low, high = np.minimum(one[2:], other[2:]), np.maximum(one[:2], other[:2])
    gaps = np.maximum(high - low, 0)  # rows and columns between them
    shorter = min(one[2] - one[0], other[2] - other[0])
    overlap = (low[1] - high[1]) / min(one[3] - one[1], other[3] - other[1])
    if gaps[0] and shorter > SMALLEST_OF_ROW * tallest:
        return False  # one above the other
    if overlap > MIN_OVERLAP:
        return gaps[0] < 0.3 * tallest
    return bool(shorter < SMALLEST_OF_ROW * tallest and gaps.max() < MAX_GAP * tallest)


def _threshold(ink, paper):
    """Computes the value half-way between the mean ink and the mean paper, and the difference of the two.

    It starts from above, and so finds ink on a thousandth of the picture, where Otsu's method would split the paper.
    """
    threshold, contrast = (paper + ink.max()) / 2, 0
    for _ in range(50):
        dark = ink > threshold
        if not dark.any():
            break
        ink_mean, paper_mean = ink[dark].mean(), ink[~dark].mean()
        moved = abs((ink_mean + paper_mean) / 2 - threshold)
        threshold, contrast = (ink_mean + paper_mean) / 2, ink_mean - paper_mean
        if moved < 0.01:
            break
    return threshold, contrast


def _thicken(digit):
    """Widens the strokes of a fine pen, which would be gray and broken in a box of 20."""
    longer = max(digit.shape)
    strokes = np.pad((digit > 0.5).astype(np.uint8), 1)
    # In a bar the distance to the edge is a quarter of the bar's width on average.
    width = 4 * cv2.distanceTransform(strokes, cv2.DIST_L2, 5)[strokes > 0].mean() * DIGIT_BOX / longer
    if width >= THIN_STROKE or longer < 2 * DIGIT_BOX:
        return digit
    size = int(round((USUAL_STROKE - width) * longer / DIGIT_BOX)) | 1
    return cv2.dilate(np.pad(digit, size // 2), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def _offset(profile):
    """Computes where to put a digit's first row, or column, for its center of mass to be at pixel 14."""
    center = np.average(np.arange(len(profile)), weights=profile)
    return int(np.clip(np.round(SIDE / 2 - center), 0, SIDE - len(profile)))
