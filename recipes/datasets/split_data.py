"""What MNIST and CIFAR-10 have in common: arrays of images, split into training, validation and test."""
import os
from typing import Dict, NamedTuple, Tuple

import numpy as np

from common.errors import InputError


class SplitData(NamedTuple):
    """A data set, read and split.

    Images are uint8 [num_images, 28, 28], 255 the ink, or, of CIFAR-10, [num_images, 32, 32, 3], RGB; labels are int
    [num_images], in [0, 9].
    """
    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: Tuple[str, ...]    # in the order of the labels
    source: str                     # where it was found
    checksums: Dict[str, str]       # from the name of a file or batch to the SHA-256 of what is in it


def split(images, labels, num_validation, **others):
    """Sets the last `num_validation` training images apart for validation, without a copy; returns SplitData."""
    return SplitData(train_images=images[:-num_validation], train_labels=labels[:-num_validation],
                     validation_images=images[-num_validation:], validation_labels=labels[-num_validation:], **others)


def names_in(folder):
    """Returns the set of names in a data folder, empty where there is none; InputError where it cannot be read."""
    try:
        return set(os.listdir(str(folder)))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise InputError(f'data folder {folder}: cannot be read ({error.strerror})')
