"""CIFAR-10: its sources, its checksums, its split.

50,000 training and 10,000 test photographs of 32 x 32 pixels in ten classes. The test set is used once, at the end, so
the last 5,000 training images are set apart for every choice before that. The files' order is random already; drawing
the 5,000 would only make the split depend on one more number.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
  https://www.cs.toronto.edu/~kriz/cifar.html
"""
import hashlib
from pathlib import Path, PurePosixPath
from typing import Callable, NamedTuple

import numpy as np

from common import archives, download, files, images
from common.errors import InputError
from datasets import cifar10_batches
from datasets.cifar10_batches import CHANNELS, SIDE
from datasets.split_data import names_in, split

CLASS_NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
NUM_VALIDATION = 5000  # the last images of the last training batch
# SHA-256 of what each file contains: its labels as bytes, then its pixels. Taken from files with the published MD5s
# (c99cafc1..., d4bba439..., 54ebc095..., 634d1841..., 482c414d..., 40351d58...). So it does not matter who packed the
# archive, nor which of the two formats it has: what is checked is what the network sees.
CONTENT_SHA256 = {
    'data_batch_1': '0d577ad18df43575d9a4604e9439c975ed0458e62fedce31bf342584486095b4',
    'data_batch_2': '119fc42c082d4eb9075f4be2ad8ead34f73523fd07bfa1e6eb72e4c0a9f4e234',
    'data_batch_3': '3920cc990b250c9f5858706bfdfa42e5916a3fb9c650076857c0eaeeb9ba22e9',
    'data_batch_4': '63d48826df4236930951424843f0f1f3e5fd6af00eecd863db9d08cc1c9cafb9',
    'data_batch_5': 'ab505a476be12050fcd964679bf4f83ef3382722a31273e2d1c592fd7e312d11',
    'test_batch': 'ecc0a6ddb5cb58330ce4f06c1825ec8c68baeade5baaacbb3cbdf8f385599213',
}
BATCH_NAMES = tuple(CONTENT_SHA256)
ASSET = download.Asset(
    name='cifar-10-python.tar.gz', size=170498071,
    sha256='6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce',
    mirrors=('https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',),
    by_hand='The folder cifar-10-batches-py that is in it, or the binary version, cifar-10-binary.tar.gz, will do too.')
MAX_BYTES = 400 << 20  # that an archive may unpack to; the official ones have 186 MB


class Format(NamedTuple):
    """One of the two forms in which CIFAR-10 is published."""
    archive: str        # its name
    folder: str         # the name of the folder in it
    suffix: str         # of the batches' names
    read: Callable      # function of a batch's bytes and its name in messages to (labels, pixels)


FORMATS = (Format(archive=ASSET.name, folder='cifar-10-batches-py', suffix='', read=cifar10_batches.read_pickled),
           Format(archive='cifar-10-binary.tar.gz', folder='cifar-10-batches-bin', suffix='.bin',
                  read=cifar10_batches.read_binary))


def load(data_dir, quiet=False):
    """Reads CIFAR-10; downloads it first if it is missing.

    Looked for in DATA_DIR/cifar10, then in DATA_DIR: the six batches, unpacked, there or in the folder that their
    archive makes; then the archive itself. Downloads go to DATA_DIR/cifar10.

    Args:
      data_dir: str or Path, the data folder.
      quiet: bool, no progress of a download.

    Returns:
      SplitData.

    Raises:
      InputError: the folder cannot be read, or a file in it is damaged or another than the published one.
      UnavailableError: it is missing and cannot be downloaded.
    """
    found = _find(Path(data_dir))
    if not found:
        fetched = download.obtain([ASSET], Path(data_dir) / 'cifar10', quiet)[0]
        found = fetched.path, FORMATS[0], fetched.source
    path, form, source = found
    try:
        pixels, labels, checksums = _read(path, form)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror})')
    first_test = len(pixels) - cifar10_batches.NUM_IMAGES
    return split(pixels[:first_test], labels[:first_test], NUM_VALIDATION, test_images=pixels[first_test:],
                 test_labels=labels[first_test:], class_names=CLASS_NAMES, source=source, checksums=checksums)


def _find(data_dir):
    """Returns (path of a folder or an archive, its Format, its name for messages), or None where there is nothing."""
    incomplete = None
    for folder in (data_dir / 'cifar10', data_dir):
        for form in FORMATS:
            batches = {name + form.suffix for name in BATCH_NAMES}
            for unpacked in (folder / form.folder, folder):
                missing = batches - names_in(unpacked)
                if not missing:
                    return unpacked, form, str(unpacked)
                if missing != batches:
                    names = ', '.join(sorted(missing))
                    incomplete = f'{unpacked}: does not contain {names}; complete it, or move it away'
            if form.archive in names_in(folder):
                return folder / form.archive, form, str(folder / form.archive)
    if incomplete:
        raise InputError(incomplete)
    return None


def _read(path, form):
    """Reads the six batches, in whatever order they come; only one is in memory besides the images.

    Returns:
      (uint8 [60000, 32, 32, 3], int64 [60000], dict of SHA-256), training batches first.
    """
    per_batch = cifar10_batches.NUM_IMAGES
    all_images = np.empty((len(BATCH_NAMES), per_batch, SIDE * SIDE, CHANNELS), np.uint8)
    all_labels = np.empty((len(BATCH_NAMES), per_batch), np.int64)
    checksums = {}
    for name, content, title in _batches(path, form):
        if name in checksums:
            raise InputError(f'{title} appears twice')
        labels, pixels = form.read(content, title)
        checksums[name] = _check_sum(name, labels, pixels, title)
        number = BATCH_NAMES.index(name)
        np.stack(np.split(pixels, CHANNELS, axis=1), axis=2, out=all_images[number])
        all_labels[number] = labels
    missing = [name + form.suffix for name in BATCH_NAMES if name not in checksums]
    if missing:
        raise InputError(f"{path}: does not contain {', '.join(missing)}")
    return (all_images.reshape(-1, SIDE, SIDE, CHANNELS), all_labels.ravel(),
            {name: checksums[name] for name in BATCH_NAMES})


def _batches(path, form):
    """Yields (batch name, its bytes, its name for messages)."""
    wanted = {name + form.suffix: name for name in BATCH_NAMES}
    if path.name == form.archive:
        files.check_regular(path)
        for member, content in archives.read(path, wanted, MAX_BYTES):
            file_name = PurePosixPath(member).name
            yield wanted[file_name], content, f'{path}: {file_name}'
        return
    for file_name, name in wanted.items():
        files.check_regular(path / file_name)
        with (path / file_name).open('rb') as stream:
            yield name, stream.read(MAX_BYTES), str(path / file_name)


def _check_sum(name, labels, pixels, title):
    digest = hashlib.sha256(labels)
    digest.update(np.ascontiguousarray(pixels))
    if digest.hexdigest() != CONTENT_SHA256[name]:
        raise InputError(f'{title}: not the published images and labels: their SHA-256 is {digest.hexdigest()}, '
                         f'expected {CONTENT_SHA256[name]}; move it away, and the right file is downloaded')
    return digest.hexdigest()


def channel_statistics(images, together=False):
    """Computes mean and standard deviation of each channel, exactly, with no copy of all images.

    Args:
      images: uint8 [num_images, height, width, 3].
      together: bool, one mean and one standard deviation for all channels.

    Returns:
      (float64 [3] means, float64 [3] standard deviations), in [0, 255].
    """
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    counts = np.broadcast_to(counts.sum(axis=0), counts.shape) if together else counts
    fractions, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256)
    mean = fractions @ values
    return mean, np.sqrt(fractions @ values ** 2 - mean ** 2)


def prepare(image):
    """Crops a photograph to its center square, scaled to 32 x 32 pixels: what the network reads.

    Args:
      image: float32 [height, width, 3], RGB in [0, 255].

    Returns:
      uint8 [32, 32, 3].
    """
    return np.uint8(np.clip(np.round(images.center_square(image, SIDE)), 0, 255))
