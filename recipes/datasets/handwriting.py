"""Digits that are not MNIST's, made to look like MNIST's: a person's own pictures, and training digits bent a little.

A network that has seen only MNIST reads other digits badly, mostly because they are shown otherwise: MNIST is white on
black, without paper, shadow or dust, each digit scaled to 20 pixels and centered by its mass.
"""
import cv2
import numpy as np

from common import images
from common.errors import InputError

SIDE = 28  # pixels of a digit's image, in height and in width
DIGIT_BOX = 20  # pixels: the longer side of the digit in it
WORKING_SIZE = 400  # pixels on the longer side of a picture; more show nothing that a box of 20 could keep

MIN_CONTRAST = 16  # gray levels between ink and paper
MIN_SEPARATION = 4  # the same in standard deviations of the paper; noise alone gives 1.6
EDGE_OF_STROKE = 0.2  # of the ink's strength: where a stroke ends
DUST = 0.05  # of the ink of the largest stroke: what has less is no part of the digit
MIN_EXTENT = 0.05  # of the picture's shorter side: where the largest stroke is smaller, all is dust
# Width of a stroke in a box of 20: measured on MNIST, nine in ten are 1.8 to 4.4. A fine pen's are brought up to it.
THIN_STROKE, USUAL_STROKE = 1.6, 2.2

# How far augment() goes: as one hand differs from another, without making a 7 of a 1.
MAX_ROTATION = 12  # degrees
MAX_SCALING = 0.1  # of height and of width
MAX_SHEAR = 0.1  # columns per row
MAX_SHIFT = 2  # pixels


def prepare_digit(image, name='the picture'):
    """Makes a photograph or drawing of a digit look as MNIST's digits do.

    Dark ink on light paper or light ink on a dark ground is told apart, uneven light and hard shadows are taken out,
    and so are dust and whatever else is small or touches the picture's border. The paper has to fill the picture.

    Args:
      image: float32 [height, width, 3], RGB, or [height, width]; in [0, 255].
      name: what to call it in a message, such as its path.

    Returns:
      uint8 [28, 28], white ink on black: the digit scaled with its proportions kept, so that its longer side has 20
      pixels, and moved by whole pixels until its center of mass is the center.

    Raises:
      InputError: no digit in it: uniform, nothing but noise or dust.

    Source: http://yann.lecun.com/exdb/mnist/ on size and center (that the center is pixel 14 of 0 to 27 was measured).
      The threshold is Ridler's and Calvard's, 1978. Fine strokes are thickened, which MNIST's pens did not need.
    """
    image = np.asarray(image, np.float32)
    ink, box = _locate(image, name)
    scale = max(image.shape[:2]) / WORKING_SIZE
    if scale > 1:  # again, on the part around the digit, now with all the resolution there is
        margin = max(side.stop - side.start for side in box) / 2
        rows, columns = (slice(max(0, int((side.start - margin) * scale)), int((side.stop + margin) * scale) + 1)
                         for side in box)
        ink, box = _locate(image[rows, columns], name)
    digit = _thicken(ink[box])
    height, width = images.fit_size(*digit.shape, DIGIT_BOX, upscale=True)
    digit = images.resize_image(digit, height, width)
    top, left = (_offset(digit.sum(axis)) for axis in (1, 0))
    prepared = np.zeros((SIDE, SIDE), np.uint8)
    prepared[top:top + height, left:left + width] = np.round(digit * (255 / digit.max()))
    return prepared


def _locate(image, name):
    """Finds a digit in a picture.

    Returns:
      (ink, box): float32 [height, width] at WORKING_SIZE or less, the ink of the digit in [0, 1] and 0 around it; and
      the slices of rows and columns that hold it.
    """
    image = images.resize_image(image, *images.fit_size(*image.shape[:2], WORKING_SIZE))
    ink, strokes = _find_strokes(_remove_paper(image), name)
    rows, columns = (np.flatnonzero(strokes.any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.where(strokes, ink, np.float32(0)), box


def _remove_paper(image):
    """Computes how much each pixel stands out against the paper around it: float32 [height, width], gray levels.

    Of a colored picture that channel is taken in which the ink shows best. The paper under a stroke is found by a
    morphological opening or closing: it keeps what is wider than a third of the picture, shadows for instance.
    """
    channels = np.atleast_3d(image)
    skews = [_skewness(channels[:, :, channel]) for channel in range(channels.shape[2])]
    best = int(np.argmax(np.abs(skews)))
    light_ink = skews[best] > 0
    shorter = min(image.shape[:2])
    gray = cv2.GaussianBlur(np.ascontiguousarray(channels[:, :, best]), (0, 0), max(shorter / 250, 0.01))
    size = shorter // 3 | 1
    paper = cv2.copyMakeBorder(gray, size, size, size, size, cv2.BORDER_REPLICATE)
    operation = cv2.MORPH_OPEN if light_ink else cv2.MORPH_CLOSE
    paper = cv2.morphologyEx(paper, operation, np.ones((size, size), np.uint8))[size:-size, size:-size]
    if light_ink:
        return gray - paper
    return (paper - gray) * (paper.max() / np.maximum(paper, 1))  # ink absorbs a share of the light, in shadow too


def _skewness(gray):
    """Computes which way few pixels differ most from their surroundings: above 0 where these are light."""
    small = images.resize_image(gray, *images.fit_size(*gray.shape, 128))
    small = np.clip(np.round(small), 0, 255).astype(np.uint8)
    size = max(3, min(small.shape) // 2 | 1)  # so wide that ink is the smaller part everywhere
    return np.sum((small.astype(np.float64) - cv2.medianBlur(small, size)) ** 3)


def _find_strokes(ink, name):
    """Finds the pixels that make the digit.

    Returns:
      (float32 [height, width], the ink scaled to [0, 1]; bool, the same shape, the digit's strokes).
    """
    paper = np.median(ink)
    grain = 1.4826 * np.median(np.abs(ink - paper))  # the standard deviation, were the paper's noise normal
    threshold, contrast = _threshold(ink, paper)
    if contrast < max(MIN_CONTRAST, MIN_SEPARATION * grain):
        raise InputError(f'{name}: no digit in it; expected one in ink that stands out from the paper')
    dark = ink > threshold
    strength = np.percentile(ink[dark], 75) - paper
    edge = min(threshold, paper + max(EDGE_OF_STROKE * strength, 4 * grain))
    count, parts, boxes, _ = cv2.connectedComponentsWithStats((ink > edge).astype(np.uint8))
    masses = np.bincount(parts.ravel(), np.where(dark, ink - paper, 0).ravel(), count)
    masses[0] = 0  # the paper
    inside = masses.copy()
    inside[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = 0
    if inside.max() > 0.1 * masses.max():  # what touches the border is the digit only where nothing else can be
        masses = inside
    if max(boxes[masses.argmax(), [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]]) < max(4, MIN_EXTENT * min(ink.shape)):
        raise InputError(f'{name}: no digit in it, nothing larger than specks of dust')
    return np.clip((ink - paper) / strength, 0, 1), (masses >= DUST * masses.max())[parts]


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


def augment(digits, random):
    """Turns, scales, slants and shifts each digit of a batch by random amounts, bilinearly and all at once.

    Args:
      digits: float32 or uint8 [batch, height, width] or [batch, height, width, 1]; 0 around the digit.
      random: np.random.RandomState. One made from seed and step lets a resumed training draw the same.

    Returns:
      the same shape and type.
    """
    count, height, width = digits.shape[:3]
    padded = np.zeros((count, height + 2, width + 2), np.float32)
    padded[:, 1:-1, 1:-1] = digits.reshape(count, height, width)
    rows, columns = _sources(count, height, width, random)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top, columns - left
    index = top * (width + 2) + left
    index += np.arange(count, dtype=np.int32)[:, np.newaxis, np.newaxis] * ((height + 2) * (width + 2))
    pixels = padded.ravel()
    upper = pixels[index]
    upper += right * (pixels[index + 1] - upper)
    index += width + 2
    lower = pixels[index]
    lower += right * (pixels[index + 1] - lower)
    upper += down * (lower - upper)
    if digits.dtype == np.uint8:
        upper = np.round(upper)
    return upper.astype(digits.dtype).reshape(digits.shape)


def _sources(count, height, width, random):
    """Draws an affine map for each image: which row and column of the image, padded by 1, each pixel is taken from.

    Returns:
      two float32 [count, height, width], within the padded image.
    """
    angle = np.radians(random.uniform(-MAX_ROTATION, MAX_ROTATION, count))
    row_scale, column_scale = random.uniform(1 - MAX_SCALING, 1 + MAX_SCALING, (2, count))
    shear = random.uniform(-MAX_SHEAR, MAX_SHEAR, count)
    row_shift, column_shift = random.uniform(-MAX_SHIFT, MAX_SHIFT, (2, count))

    def each(values):
        return values.astype(np.float32)[:, np.newaxis, np.newaxis]

    row = np.arange(height, dtype=np.float32)[:, np.newaxis] - (height - 1) / 2  # from the center
    column = np.arange(width, dtype=np.float32) - (width - 1) / 2
    rows = each(row_scale * np.cos(angle)) * row + each(column_scale * np.sin(angle)) * column
    columns = each(shear - row_scale * np.sin(angle)) * row + each(column_scale * np.cos(angle)) * column
    rows += each(row_shift + (height + 1) / 2)
    columns += each(column_shift + (width + 1) / 2)
    # The padding is 0, and the last position must leave a neighbor to interpolate with.
    return np.clip(rows, 0, height + 0.999), np.clip(columns, 0, width + 0.999)
