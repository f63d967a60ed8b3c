"""The two formats of CIFAR-10's files: a pickle made by Python 2, and fixed records of bytes.

To unpickle is to run a small program, which may call any function of Python. This reader lets it build numbers,
strings, lists, dicts and arrays of bytes; the names of numpy's and Python's that it may use stand for functions of this
module. A pickle that asks for another is refused before anything is imported or called.

Source: https://www.cs.toronto.edu/~kriz/cifar.html; https://docs.python.org/3.7/library/pickle.html#restricting-globals
"""
import io
import pickle
import reprlib

import numpy as np

from common.errors import InputError

SIDE = 32  # pixels of an image, in height and in width
CHANNELS = 3
IMAGE_BYTES = CHANNELS * SIDE * SIDE
NUM_IMAGES = 10000  # in each file
NUM_CLASSES = 10


def read_pickled(content, name):
    """Reads a batch of cifar-10-python.tar.gz.

    Args:
      content: bytes of the file.
      name: str for messages, such as its path.

    Returns:
      (labels, pixels): uint8 [10000] in [0, 9]; uint8 [10000, 3072], the planes red, green and blue of 32 x 32.

    Raises:
      InputError: no pickle, one that asks for more than a batch needs, or not such a batch.
    """
    batch = _unpickle(content, name)
    if not isinstance(batch, dict):
        raise InputError(f'{name}: a pickled {type(batch).__name__}, expected a dict')
    fields = {key.decode('latin-1') if isinstance(key, bytes) else key: value for key, value in batch.items()}
    for key in ('data', 'labels'):
        if key not in fields:
            raise InputError(f'{name}: does not contain {key}; expected a batch of CIFAR-10')
    return _check_labels(fields['labels'], name), _check_pixels(fields['data'], name)


def read_binary(content, name):
    """Reads a batch of cifar-10-binary.tar.gz: 10,000 times a label and an image, 3,073 bytes; see read_pickled."""
    expected = NUM_IMAGES * (1 + IMAGE_BYTES)
    if len(content) != expected:
        raise InputError(f'{name}: {len(content):,} bytes, expected {expected:,}')
    records = np.frombuffer(content, np.uint8).reshape(NUM_IMAGES, 1 + IMAGE_BYTES)
    return _check_labels(records[:, 0].tolist(), name), records[:, 1:]


def _check_pixels(array, name):
    expected = NUM_IMAGES, IMAGE_BYTES
    if not isinstance(array, _Array):
        raise InputError(f'{name}: its data is a {type(array).__name__}, expected an array')
    if array.shape != expected:
        raise InputError(f'{name}: its data has the shape {reprlib.repr(array.shape)}, expected {expected!r}')
    if len(array.content) != NUM_IMAGES * IMAGE_BYTES:
        raise InputError(f'{name}: its data has {len(array.content):,} bytes, expected {NUM_IMAGES * IMAGE_BYTES:,}')
    return np.frombuffer(array.content, np.uint8).reshape(expected)


def _check_labels(labels, name):
    if not isinstance(labels, list):
        raise InputError(f'{name}: its labels are a {type(labels).__name__}, expected a list')
    if len(labels) != NUM_IMAGES:
        raise InputError(f'{name}: {len(labels):,} labels, expected {NUM_IMAGES:,}')
    for position, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < NUM_CLASSES:
            raise InputError(f'{name}: label {reprlib.repr(label)} at position {position}; labels are 0 to '
                             f'{NUM_CLASSES - 1}')
    return np.array(labels, np.uint8)


def _unpickle(content, name):
    try:
        return _BatchUnpickler(io.BytesIO(content), encoding='bytes').load()
    except InputError as error:
        raise InputError(f'{name}: {error}')
    except MemoryError:
        raise
    except Exception as error:  # damage shows as errors of a dozen kinds, from IndexError to UnicodeDecodeError
        raise InputError(f'{name}: its pickle is damaged ({type(error).__name__}: {error})')


# The one in Python, not the one in C, which ten bytes can make ask for gigabytes. It takes 0.1 s longer for a batch.
class _BatchUnpickler(pickle._Unpickler):
    """Gives a pickle this module's stand-ins for numpy's functions, and nothing else of Python.

    It knows the opcodes up to protocol 4: ten bytes of BYTEARRAY8, which Python 3.8 added in 5, ask for a gigabyte.
    """
    dispatch: dict = {opcode: load for opcode, load in pickle._Unpickler.dispatch.items() if opcode < 0x96}

    def load_proto(self):
        protocol = self.read(1)[0]  # type: ignore[attr-defined]
        if protocol > 4:
            raise ValueError(f'unsupported pickle protocol: {protocol}')
    dispatch[pickle.PROTO[0]] = load_proto

    def find_class(self, module, name):
        if (module, name) not in STAND_INS:
            raise InputError(f'refused: its pickle asks for {module:.50}.{name:.50}, which no batch of CIFAR-10 needs')
        return STAND_INS[module, name]

    def persistent_load(self, pid):
        raise InputError('refused: its pickle asks for something outside the file')


class _UInt8:
    """Stands in for numpy's uint8; what else a pickled type says, byte order and the like, is of no use for bytes."""
    __slots__ = ()

    def __setstate__(self, state):
        pass


class _Array:
    """Stands in for a numpy array: what the pickle says of it, not believed yet."""
    __slots__ = ('shape', 'content')

    def __init__(self):
        self.shape, self.content = None, b''

    def __setstate__(self, state):
        _, shape, data_type, in_columns, content = state
        if not isinstance(data_type, _UInt8) or not isinstance(content, bytes) or in_columns:
            raise InputError('an array of something else than bytes, row by row')
        self.shape, self.content = shape, content


def _make_array(*unused):  # numpy makes an empty array here; __setstate__ fills it
    return _Array()


def _make_type(code, *unused):
    if code not in (b'u1', 'u1'):
        raise InputError(f'an array of {reprlib.repr(code)}, expected unsigned bytes')
    return _UInt8()


def _make_bytes(text='', encoding='latin1'):
    if encoding != 'latin1':
        raise InputError(f'bytes written as {reprlib.repr(encoding)}')
    return text.encode(encoding)


STAND_INS = {('numpy.core.multiarray', '_reconstruct'): _make_array,
             ('numpy._core.multiarray', '_reconstruct'): _make_array,  # its name since numpy 2
             ('numpy', 'ndarray'): 'ndarray', ('numpy', 'dtype'): _make_type,
             ('_codecs', 'encode'): _make_bytes, ('__builtin__', 'bytes'): _make_bytes}  # how protocol 2 has bytes
