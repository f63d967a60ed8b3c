"""Training digits bent a little, so that a network is not surprised by other hands than MNIST's."""
import numpy as np

# How far augment() goes: as one hand differs from another, without making a 7 of a 1.
MAX_ROTATION = 12  # degrees
MAX_SCALING = 0.1  # of height and of width
MAX_SHEAR = 0.1  # columns per row
MAX_SHIFT = 2  # pixels


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
