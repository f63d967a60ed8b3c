"""ONNX files: their arrays and convolutions. Nothing in them is run, and data in other files is refused."""
import numpy as np

from common import files
from common.errors import InputError

MAX_FIELDS = 10 ** 5   # a VGG-19's has some thousand; an empty one of two bytes takes a hundred when it is read
MAX_BYTES = 2 ** 24  # of a file that `read` takes; the largest of the style networks' has 2.6 million


def parse(content):
    """Parses an ONNX model, bytes; returns its graph, whose arrays `to_array` reads.

    Raises:
      InputError: it has data in other files, or very many fields. What is no ONNX model raises almost anything else.
    """
    import onnx  # a tenth of a second, and only where a network is read

    _check_num_fields(memoryview(content), onnx.ModelProto.DESCRIPTOR)
    graph = onnx.load_from_string(content).graph
    if any(tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise InputError('an ONNX file with data in other files, which are not read')
    return graph


def _check_num_fields(content, kind):
    """Counts the fields of a protobuf message and of those in it: they take memory, however short they are."""
    messages, count = [(0, len(content), kind)], 0
    while messages:
        place, end, kind = messages.pop()
        while place < end:
            count += 1
            if count > MAX_FIELDS:
                raise InputError(f'more than {MAX_FIELDS:,} fields, which no such network has')
            key, place = _varint(content, place)
            if key & 7 == 0:
                _, place = _varint(content, place)
            elif key & 7 == 2:  # a message, or text or numbers
                size, place = _varint(content, place)
                field = kind.fields_by_number.get(key >> 3)
                if field is not None and field.message_type is not None:
                    messages.append((place, min(place + size, end), field.message_type))
                place += size
            else:
                place += {1: 8, 5: 4}[key & 7]


def _varint(content, place):
    """Reads a number of 7 bits a byte; returns (int, where it ends)."""
    value = shift = 0
    while content[place] & 0x80:
        if shift > 63:
            raise ValueError('a number of more than 64 bits')
        value |= (content[place] & 0x7f) << shift
        place, shift = place + 1, shift + 7
    return value | content[place] << shift, place + 1


def to_array(tensor):
    """Returns the array of an initializer."""
    from onnx import numpy_helper
    return numpy_helper.to_array(tensor)


def read(path, expected):
    """Reads a plain ONNX file: its arrays, and its convolutions with weights of 8 bits turned into numbers.

    Args:
      path: str or Path.
      expected: str, the name of the file that is wanted, for messages.

    Returns:
      ({name: array}, {name of a kernel: (float32 [height, width, in, out], float32 [out] or None)}). A depthwise kernel
      comes as [height, width, 1, channels].

    Raises:
      InputError: missing, too large, damaged, or not plain ONNX.
    """
    files.check_regular(path, expected)
    with open(str(path), 'rb') as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(f'{path}: not {expected}: more than {MAX_BYTES:,} bytes')
    try:
        return _convolutions(parse(content))
    except InputError as error:
        raise InputError(f'{path}: {error}')
    except Exception as error:  # on a damaged file protobuf and numpy raise almost anything
        raise InputError(f'{path}: not {expected}: a damaged file, or one of another kind '
                         f'({" ".join(str(error).split())[:60] or type(error).__name__})')


def _convolutions(graph):
    arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    quantized = {node.output[0]: node.input for node in graph.node if node.op_type == 'DequantizeLinear'}

    def number(name):
        if name not in quantized:
            return name, np.asarray(arrays[name], np.float32)
        values, scale, zero = (np.asarray(arrays[part], np.float32) for part in quantized[name])
        shape = [-1] + [1] * (values.ndim - 1)  # a scale for each output channel
        return quantized[name][0], (values - zero.reshape(shape)) * scale.reshape(shape)

    convolutions = {}
    for node in graph.node:
        if node.op_type == 'Conv':
            name, kernel = number(node.input[1])
            bias = number(node.input[2])[1] if len(node.input) > 2 else None
            convolutions[name] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), bias
    return arrays, convolutions
