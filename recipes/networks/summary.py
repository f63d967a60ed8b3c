"""A network's layers, read from the graph itself: operation, shape, weights, receptive field; and their figure."""
from typing import Any, NamedTuple, Optional

import numpy as np

from common import pages
from common.session import tf
from networks.saved_model import VARIABLES

_PASSED = ('Identity', 'ReadVariableOp', 'Switch', 'Merge', 'Cast')  # between a variable and the operation that uses it
_KINDS = {'Conv2D': 'convolution', 'DepthwiseConv2dNative': 'depthwise', 'MaxPool': 'max pooling',
          'AvgPool': 'average pooling', 'MatMul': 'fully connected', 'Concat': 'concatenation',
          'ConcatV2': 'concatenation', 'DepthToSpace': 'depth to space', 'Max': 'global maximum', 'Mean': 'global mean'}
_GENERIC = {'conv', 'convolution', 'conv2d', 'matmul', 'maxpool', 'avgpool', 'concat', 'max', 'mean', 'depthwise',
            'depthtospace'}
_COLORS = {'convolution': pages.COLORS[0], 'depthwise': pages.COLORS[0], 'fully connected': pages.COLORS[2],
           'concatenation': pages.COLORS[4]}
_ROW = 20               # pixels
_WIDTH = 150            # of the drawing of a layer as wide as the image
_COLUMNS = (('layer', 0), ('operation', 260), ('output', 450), ('weights', 610), ('receptive field', 710))


class Layer(NamedTuple):
    """A row of the table."""
    name: str
    kind: str
    kernel: int             # pixels of its input that a unit sees, each way; 0 for the whole
    stride: float           # below 1 where rows and columns become more
    shape: Any              # list of int or None, without the batch
    weights: int
    field: Optional[int]    # pixels of a side that a unit sees of the image; None for the whole
    jump: Optional[int]     # pixels of the image from one unit to the next


class _Seen(NamedTuple):
    """What is known of a tensor."""
    field: Optional[int] = 1
    jump: int = 1
    layer: int = -1         # the last that it comes from; -1 for none


def summarize(inputs, outputs):
    """Lists the layers between an input and the outputs.

    Args:
      inputs: tensor, [batch, height, width] or [batch, height, width, channels].
      outputs: tensor, or a list of them.

    Returns:
      list of Layer, each after what it needs. Weights count what is learned: kernels, biases, scales and offsets of
      batch normalization, as variables or as the constants of a frozen graph.

    Source: for the receptive field, Araujo, Norris and Sim 2019, Computing Receptive Fields of Convolutional Neural
      Networks (Distill): it grows by (kernel - 1) * jump, and the jump by the factor stride.
    """
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    seen, rows, counted = {inputs: _Seen()}, [], {}
    for operation in _between(inputs, outputs):
        known = {tensor: seen[tensor] for tensor in operation.inputs if tensor in seen}
        before = max(known.values(), key=lambda one: (np.inf if one.field is None else one.field, one.layer))
        kernel, stride = _window(operation, known)
        if kernel is not None:
            before = _Seen(field=None if before.field is None or not kernel else before.field
                           + (kernel - 1) * before.jump, jump=int(before.jump * stride), layer=len(rows))
            whole = before.field is None
            rows.append(Layer(name=operation.name, kind=_KINDS[operation.type], kernel=kernel, stride=stride,
                              shape=operation.outputs[0].shape.as_list()[1:], weights=0, field=before.field,
                              jump=None if whole else before.jump))
        for tensor in operation.inputs:
            learned = None if tensor in seen or before.layer < 0 else _learned(operation, tensor)
            if learned is not None and learned.op not in counted:
                counted[learned.op] = before.layer, learned
        for number, output in enumerate(operation.outputs):  # a custom gradient's IdentityN hands its inputs on, too
            same = operation.type == 'IdentityN' and operation.inputs[number] in known
            seen[output] = known[operation.inputs[number]] if same else before
    weights = [0] * len(rows)
    for layer, tensor in counted.values():
        weights[layer] += int(np.prod(tensor.shape.as_list()))
    names = _short_names([row.name for row in rows])
    return [row._replace(name=name, weights=count) for row, name, count in zip(rows, names, weights)]


def _between(inputs, outputs):
    """Lists the operations that need the inputs and are needed by the outputs, each after what it needs."""
    needing = downstream([inputs.op])
    ordered, visited, stack = [], set(), [(tensor.op, False) for tensor in reversed(outputs)]
    while stack:
        operation, done = stack.pop()
        if done:
            ordered.append(operation)
        elif operation in needing and operation not in visited:
            visited.add(operation)
            stack.append((operation, True))
            stack += [(tensor.op, False) for tensor in reversed(operation.inputs)]
    return ordered


def downstream(operations):
    """Returns the set of operations that need the results of these."""
    found, todo = set(), list(operations)
    while todo:
        new = {consumer for output in todo.pop().outputs for consumer in output.consumers()} - found
        found |= new
        todo += new
    return found


def _window(operation, known):
    """Returns (kernel, stride) of a layer, kernel 0 for one that sees all of its input; (None, None) for no layer."""
    first = next(iter(known))
    if operation.type in ('Conv2D', 'DepthwiseConv2dNative') and len(known) == 1:
        dilation = operation.get_attr('dilations')[1]
        return (operation.inputs[1].shape.as_list()[0] - 1) * dilation + 1, operation.get_attr('strides')[1]
    if operation.type in ('MaxPool', 'AvgPool'):
        return operation.get_attr('ksize')[1], operation.get_attr('strides')[1]
    if operation.type == 'MatMul' and not all(tensor in known for tensor in operation.inputs):  # else a Gram matrix
        return 0, 1
    if operation.type == 'DepthToSpace':
        return 1, 1 / operation.get_attr('block_size')
    if operation.type in ('Concat', 'ConcatV2') and len(known) > 1 and first.shape.rank == 4:
        return 1, 1
    if operation.type in ('Max', 'Mean') and first.shape.rank == 4 and operation.outputs[0].shape.rank == 2:
        return 0, 1
    return None, None


def _learned(operation, tensor):
    """Returns the variable, or a frozen graph's constant, that an operation's input reads; None if there is none."""
    if operation.type.startswith('FusedBatchNorm') and tensor not in list(operation.inputs)[1:3]:
        return None  # its moving averages
    while tensor.op.type in _PASSED:
        tensor = tensor.op.inputs[0]
    if tensor.op.type == 'VarHandleOp':
        return _Variable(op=tensor.op, shape=tf.TensorShape(tensor.op.get_attr('shape')))
    frozen = tensor.op.type == 'Const' and operation.type in ('Conv2D', 'DepthwiseConv2dNative', 'MatMul', 'BiasAdd')
    return _Variable(op=tensor.op, shape=tensor.shape) if frozen or tensor.op.type in VARIABLES else None


class _Variable(NamedTuple):
    op: Any
    shape: Any


def _short_names(names):
    """Leaves out what operations call themselves within a layer's scope, and the scope that all are in."""
    parts = [name.split('/') for name in names]
    parts = [part[:-1] if len(part) > 1 and part[-1].rsplit('_', 1)[0].lower() in _GENERIC else part for part in parts]
    while len(parts) > 1 and all(len(part) > 1 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    return ['/'.join(part) for part in parts]


def draw(path, inputs, outputs, title='The network'):
    """Draws the table of a network's layers, each with a bar as wide as its feature maps are, relative to the image.

    Args:
      path: where to write it.
      inputs, outputs: see summarize.
      title: str; the number of layers and weights is added.
    """
    layers = summarize(inputs, outputs)
    title = f'{title}: {len(layers)} layers, {sum(layer.weights for layer in layers):,} weights'
    page = pages.Page(_WIDTH + 30 + _COLUMNS[-1][1] + 130, title)
    for name, left in _COLUMNS:
        page.write(name, _WIDTH + 30 + left, 0, pages.CAPTION_SIZE)
    for number, layer in enumerate(layers, 1):
        width = max(4, round(_WIDTH / (layer.jump or _WIDTH)))
        color = _COLORS.get(layer.kind, pages.COLORS[1])
        bar = np.broadcast_to([int(color[place:place + 2], 16) for place in (1, 3, 5)], (_ROW - 6, width, 3))
        page.put(bar, (_WIDTH - width) // 2, number * _ROW + 3)
        for text, (_, left) in zip(_cells(layer), _COLUMNS):
            page.write(text, _WIDTH + 30 + left, number * _ROW + 2, pages.CAPTION_SIZE)
    pages.save(path, page.draw())


def _cells(layer):
    size = f' {layer.kernel}×{layer.kernel}' if layer.kernel > 1 or layer.kind == 'convolution' else ''
    stride = '' if layer.stride == 1 else f' / {layer.stride}' if layer.stride > 1 else f' × {1 / layer.stride:.0f}'
    scale = '' if layer.jump in (None, 1) else f'/{layer.jump}'
    shape = [letter + scale if side is None else f'{side:,}' for side, letter in zip(layer.shape, 'hw?')]
    field = 'all' if layer.field is None else f'{layer.field}×{layer.field}'
    return layer.name[-34:], layer.kind + size + stride, ' × '.join(shape), f'{layer.weights:,}', field
