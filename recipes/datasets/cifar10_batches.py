"""The two formats of CIFAR-10's files: a pickle made by Python 2, and fixed records of bytes.

Unpickling is running a small program. This reader lets it build numbers, strings, lists, dicts and numpy's arrays, and
nothing else: a pickle that names any other function is refused before that is even imported.

Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""
import io
import pickle

import numpy as np

from common.errors import InputError

SIDE = 32  # pixels
CHANNELS = 3
NUM_IMAGES = 10000  # in each file
NUM_CLASSES = 10
IMAGE_BYTES = CHANNELS * SIDE * SIDE
MAX_BYTES = 40 << 20  # of a file; the official ones have 31 MB
ADMITTED = {('numpy.core.multiarray', '_reconstruct'), ('numpy', 'ndarray'), ('numpy', 'dtype')}


def read_pickled(content, name):
    """Reads a batch of cifar-10-python.tar.gz.

    Args:
      content: bytes of the file.
      name: what to call it in a message, such as its path.

    Returns:
      (labels, pixels): uint8 [10000] in [0, 9]; uint8 [10000, 3072], the planes red, green and blue of 32 x 32.

    Raises:
      InputError: no pickle, one that asks for more than a batch needs, or not such a batch.
    """
    batch = _unpickle(content, name)
    if not isinstance(batch, dict):
        raise InputError('%s: a pickled %s, expected a dict of data and labels' % (name, type(batch).__name__))
    fields = {key.decode('latin-1') if isinstance(key, bytes) else key: value for key, value in batch.items()}
    for key in ('data', 'labels'):
        if key not in fields:
            raise InputError('%s: holds no %s; expected one of the batches of CIFAR-10' % (name, key))
    pixels, labels = fields['data'], fields['labels']
    if type(pixels) is not np.ndarray or pixels.dtype != np.uint8 or pixels.shape != (NUM_IMAGES, IMAGE_BYTES):
        found = ('%s %s' % (pixels.dtype, list(pixels.shape)) if isinstance(pixels, np.ndarray)
                 else 'a %s' % type(pixels).__name__)
        raise InputError('%s: its data is %s, expected uint8 [%d, %d]' % (name, found, NUM_IMAGES, IMAGE_BYTES))
    return _check_labels(labels, name), pixels


def read_binary(content, name):
    """Reads a batch of cifar-10-binary.tar.gz: 10,000 times the label and the image; see read_pickled."""
    expected = NUM_IMAGES * (1 + IMAGE_BYTES)
    if len(content) != expected:
        raise InputError('%s: %s bytes, expected %s' % (
            name, 'more than %s' % format(expected, ',') if len(content) > expected else format(len(content), ','),
            format(expected, ',')))
    records = np.frombuffer(content, np.uint8).reshape(NUM_IMAGES, 1 + IMAGE_BYTES)
    return _check_labels(list(records[:, 0]), name), records[:, 1:]


def _unpickle(content, name):
    try:
        return _Unpickler(io.BytesIO(content), encoding='bytes').load()
    except InputError as error:
        raise InputError('%s: %s' % (name, error))
    except Exception as error:  # damage shows as errors of a dozen kinds, from IndexError to UnicodeDecodeError
        raise InputError('%s: not a batch of CIFAR-10: its pickle is damaged (%s)' % (name, error))


class _Unpickler(pickle.Unpickler):
    """Admits of Python's functions and classes those that an array of numpy is built with."""

    def find_class(self, module, name):
        if (module, name) not in ADMITTED:
            raise InputError('refused: its pickle asks for %s.%s, which a batch of CIFAR-10 does not need'
                             % (module, name))
        return super().find_class(module, name)

    def persistent_load(self, pid):
        raise InputError('refused: its pickle refers to something outside the file')


def _check_labels(labels, name):
    if not isinstance(labels, list) or len(labels) != NUM_IMAGES:
        found = format(len(labels), ',') if isinstance(labels, list) else 'a %s as' % type(labels).__name__
        raise InputError('%s: %s labels, expected a list of %s' % (name, found, format(NUM_IMAGES, ',')))
    for position, label in enumerate(labels):
        if not isinstance(label, (int, np.integer)) or not 0 <= label < NUM_CLASSES:
            raise InputError('%s: label %r at position %d; labels are 0 to %d'
                             % (name, label, position, NUM_CLASSES - 1))
    return np.array(labels, np.uint8)
