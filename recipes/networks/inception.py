"""Inception: any classifier that TensorFlow froze into a GraphDef with its weights; by default inception5h.

Inception5h is GoogLeNet (Szegedy et al. 2014, arXiv 1409.4842) as Google trained and released it, the network that the
first dreams were made with. Other frozen graphs and SavedModels serve too: give the name of their input and the mean
and the scale that they want.
"""
import re
import warnings
from collections import OrderedDict
from pathlib import Path

from common import download, files
from common.errors import InputError, note
from common.files import name_kind
from common.session import tf
from networks import admitted_operations, convolution_gradients, saved_model
from networks.summary import downstream

GRAPH_FILE = 'tensorflow_inception_graph.pb'
GRAPH_SHA256 = 'a39b08b826c9d5a5532ff424c03a3a11a202967544e389aca4b06c2bd8aef63f'
LABELS_FILE = 'imagenet_comp_graph_label_strings.txt'
ARCHIVE = download.Asset(
    name='inception5h.zip', size=49937555, sha256='d13569f6a98159de37e92e9c8ec4dae8f674fbf475f69fe6199b514f756d4364',
    mirrors=('https://storage.googleapis.com/download.tensorflow.org/models/inception5h.zip',),
    by_hand=f'Or put its {GRAPH_FILE} there, or name a frozen graph with --graph FILE.')
MAX_UNPACKED_BYTES = 64 * 2 ** 20

INPUT_NAME = 'input'
MEAN, SCALE = 117.0, 1.0       # subtracted from every pixel, the same for R, G and B; multiplies what is left
OTHER_INPUTS = ('--mean 127.5 --scale 0.00784314 for [-1, 1] (slim, MobileNet, ResNet v2), --mean 0 --scale 0.00392157 '
                'for [0, 1], --mean 0 for [0, 255] (networks exported by these recipes)')
GRID = 32                      # pixels per position of the deepest layers
SMALLEST_INPUT = 64            # pixels: 4 x 4 positions of the mixed4 layers, which dreams are made of
DREAM_OBJECTIVE = 'mixed4c'    # animals; mixed3b gives textures, mixed4d_3x3_bottleneck_pre_relu:139 flowers
NOISE_OBJECTIVE = 'mixed4d_3x3_bottleneck_pre_relu:139'

_NEWER_ATTRIBUTES = 'explicit_paddings', 'grad_a', 'grad_b', 'grad_x', 'grad_y'
_LEARNED = ('Conv2D', 'DepthwiseConv2dNative', 'MatMul')
_OF_A_CHECKPOINT = re.compile(r'.*\.(meta|index|data-\d+-of-\d+)|checkpoint')


def obtain_graph(models_dir, path=None, quiet=False):
    """Finds the frozen graph: the path given, else in `models_dir`, else inception5h by download.

    Args:
      models_dir: Path of the folder with published weights.
      path: Path of a frozen graph, or None.
      quiet: bool, no progress bar.

    Returns:
      (Path of the graph, str that says where it is from, str SHA-256).

    Raises:
      InputError: `path` is not a file.
      UnavailableError: it is not there and cannot be downloaded.
    """
    if path is None:
        path = Path(models_dir) / GRAPH_FILE
        if not path.is_file():
            archive, source, _ = download.obtain([ARCHIVE], models_dir, quiet=quiet)[0]
            download.unpack(archive, models_dir, MAX_UNPACKED_BYTES, members=(GRAPH_FILE, LABELS_FILE))
            return path, f'{GRAPH_FILE} in {source}', files.digest(path)
    if not Path(path).exists():
        raise InputError(f'--graph {path}: no such file; expected a frozen GraphDef, such as {GRAPH_FILE}, or a '
                         'SavedModel')
    model = saved_model.find(path)
    found = saved_model.digest(model) if model else files.digest(path)
    return path, f'{path}{"" if found == GRAPH_SHA256 else " (not inception5h itself: another SHA-256)"}', found


def load_graph_def(path, input_name=INPUT_NAME):
    """Reads a frozen classifier; builds no graph.

    Args:
      path: Path of a GraphDef in which the weights are constants, binary or text (.pbtxt); or of a SavedModel, its
        folder or saved_model.pb, which is frozen on the way.
      input_name: str, the operation that takes the images; see find_input.

    Returns:
      tf.GraphDef.

    Raises:
      InputError: the file is no GraphDef, is cut off, is not frozen, has an operation that networks do not need, such
        as one that reads files, or no such input.
    """
    model = saved_model.find(path)
    graph_def = saved_model.read(model) if model else _parse(path)
    problem = _cut_off(graph_def) or _unfrozen(graph_def) or admitted_operations.find_other(graph_def)
    if problem:
        raise InputError(f'{path}: {problem}')
    try:
        find_input(graph_def, input_name)
    except InputError as error:
        raise InputError(f'{path}: {error}')
    return graph_def


def _parse(path):
    from google.protobuf import text_format
    graph_def, expected = tf.GraphDef(), f'expected a frozen GraphDef such as {GRAPH_FILE}, or a SavedModel'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # some damage is only warned of
            content = Path(path).read_bytes()
            if re.match(rb'\s*(#|node|versions?|library)\b[ \t]*[:{]?', content):
                text_format.Parse(content, graph_def)
            else:
                graph_def.ParseFromString(content)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); {expected}')
    except Exception as error:  # protobuf's own DecodeError is another class in each of its implementations
        reason = ' '.join(str(error).split()) or type(error).__name__
        problem = _name_kind(path, content) or f'not a GraphDef, or cut off ({reason})'
        raise InputError(f'{path}: {problem}; {expected}')
    if not graph_def.node:
        raise InputError(f'{path}: {_name_kind(path, content) or "contains no operations"}; {expected}')
    return graph_def


def _name_kind(path, content):
    if _OF_A_CHECKPOINT.fullmatch(Path(path).name) or content.startswith(bytes(8)):
        return 'a part of a checkpoint, which is not frozen'
    return name_kind(content[:1000])


def _cut_off(graph_def):
    names = {node.name for node in graph_def.node}
    for node in graph_def.node:
        for name in node.input:
            if name.lstrip('^').split(':')[0] not in names:
                return f'cut off or damaged: {node.name} needs {name}, which is not there; get the file again'
    return None


def _unfrozen(graph_def):
    variables = [node.name for node in graph_def.node if node.op in saved_model.VARIABLES]
    return variables and (f'not frozen: its {len(variables)} variables, {variables[0]} for one, have no values; '
                          'expected a graph whose weights are constants')


def find_input(graph_def, name=INPUT_NAME):
    """Finds the operation whose result the images take the place of.

    Args:
      graph_def: tf.GraphDef.
      name: str, any operation that gives float32 images, channels last. Where INPUT_NAME is not there, the only
        placeholder that can be images is taken.

    Returns:
      its node.

    Raises:
      InputError: there is none, or it is of another type or shape.
    """
    by_name = {node.name: node for node in graph_def.node}
    placeholders = [node for node in graph_def.node if node.op == 'Placeholder']
    possible = [node for node in placeholders if _attribute(node, 'dtype').type == tf.float32.as_datatype_enum
                and (_attribute(node, 'shape').shape.unknown_rank or len(_shape(node)) in (3, 4))]
    if name.split(':')[0] not in by_name and name == INPUT_NAME and len(possible) == 1:
        name = possible[0].name
    node = by_name.get(name[:-2] if name.endswith(':0') else name)
    if node is None:
        names = ', '.join(repr(node.name) for node in placeholders)
        raise InputError(f'no input {name!r}' + (
            f'; its placeholders are {names}: choose with --input-name' if names else
            ', nor any placeholder: choose the operation that gives the images with --input-name, such as Mul of '
            'Inception v3 of 2015; if there is none, it is no image classifier, or cut off'))
    dtype = next((node.attr[key].type for key in ('dtype', 'DstT', 'T') if key in node.attr), None)
    if dtype not in (None, tf.float32.as_datatype_enum):
        raise InputError(f'its input {node.name!r} is of {tf.as_dtype(dtype).name}, expected float32; choose the '
                         'operation after its conversion with --input-name')
    shape = _shape(node)
    first = [other.name for other in graph_def.node if _attribute(other, 'data_format').s == b'NCHW']
    if first or len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise InputError(f'its channels come first ({first[0] if first else node.name!r} is [batch, channels, height, '
                         'width]); expected channels last, as TensorFlow has them by default')
    return node


def _attribute(node, name):
    """Returns an attribute's value; to ask the node itself would add what it has not."""
    return node.attr[name] if name in node.attr else tf.AttrValue()


def _shape(node):
    return [dim.size for dim in _attribute(node, 'shape').shape.dim]


def inception(images, graph_def, input_name=INPUT_NAME, mean=MEAN, scale=SCALE, feed=()):
    """Builds a frozen network on top of `images`, in the default graph.

    Args:
      images: float32 [batch, height, width, 3], RGB in [0, 255].
      graph_def: tf.GraphDef, from load_graph_def.
      input_name: str, the operation that (images - mean) * scale takes the place of; where that has one channel, or
        no axis for it, their luminance.
      mean: float, or three for R, G and B.
      scale: float.
      feed: sequence of 'name=value', what other placeholders are given: a number, true or false.

    Returns:
      OrderedDict from layer name to float32 tensor, [batch, height, width, channels] or [batch, channels], in the
      order of the file: 'conv2d0_pre_relu', 'conv2d0', ..., 'mixed4c', ..., 'softmax2_pre_activation', 'softmax2'. A
      layer is an operation that depends on the images through learned weights, and on no placeholder besides; what
      lies within the scope of another ('conv2d0_pre_relu/conv') is a part of that one.

    Raises:
      InputError: TensorFlow cannot build it, since it has operations of another release, for instance; a placeholder
        that is not there, or no layer.
    """
    given = find_input(graph_def, input_name)
    centered = images - tf.constant(mean, tf.float32)
    shape = _shape(given)
    if len(shape) == 3 or shape[3:] == [1]:
        centered = tf.tensordot(centered, tf.constant([[0.299], [0.587], [0.114]]), 1)
        centered = centered[..., 0] if len(shape) == 3 else centered
    centered = centered if scale == 1 else centered * scale
    replaced = {given.name: centered, **{name: _constant(graph_def, name, value)
                                         for name, _, value in (text.rpartition('=') for text in feed)}}
    try:
        imported = tf.import_graph_def(_with_our_gradient(graph_def), replaced,
                                       [node.name for node in graph_def.node], name='inception')
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(f'TensorFlow {tf.version.VERSION} cannot build this graph ({str(error).splitlines()[0]}); '
                         'expected one frozen by TensorFlow 1.x')
    by_name = OrderedDict((node.name, operation) for node, operation in zip(graph_def.node, imported))
    return _layers(by_name, images, given.name, replaced)


def _layers(by_name, images, input_name, replaced):
    """Returns an OrderedDict from name to tensor of the operations, in their order, that are layers; see inception."""
    learned = [operation for operation in downstream([images.op]) if operation.type in _LEARNED]
    unfed = [name for name, operation in by_name.items() if operation.type == 'Placeholder' and name not in replaced
             and operation.outputs[0].consumers()]
    every = set(learned) | downstream(learned)
    layers = every - downstream([by_name[name] for name in unfed])
    left_out = [name for name in unfed if every & downstream([by_name[name]])]
    if left_out:
        some = ' '.join(f'--feed {name}=' + ('false' if by_name[name].outputs[0].dtype == tf.bool else '1')
                        for name in left_out)
        note('placeholders', f'layers that need the placeholders {", ".join(map(repr, left_out))} are left out; give '
             f'them values, such as {some}')
    names = {name for name, operation in by_name.items() if operation in layers and _is_layer(operation)}
    if not names:
        raise InputError(f'no layer of this graph sees {input_name!r} through learned weights alone; choose another '
                         'operation with --input-name')
    return OrderedDict((name, by_name[name].outputs[0]) for name in by_name
                       if name in names and not any(scope in names for scope in _scopes(name)))


def _constant(graph_def, name, value):
    """Returns what --feed gives a placeholder, as a tensor of its type."""
    node = next((node for node in graph_def.node if node.name == name and node.op.startswith('Placeholder')), None)
    if node is None:
        placeholders = ', '.join(node.name for node in graph_def.node if node.op.startswith('Placeholder'))
        raise InputError(f'--feed {name}={value}: no such placeholder; there are: {placeholders}')
    dtype = tf.as_dtype(node.attr['dtype'].type)
    try:
        number = {'true': 1, 'false': 0}.get(value.lower())
        number = dtype.as_numpy_dtype(float(value) if number is None else number)
        return tf.constant(number, dtype, [max(size, 1) for size in _shape(node)])
    except (TypeError, ValueError, OverflowError):
        raise InputError(f'--feed {name}={value}: expected a value of {dtype.name}: a number, true or false')


def _with_our_gradient(graph_def):
    """Lets the convolutions have gradients that are convolutions; returns another GraphDef.

    Attributes that TensorFlow 2 writes and 1.15 does not know are dropped where they say nothing; and the shapes that
    were noted when the graph was saved, since the images have other sizes.
    """
    changed = tf.GraphDef()
    changed.CopyFrom(graph_def)
    for node in changed.node:
        if '_output_shapes' in node.attr:
            del node.attr['_output_shapes']
        for name in _NEWER_ATTRIBUTES:
            if name in node.attr and not (node.attr[name].b or node.attr[name].list.i):
                del node.attr[name]
        if node.op == 'Conv2D':
            node.attr['_gradient_op_type'].s = convolution_gradients.register().encode()
    return changed


def _is_layer(operation):
    if not operation.outputs or operation.outputs[0].dtype != tf.float32:
        return False
    shape = operation.outputs[0].shape
    return shape.rank in (2, 4) and shape.as_list()[-1] is not None


def _scopes(name):
    parts = name.split('/')
    return ['/'.join(parts[:end]) for end in range(1, len(parts))]
