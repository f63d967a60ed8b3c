"""What a dream starts from: image files, noise, or the raccoon that comes with the project."""
import collections
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import film, files, images
from common.errors import InputError

NOISE = 'noise'  # as --content has it
# Standard deviation of a result that began as noise: few pixels are clipped. The book's is pale.
CONTRAST, BOOK_CONTRAST = 255 * 0.17, 255 * 0.1
# The default: 1024 x 768, losslessly, as SciPy had it (scipy.misc.face). From public-domain-image.com; public domain.
RACCOON = Path(__file__).with_name('raccoon.webp')


class Job(NamedTuple):
    """One image, or film, that is to dream."""
    name: str           # of the result, without extension
    content: Path
    octaves: Any        # list of Octave
    contrast: Any       # float, the standard deviation of the result where it began as noise; else None


def find(paths):
    """Lists what there is to dream on: image files, what is in folders, NOISE; the raccoon where `paths` is None."""
    found = []
    for path in paths or []:
        found += [path] if str(path) == NOISE else images.find_images([path], '--content')
    return found or [RACCOON]


def plan_jobs(paths, load_image, plan, book=False, single=None):
    """Loads every image that is to dream once, to know before the work which of them cannot be done.

    Args:
      paths: list of Path, from `find`.
      load_image: function of a Path; see `load`.
      plan: function of height and width to a list of Octave; see octaves.plan.
      book: bool, the contrast of noise is the book's.
      single: str, the option that allows for one image only; None if none does.

    Returns:
      (list of Job, list of str: why the others are skipped).

    Raises:
      InputError: none can be done, or they are too many.
    """
    jobs, skipped, stems = [], [], collections.Counter()
    for path in paths:
        try:
            octaves = plan(*load_image(path).shape[:2])
        except InputError as error:
            skipped.append(str(error) if str(path) in str(error) else f'{path}: {error}')
            continue
        stem = files.shorten(path.stem)
        stems[stem] += 1
        number = '' if stems[stem] == 1 else f'-{stems[stem]}'
        contrast = (BOOK_CONTRAST if book else CONTRAST) if str(path) == NOISE else None
        jobs.append(Job(name=f'{stem}_dream{number}', content=path, octaves=octaves, contrast=contrast))
    if not jobs:
        raise InputError(skipped[0])
    if single and len(jobs) > 1:
        raise InputError(f'{single}: needs a single image; --content names {len(jobs)}')
    return jobs, skipped


def load(path, size=None, seed=0, book=False):
    """Loads an image at the requested size, or makes noise.

    Args:
      path: Path of an image file, or NOISE.
      size: int, pixels of the longer side; None for the image's own. Noise needs it.
      seed: int, of the noise.
      book: bool, noise as the book has it, with hardly any contrast.

    Returns:
      float32 [height, width, 3], RGB in [0, 255].

    Raises:
      InputError: not an image.
    """
    if str(path) == NOISE:
        random = np.random.RandomState(seed)
        if book:
            return random.uniform(size=(size, size, 3)).astype(np.float32) + 100
        return random.uniform(100, 156, size=(size, size, 3)).astype(np.float32)
    try:
        image = images.load_image(path)
    except InputError as error:
        if path.suffix.lower() in images.IMAGE_EXTENSIONS or not path.is_file():
            raise
        raise InputError(f'{error}; a video is known by its extension: {" ".join(sorted(film.VIDEO_EXTENSIONS))}')
    if size:
        image = images.fit(image, size, upscale=True)
    return image


def digest(image):
    """Returns a checksum of an image's pixels."""
    return hashlib.sha256(image.tobytes()).hexdigest()
