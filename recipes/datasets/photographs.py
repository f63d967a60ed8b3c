"""Labeled photographs as arrays: the paths, checksums and labels of each part, and pixels in the view asked for."""
import hashlib
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np

from datasets import image_folder, views


class Examples(NamedTuple):
    """The images of one part; what is kept of them is found by their sums."""
    paths: np.ndarray    # [num_images] of Path
    sums: np.ndarray     # [num_images] of str, the files' SHA-256, hexadecimal
    labels: np.ndarray   # int64 [num_images], positions in class_names


class Photographs(NamedTuple):
    """A data set in its three parts; see image_folder.ImageFolder."""
    class_names: Tuple[str, ...]
    train: Examples
    validation: Examples
    test: Examples
    left_out: Tuple[Tuple[Path, str], ...]
    how: str


def load(data_dir, seed=0, quiet=False):
    """Finds, checks and splits photographs; see image_folder.load for arguments and errors.

    Returns:
      Photographs.
    """
    folder = image_folder.load(data_dir, seed, quiet)

    def as_examples(split):
        paths = np.empty(len(split.paths), object)
        paths[:] = split.paths
        return Examples(paths, np.array([folder.sums[path] for path in split.paths]), split.labels)
    parts = [as_examples(getattr(folder, part)) for part in image_folder.PARTS]
    return Photographs(folder.class_names, *parts, left_out=folder.left_out, how=folder.how)


def digest(data):
    """Returns the SHA-256 of which images are in which part of a Photographs, with which labels."""
    result = hashlib.sha256()
    for part in (data.train, data.validation, data.test):
        result.update(('{}\n{}\n'.format(' '.join(part.sums), ' '.join(map(str, part.labels)))).encode())
    return result.hexdigest()


def read_images(paths, sums, views_of_images, size, threads):
    """Reads photographs in threads, each in its view.

    Args:
      paths: sequence of Path.
      sums: str [num_images], their SHA-256, hexadecimal.
      views_of_images: str [num_images], see datasets.views.
      size: int, pixels of a side.
      threads: int.

    Returns:
      uint8 [num_images, size, size, 3], RGB in [0, 255].

    Raises:
      InputError: a picture that cannot be read.
    """
    images = image_folder.load_batch(list(paths), size, threads)
    sums, views_of_images = np.asarray(sums), np.asarray(views_of_images)
    for view in set(views_of_images) - {'original'}:
        places = np.flatnonzero(views_of_images == view)
        images[places] = views.make_view(images[places], sums[places], view)
    return images
