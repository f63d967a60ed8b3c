"""ONNX files: their arrays and convolutions. Nothing in them is run, and data in other files is refused."""
import numpy as np

from common import files
from common.errors import InputError

MAX_BYTES = 2 ** 24  # of a file that `read` takes; the largest of the style networks' has 2.6 million


def parse(content):
    """Parses an ONNX model, bytes; returns its graph, whose arrays `to_array` reads.

    Raises:
      InputError: it has data in other files. What is no ONNX model raises almost anything else.
    """
    import onnx  # a tenth of a second, and only where a network is read

    graph = onnx.load_from_string(content).graph
    if any(tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise InputError('an ONNX file with data in other files, which are not read')
    return graph


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
