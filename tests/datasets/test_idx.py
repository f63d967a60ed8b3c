"""The IDX reader: what it reads, and one clear error for each way in which a file can be wrong."""
import gzip
import os
import struct

import numpy as np
import pytest

from common.errors import InputError
from datasets import idx

IMAGES = np.arange(3 * 28 * 28).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], np.uint8)
IMAGES_FILE = struct.pack('>4I', 0x803, 3, 28, 28) + IMAGES.tobytes()
LABELS_FILE = struct.pack('>2I', 0x801, 3) + LABELS.tobytes()


def damaged(packed, position):
    return packed[:position] + bytes([packed[position] ^ 255]) + packed[position + 1:]


@pytest.fixture
def write(tmp_path):
    def write(content, name='a-file'):
        path = tmp_path / name
        path.write_bytes(content)
        return path
    return write


@pytest.mark.parametrize('pack', [bytes, gzip.compress], ids=['bare', 'gz'])
@pytest.mark.parametrize('name', ['images', 'images.gz'])
def test_reads_packed_or_not_whatever_the_name(write, pack, name):
    images, labels = idx.read_pair(write(pack(IMAGES_FILE), name), write(pack(LABELS_FILE), 'labels'))
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize('content, message', [
    (b'', 'empty; expected a file of images'),
    (gzip.compress(b''), 'empty; expected a file of images'),
    (IMAGES_FILE[:10], 'ends within its header'),
    (IMAGES_FILE[:-1], 'only 2,351 bytes after the header, which promises 3 images, 2,352 bytes'),
    (IMAGES_FILE + b'\0', 'more than 2,352 bytes after the header, which promises 3 images, 2,352 bytes'),
    (gzip.compress(IMAGES_FILE + b'\0'), 'more than 2,352 bytes after the header'),
    (LABELS_FILE + bytes(9), 'not an IDX file of images: its magic number is 0x00000801, expected 0x00000803'),
    (b'<!DOCTYPE html><html>', 'its magic number is 0x3c21444f, expected 0x00000803'),
    (struct.pack('>4I', 0x803, 3, 32, 30) + bytes(2880), 'images of 32 x 30 pixels, expected 28 x 28'),
    (struct.pack('>4I', 0x803, 0, 28, 28), 'its header promises 0 images, expected 1 to 60,000'),
    (struct.pack('>4I', 0x803, 2 ** 32 - 1, 28, 28), 'its header promises 4,294,967,295 images'),
    (gzip.compress(IMAGES_FILE)[:-20], 'ends in the middle of its gzip data'),
    (gzip.compress(IMAGES_FILE)[:-4], 'ends in the middle of its gzip data'),
    (b'\x1f\x8b', 'ends in the middle of its gzip data'),
    (damaged(gzip.compress(IMAGES_FILE), 30), 'its gzip data is damaged'),
    (damaged(gzip.compress(IMAGES_FILE), -8), 'its gzip data is damaged'),
    (b'\x1f\x8b' + bytes(50), 'its gzip data is damaged'),
])
def test_damaged_images_are_one_line(write, content, message):
    path = write(content)
    with pytest.raises(InputError) as caught:
        idx.read_images(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content, message', [
    (LABELS_FILE[:-1] + b'\x0a', 'label 10 at position 2; labels are 0 to 9'),
    (LABELS_FILE[:-2], 'only 1 bytes after the header, which promises 3 labels'),
    (IMAGES_FILE, 'not an IDX file of labels: its magic number is 0x00000803, expected 0x00000801'),
])
def test_damaged_labels_are_one_line(write, content, message):
    with pytest.raises(InputError, match=message):
        idx.read_labels(write(content))


def test_counts_must_agree(write):
    images, labels = write(IMAGES_FILE, 'some'), write(struct.pack('>2I', 0x801, 2) + bytes(2), 'fewer')
    with pytest.raises(InputError, match='some contains 3 images, but .*fewer 2 labels; they must be equally many'):
        idx.read_pair(images, labels)


def test_what_is_no_file(write, tmp_path):
    with pytest.raises(InputError, match=r'cannot be read \(No such file'):
        idx.read_images(tmp_path / 'missing')
    with pytest.raises(InputError, match='not a regular file'):
        idx.read_images(tmp_path)
    os.mkfifo(str(tmp_path / 'pipe'))
    with pytest.raises(InputError, match='not a regular file'):
        idx.read_labels(tmp_path / 'pipe')
    with pytest.raises(InputError, match=r'cannot be read \(Not a directory'):
        idx.read_images(write(b'') / 'below')
