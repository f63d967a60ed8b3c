"""The reader of IDX, MNIST's file format: a magic number, the sizes, the bytes; packed by gzip or not.

Source: the format's description at http://yann.lecun.com/exdb/mnist/
"""
import gzip
import struct
import zlib

import numpy as np

from common.errors import InputError
from common.files import check_regular

SIDE = 28  # pixels of an image, in height and in width
NUM_CLASSES = 10
MAX_ITEMS = 60000  # in a file; a header that promises more is damaged, and would have us ask for all memory
UNSIGNED_BYTES = 0x0800  # the magic number's type; its last byte is the number of axes


def read_images(path):
    """Reads a file of images.

    Args:
      path: str or Path, packed by gzip or not, whatever its name says.

    Returns:
      uint8 [images, 28, 28].

    Raises:
      InputError: missing, unreadable, damaged, longer or shorter than its header says, of another kind or size.
    """
    return _read(path, 'images', (SIDE, SIDE))


def read_labels(path):
    """Reads a file of labels; like read_images.

    Returns:
      uint8 [labels], in [0, 9].
    """
    labels = _read(path, 'labels', ())
    if labels.max() >= NUM_CLASSES:
        position = int(np.argmax(labels >= NUM_CLASSES))
        raise InputError(f'{path}: label {labels[position]} at position {position}; labels are 0 to {NUM_CLASSES - 1}')
    return labels


def read_pair(images_path, labels_path):
    """Reads a file of images and the one of their labels.

    Returns:
      (uint8 [images, 28, 28], uint8 [images]).

    Raises:
      InputError: as read_images and read_labels do, and if their numbers differ.
    """
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise InputError(f'{images_path} contains {len(images):,} images, but {labels_path} {len(labels):,} labels; '
                         'they must be equally many')
    return images, labels


def _read(path, kind, item_shape):
    check_regular(path)
    try:
        with open(str(path), 'rb') as raw:
            packed = raw.read(2) == b'\x1f\x8b'
            raw.seek(0)
            return _parse(gzip.GzipFile(fileobj=raw) if packed else raw, path, kind, item_shape)
    except EOFError:
        raise InputError(f'{path}: ends in the middle of its gzip data; download it again')
    except zlib.error as error:
        raise InputError(f'{path}: its gzip data is damaged ({error}); download it again')
    except OSError as error:
        if error.errno is None:  # the gzip module's own: a bad header or checksum
            raise InputError(f'{path}: its gzip data is damaged ({error}); download it again')
        raise InputError(f'{path}: cannot be read ({error.strerror})')


def _parse(stream, path, kind, item_shape):
    """Returns the array in an IDX stream, which must hold nothing else."""
    header = stream.read(4 * (2 + len(item_shape)))
    if not header:
        raise InputError(f'{path}: empty; expected a file of {kind}')
    if len(header) < 4 * (2 + len(item_shape)):
        raise InputError(f'{path}: ends within its header; download it again')
    magic, count, *found_shape = struct.unpack(f'>{2 + len(item_shape)}I', header)
    expected = UNSIGNED_BYTES + 1 + len(item_shape)
    if magic != expected:
        raise InputError(f'{path}: not an IDX file of {kind}: its magic number is 0x{magic:08x}, expected '
                         f'0x{expected:08x}')
    if tuple(found_shape) != item_shape:
        found, wanted = (' x '.join(map(str, shape)) for shape in (found_shape, item_shape))
        raise InputError(f'{path}: images of {found} pixels, expected {wanted}')
    if not 1 <= count <= MAX_ITEMS:
        raise InputError(f'{path}: its header promises {count:,} {kind}, expected 1 to {MAX_ITEMS:,}')
    length = count * int(np.prod(item_shape, dtype=int))
    data = stream.read(length + 1)  # one more than there should be, which also makes gzip check its checksum
    if len(data) != length:
        found = f'more than {length:,}' if len(data) > length else f'only {len(data):,}'
        raise InputError(f'{path}: {found} bytes after the header, which promises {count:,} {kind}, {length:,} bytes; '
                         'download it again')
    return np.frombuffer(data, np.uint8).reshape((count,) + item_shape)
