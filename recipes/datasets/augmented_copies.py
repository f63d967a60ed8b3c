"""Copies of an image: as it is, mirrored, or changed at random, as another photograph of the same thing might differ.

A copy depends on the image's content and the copy's name alone, never on a run's seed, so that what a network makes of
it can be computed once and stored.
"""
import cv2
import numpy as np

from datasets import image_folder

MAX_ZOOM = 1.25        # factor
MAX_ROTATION = 15      # degrees
MAX_BRIGHTENING = 0.2  # fraction of the brightness
AUGMENTED = 'augmented'


def copy_names(num_augmented):
    """Names the copies of a training image: 'original', 'flip', 'augmented1', 'augmented2' and so on."""
    return ['original', 'flip'] + [f'{AUGMENTED}{number + 1}' for number in range(num_augmented)]


def load_copies(paths, sha256, copies, size, threads):
    """Reads images in threads, of each the copy that is asked for.

    Args:
      paths: sequence of Path.
      sha256: sequence of str, the files' checksums, hexadecimal.
      copies: sequence of str, the name of each one's copy.
      size: int, pixels of a side.
      threads: int.

    Returns:
      uint8 [num_images, size, size, 3], RGB in [0, 255].

    Raises:
      InputError: an image that cannot be read.
    """
    images = image_folder.load_images(list(paths), size, threads)
    sha256, copies = np.asarray(sha256), np.asarray(copies)
    for name in set(copies) - {'original'}:
        places = np.flatnonzero(copies == name)
        images[places] = make_copies(images[places], sha256[places], name)
    return images


def make_copies(images, sha256, name):
    """Makes the copy of that name of each image.

    Args:
      images: uint8 [num_images, size, size, 3].
      sha256: sequence of str, the checksums of their files, hexadecimal.
      name: 'original'; 'flip', mirrored left to right; or 'augmented1', 'augmented2', ...: the number seeds how far
        the image is enlarged, rotated, shifted within what enlarging hides, mirrored or not, and made brighter or
        darker.

    Returns:
      uint8 [num_images, size, size, 3].
    """
    if name == 'original':
        return images
    if name == 'flip':
        return images[:, :, ::-1]
    number = int(name[len(AUGMENTED):])
    return np.stack([_augment(image, np.random.RandomState([int(checksum[:8], 16), number]))
                     for image, checksum in zip(images, sha256)])


def _augment(image, random):
    size = len(image)
    zoom, angle = random.uniform(1, MAX_ZOOM), random.uniform(-MAX_ROTATION, MAX_ROTATION)
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, zoom)
    matrix[:, 2] += random.uniform(-0.5, 0.5, 2) * (zoom - 1) * size
    if random.randint(2):
        image = image[:, ::-1]
    # A rotation brings in corners from outside: mirrored, not black, which no photograph has.
    rotated = cv2.warpAffine(np.ascontiguousarray(image), matrix, (size, size), flags=cv2.INTER_LINEAR,
                             borderMode=cv2.BORDER_REFLECT_101)
    brightness = random.uniform(1 - MAX_BRIGHTENING, 1 + MAX_BRIGHTENING)
    return np.clip(rotated * brightness, 0, 255).astype(np.uint8)
