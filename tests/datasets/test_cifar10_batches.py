"""CIFAR-10's two formats: what is read, and what no file gets done."""
import os
import pickle
import resource
import struct
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from datasets import cifar10_batches

NUM_IMAGES = 30
random = np.random.RandomState(0)
PIXELS = random.randint(0, 256, (NUM_IMAGES, 3072)).astype(np.uint8)
LABELS = random.randint(0, 10, NUM_IMAGES).tolist()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(cifar10_batches, 'NUM_IMAGES', NUM_IMAGES)


def string(text):
    """A str of Python 2, pickled."""
    text = text if isinstance(text, bytes) else text.encode()
    return b'U' + bytes([len(text)]) + text if len(text) < 256 else b'T' + struct.pack('<i', len(text)) + text


def python2_batch(pixels=PIXELS, labels=LABELS):
    """The batch as Python 2.7 and numpy pickled it in 2009, opcode by opcode (protocol 2)."""
    shape = b''.join(b'M' + struct.pack('<H', length) for length in pixels.shape) + b'\x86'
    array = (b'cnumpy.core.multiarray\n_reconstruct\n' + b'cnumpy\nndarray\n' + b'K\0\x85' + string('b') + b'\x87R'
             + b'(K\x01' + shape + b'cnumpy\ndtype\n' + string('u1') + b'K\0K\x01\x87R'
             + b'(K\x03' + string('|') + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb'
             + b'\x89' + string(pixels.tobytes()) + b'tb')
    numbers = b'](' + b''.join(b'K' + bytes([label]) for label in labels) + b'e'
    return (b'\x80\x02}(' + string('batch_label') + string('training batch 1 of 5') + string('labels') + numbers
            + string('data') + array + string('filenames') + b'](' + string('leptodactylus_s_000004.png') + b'eu.')


def python3_batch(**fields):
    return pickle.dumps(dict({'data': PIXELS, 'labels': LABELS}, **fields), protocol=3)


def renamed(content, before, after):
    return content.replace(b'c' + before + b'.', b'c' + after + b'.')


def binary_batch(pixels=PIXELS, labels=LABELS):
    return np.hstack([np.array(labels, np.uint8)[:, np.newaxis], pixels]).tobytes()


@pytest.mark.parametrize('content, read', [
    (python2_batch(), cifar10_batches.read_pickled),
    (python3_batch(), cifar10_batches.read_pickled),
    (pickle.dumps({b'data': PIXELS, b'labels': LABELS}, protocol=4), cifar10_batches.read_pickled),
    (pickle.dumps({b'data': PIXELS, b'labels': LABELS}, protocol=2), cifar10_batches.read_pickled),
    (pickle.dumps({'data': PIXELS, 'labels': LABELS, 'nothing': b''}, protocol=0), cifar10_batches.read_pickled),
    (renamed(python3_batch(), b'numpy.core', b'numpy._core'), cifar10_batches.read_pickled),
    (renamed(python3_batch(), b'numpy._core', b'numpy.core'), cifar10_batches.read_pickled),
    (binary_batch(), cifar10_batches.read_binary),
], ids=['Python 2', 'Python 3, str', 'Python 3, bytes', 'protocol 2', 'protocol 0', 'numpy 2', 'numpy 1', 'binary'])
def test_reads(content, read):
    labels, pixels = read(content, 'a-batch')
    assert labels.dtype == pixels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(pixels, PIXELS)


def test_the_pickle_above_is_one_that_python_reads():
    batch = pickle.loads(python2_batch(), encoding='bytes')
    np.testing.assert_array_equal(batch[b'data'], PIXELS)
    assert batch[b'labels'] == LABELS


class Runs:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def refused(content):
    with pytest.raises(InputError) as caught:
        cifar10_batches.read_pickled(content, 'a-batch')
    assert str(caught.value).startswith('a-batch: ') and '\n' not in str(caught.value)
    return str(caught.value)


CALLS = {'shell': lambda proof: Runs(os.system, 'touch ' + proof),
         'exec': lambda proof: Runs(exec, f'open({proof!r}, "w")'),
         'open': lambda proof: Runs(open, proof, 'w'), 'folder': lambda proof: Runs(os.mkdir, proof),
         'numpy': lambda proof: Runs(np.savetxt, proof, [1])}


@pytest.mark.parametrize('protocol', range(5))
@pytest.mark.parametrize('kind', sorted(CALLS))
def test_nothing_is_run(tmp_path, protocol, kind):
    call = CALLS[kind](str(tmp_path / 'ran'))
    contents = [pickle.dumps(value, protocol) for value in (call, [{1: call}], {'call': call, 'data': PIXELS})]
    for content in contents:
        assert 'refused: its pickle asks for ' in refused(content)
        assert os.listdir(str(tmp_path)) == []
    pickle.loads(contents[0])
    assert os.listdir(str(tmp_path)) == ['ran']  # it would have been


@pytest.mark.parametrize('content', [
    b'cos\nsystem\n(S"true"\ntR.',
    b'(S"true"\nios\nsystem\n.',
    b'(cos\nsystem\nS"true"\no.',
    b'\x80\x02cbuiltins\nobject\n)\x81.',
    b'\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.',
    b'\x80\x02cnumpy\nload\n' + string('x') + b'\x85R.',
    b'\x80\x02cnumpy.core.multiarray\nfromfile\n.',
    b'Pfile\n.',
    b'\x80\x02K\x01Q.',
], ids=['REDUCE', 'INST', 'OBJ', 'NEWOBJ', 'STACK_GLOBAL', 'numpy.load', 'multiarray.fromfile', 'PERSID', 'BINPERSID'])
def test_every_way_to_name_something_is_refused(content):
    assert ': refused: its pickle asks for ' in refused(content)


@pytest.mark.parametrize('content, message', [
    (b'', 'its pickle is damaged (EOFError'),
    (b'<!DOCTYPE html><html>', 'its pickle is damaged'),
    (python2_batch()[:-1], 'its pickle is damaged'),
    (python2_batch()[:5000], 'its pickle is damaged'),
    (b'\x80\x05N.', 'its pickle is damaged (ValueError: unsupported pickle protocol: 5)'),
    (pickle.dumps({'data': PIXELS}, 4).replace(b'\x80\x04', b'\x80\x05', 1), 'unsupported pickle protocol: 5)'),
    (b'\x96\x09\0\0\0\0\0\0\0123456789.', 'its pickle is damaged (KeyError: 150)'),
    (b'\x80\x02c_codecs\nencode\n' + string('x') + string('rot13') + b'\x86R.', "bytes written as b'rot13'"),
    (b'\x80\x02\x82\x01.', 'its pickle is damaged (ValueError: unregistered extension code 1)'),
    (b'\x80\x02cnumpy\nndarray\n)R.', "its pickle is damaged (TypeError: 'str' object is not callable)"),
    (b'\x80\x02cnumpy\nndarray\n)\x81.', 'its pickle is damaged'),
    (pickle.dumps([1, 2], 2), 'a pickled list, expected a dict'),
    (pickle.dumps({'labels': []}, 2), 'does not contain data; expected a batch of CIFAR-10'),
    (pickle.dumps({'data': 1, 'fine_labels': []}, 2), 'does not contain labels; expected a batch of CIFAR-10'),
    (python3_batch(data=b'abc'), 'its data is a bytes, expected an array'),
    (python3_batch(data=PIXELS[:29]), 'its data has the shape (29, 3072), expected (30, 3072)'),
    (python2_batch(PIXELS.reshape(3072, 30)), 'its data has the shape (3072, 30), expected'),
    (python2_batch().replace(PIXELS.tobytes()[-9:], b''), 'its pickle is damaged'),
    (python3_batch(data=PIXELS.astype(np.float32)), "an array of 'f4', expected unsigned bytes"),
    (python3_batch(data=PIXELS.astype(object)), "an array of 'O8', expected unsigned bytes"),
    (python3_batch(data=np.asfortranarray(PIXELS)), 'an array of something else than bytes, row by row'),
    (python3_batch(labels=tuple(LABELS)), 'its labels are a tuple, expected a list'),
    (python3_batch(labels=LABELS[1:]), '29 labels, expected 30'),
    (python3_batch(labels=LABELS[:7] + [10] + LABELS[8:]), 'label 10 at position 7; labels are 0 to 9'),
    (python3_batch(labels=[-1] + LABELS[1:]), 'label -1 at position 0'),
    (python3_batch(labels=[1.0] + LABELS[1:]), 'label 1.0 at position 0'),
    (python3_batch(labels=['a\nb' * 99] + LABELS[1:]), r"label 'a\nba\nb"),
])
def test_what_is_no_batch_is_one_line(content, message):
    assert message in refused(content)


def test_a_message_does_not_unfold_what_is_nested():
    label = 'x'
    for _ in range(40):  # written out, 2 ** 40 times an x
        label = [label, label]
    assert 'label [[[' in refused(pickle.dumps({'data': PIXELS, 'labels': [label] + LABELS[1:]}, 3))


def test_content_of_another_length_than_its_shape():
    content = python2_batch(PIXELS[:29]).replace(b'M\x1d\x00M', b'M\x1e\x00M')
    assert 'its data has 89,088 bytes, expected 92,160' in refused(content)


def test_a_pickle_of_ten_bytes_asks_for_no_gigabytes():
    # LONG_BINPUT: remember None as number 2 ** 28; the unpickler in C makes a table twice as long. BYTEARRAY8:
    # that many bytes follow; the unpickler in Python makes room for them before it looks.
    in_use = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 30), limits[1]))
    try:
        assert 'a pickled NoneType, expected a dict' in refused(b'\x80\x02Nr\0\0\0\x10.')
        assert 'its pickle is damaged' in refused(b'\x80\x04\x96\0\0\0\0\x10\0\0\0.')
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_pickle_changes_nothing_here():
    state = b'}(' + string('__defaults__') + b'K\x01u'
    for target in (b'cnumpy.core.multiarray\n_reconstruct\n', b'cnumpy\ndtype\n', b'cnumpy\nndarray\n'):
        for build in (state + b'b', b'N' + state + b'\x86b'):
            refused(b'\x80\x02' + target + build + b'.')
    labels, pixels = cifar10_batches.read_pickled(python2_batch(), 'a-batch')
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize('content, message', [
    (binary_batch()[:-1], 'a-batch: 92,189 bytes, expected 92,190'),
    (binary_batch() + b'\0', 'a-batch: 92,191 bytes, expected 92,190'),
    (binary_batch(labels=LABELS[:-1] + [10]), 'a-batch: label 10 at position 29; labels are 0 to 9'),
])
def test_damaged_binary_batches(content, message):
    with pytest.raises(InputError) as caught:
        cifar10_batches.read_binary(content, 'a-batch')
    assert str(caught.value) == message
