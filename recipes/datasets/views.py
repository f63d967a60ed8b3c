"""Views of a photograph: itself, mirrored, or changed at random, as another photograph of the same thing might differ.

A view hangs on the photograph's content and the view's name alone, never on a run's seed, so that what a network makes
of it can be kept.
"""
import cv2
import numpy as np

MAX_ZOOM, MAX_ROTATION, MAX_BRIGHTENING = 1.25, 15, 0.2  # factor, degrees, share of the brightness
AUGMENTED = 'augmented'


def view_names(num_augmented):
    """Names the views of a training image: 'original', 'flip', 'augmented1', 'augmented2' and so on."""
    return ['original', 'flip'] + ['%s%d' % (AUGMENTED, number + 1) for number in range(num_augmented)]


def make_view(images, sums, view):
    """Makes a view of square photographs.

    Args:
      images: uint8 [num_images, size, size, 3].
      sums: sequence of str, the SHA-256 of their files, hexadecimal.
      view: 'original'; 'flip', mirrored left to right; or 'augmented1', 'augmented2', ...: one of that number draws how
        far the image is enlarged, turned, shifted within what enlarging hides, mirrored or not, and made brighter or
        darker.

    Returns:
      uint8 [num_images, size, size, 3].
    """
    if view == 'original':
        return images
    if view == 'flip':
        return images[:, :, ::-1]
    number = int(view[len(AUGMENTED):])
    return np.stack([_augment(image, np.random.RandomState([int(sum_[:8], 16), number]))
                     for image, sum_ in zip(images, sums)])


def _augment(image, random):
    size = len(image)
    zoom, angle = random.uniform(1, MAX_ZOOM), random.uniform(-MAX_ROTATION, MAX_ROTATION)
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, zoom)
    matrix[:, 2] += random.uniform(-0.5, 0.5, 2) * (zoom - 1) * size
    if random.randint(2):
        image = image[:, ::-1]
    # A turn brings in corners from outside: mirrored, not black, which no photograph has.
    turned = cv2.warpAffine(np.ascontiguousarray(image), matrix, (size, size), flags=cv2.INTER_LINEAR,
                            borderMode=cv2.BORDER_REFLECT_101)
    brightness = random.uniform(1 - MAX_BRIGHTENING, 1 + MAX_BRIGHTENING)
    return np.clip(turned * brightness, 0, 255).astype(np.uint8)
