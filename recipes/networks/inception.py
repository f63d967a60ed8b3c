"""Inception: any classifier that TensorFlow froze into a GraphDef with its weights; by default inception5h.

Inception5h is GoogLeNet (Szegedy et al. 2014, arXiv 1409.4842) as Google trained and released it, the network that the
first dreams were made with. Other frozen graphs serve too: give the name of their input and the mean they subtract.
"""
import warnings
from collections import OrderedDict
from pathlib import Path

from common import download, files
from common.errors import InputError
from common.session import tf
from networks import convolution_gradients

GRAPH_FILE = 'tensorflow_inception_graph.pb'
GRAPH_SHA256 = 'a39b08b826c9d5a5532ff424c03a3a11a202967544e389aca4b06c2bd8aef63f'
LABELS_FILE = 'imagenet_comp_graph_label_strings.txt'
ARCHIVE = download.Asset(
    name='inception5h.zip', size=49937555, sha256='d13569f6a98159de37e92e9c8ec4dae8f674fbf475f69fe6199b514f756d4364',
    mirrors=('https://storage.googleapis.com/download.tensorflow.org/models/inception5h.zip',),
    by_hand=f'Or put its {GRAPH_FILE} there, or name a frozen graph with --graph FILE.')
MAX_UNPACKED_BYTES = 64 * 2 ** 20

INPUT_NAME = 'input'
MEAN = 117.0                   # subtracted from every pixel, the same for R, G and B
GRID = 32                      # pixels per position of the deepest layers
SMALLEST_INPUT = 64            # pixels: 4 x 4 positions of the mixed4 layers, which dreams are made of
DREAM_OBJECTIVE = 'mixed4c'    # animals; mixed3b gives textures, mixed4d_3x3_bottleneck_pre_relu:139 flowers
NOISE_OBJECTIVE = 'mixed4d_3x3_bottleneck_pre_relu:139'

_LEARNED = ('Conv2D', 'DepthwiseConv2dNative', 'MatMul')
_VARIABLES = ('Variable', 'VariableV2', 'VarHandleOp')
# A graph is a program, and some of TensorFlow's operations read, write or run what they like. These compute from their
# inputs alone. A graph may hold no others; what a network needs besides can be added here.
_COMPUTING = frozenset("""
    Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp StopGradient PreventGradient CheckNumerics
    Switch Merge If StatelessIf PartitionedCall StatefulPartitionedCall Assert Bitcast
    Conv2D Conv2DBackpropInput DepthwiseConv2dNative Conv3D Dilation2D MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3
    Einsum BiasAdd BiasAddV1
    MaxPool MaxPoolV2 MaxPoolWithArgmax AvgPool FractionalMaxPool FractionalAvgPool LRN L2Loss
    BatchNormWithGlobalNormalization FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Softmax LogSoftmax Erf Erfc
    Add AddV2 AddN Sub Mul MulNoNan Div DivNoNan RealDiv FloorDiv TruncateDiv FloorMod Mod Neg Abs Sign Reciprocal Inv
    Square SquaredDifference Sqrt Rsqrt Pow Exp Expm1 Log Log1p Sin Cos Maximum Minimum Floor Ceil Round Rint
    ClipByValue IsFinite IsInf IsNan
    Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot Select SelectV2 Where
    Sum Mean Max Min Prod All Any ArgMax ArgMin Cumsum TopK TopKV2 InTopK InTopKV2
    Concat ConcatV2 ConcatOffset Split SplitV Pack Unpack Reshape Squeeze ExpandDims Transpose Tile Fill
    Pad PadV2 MirrorPad Slice StridedSlice Gather GatherV2 GatherNd ScatterNd OneHot Range Reverse ReverseV2 Rank Shape
    ShapeN Size BroadcastTo BroadcastArgs ZerosLike OnesLike SpaceToBatch SpaceToBatchND BatchToSpace BatchToSpaceND
    SpaceToDepth DepthToSpace ExtractImagePatches MatrixDiag InvertPermutation DynamicStitch DynamicPartition
    Cast RandomUniform RandomStandardNormal TruncatedNormal
    ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea CropAndResize RGBToHSV HSVToRGB AdjustContrastv2
    AdjustHue AdjustSaturation DecodeJpeg
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeV2 Dequantize
    """.split())


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
    if not Path(path).is_file():
        raise InputError(f'--graph {path}: no such file; expected a frozen GraphDef such as {GRAPH_FILE}')
    found = files.digest(path)
    return path, f'{path}{"" if found == GRAPH_SHA256 else " (not inception5h itself: another SHA-256)"}', found


def load_labels(path):
    """Reads the classes' names, one a line, in the order of the logits.

    Args:
      path: Path of a text file.

    Returns:
      list of str, without the empty lines at the end.

    Raises:
      InputError: the file cannot be read as text, or is empty.
    """
    try:
        labels = Path(path).read_text(encoding='utf-8').rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'--labels {path}: cannot be read ({error}); expected a text file with one class a line')
    if not labels:
        raise InputError(f'--labels {path}: an empty file; expected one class a line')
    return [label.strip() for label in labels]


def find_labels(graph_path):
    """Returns the Path of a list of labels that lies beside the graph (inception5h's own first), or None."""
    folder = Path(graph_path).parent
    return next(iter(sorted(folder.glob(LABELS_FILE)) + sorted(folder.glob('*label*.txt'))), None)


def load_graph_def(path, input_name=INPUT_NAME):
    """Reads a frozen classifier; builds no graph.

    Args:
      path: Path of a binary GraphDef in which the weights are constants.
      input_name: str, the placeholder that takes the images.

    Returns:
      tf.GraphDef.

    Raises:
      InputError: the file is no GraphDef, is cut off, is not frozen, has an operation that networks do not need, such
        as one that reads files, or no such input.
    """
    graph_def = _parse(path)
    problem = (_cut_off(graph_def) or _unfrozen(graph_def) or _does_more_than_compute(graph_def)
               or _without_input(graph_def, input_name))
    if problem:
        raise InputError(f'{path}: {problem}')
    return graph_def


def _parse(path):
    graph_def, expected = tf.GraphDef(), f'expected a binary GraphDef, frozen, such as {GRAPH_FILE}'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # some damage is only warned of
            graph_def.ParseFromString(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); {expected}')
    except Exception as error:  # protobuf's own DecodeError is another class in each of its implementations
        raise InputError(f'{path}: not a GraphDef, or cut off ({error}); {expected}')
    if not graph_def.node:
        raise InputError(f'{path}: contains no operations; {expected}')
    return graph_def


def _cut_off(graph_def):
    names = {node.name for node in graph_def.node}
    for node in graph_def.node:
        for name in node.input:
            if name.lstrip('^').split(':')[0] not in names:
                return f'cut off or damaged: {node.name} needs {name}, which is not there; get the file again'
    return None


def _unfrozen(graph_def):
    variables = [node.name for node in graph_def.node if node.op in _VARIABLES]
    return variables and (f'not frozen: its {len(variables)} variables, {variables[0]} for one, have no values; '
                          'expected a graph whose weights are constants')


def _does_more_than_compute(graph_def):
    """Looks at the functions that the graph brings along as well, and at what its operations may call."""
    functions = {function.signature.name for function in graph_def.library.function}
    bodies = [node for function in graph_def.library.function for node in function.node_def]
    for node in [*graph_def.node, *bodies]:
        if node.op not in _COMPUTING:
            return (f'its operation {node.name!r} is a {node.op!r}, which is not admitted: only what networks compute '
                    'with is, since others can read and write files; expected an image classifier')
        called = [name for value in node.attr.values() for name in _called_by(value)]
        unknown = [name for name in called if name not in functions]
        if unknown:
            return f'its operation {node.name!r} calls the function {unknown[0]!r}, which is not in the graph'
    return None


def _called_by(value):
    return [function.name for function in [value.func, *value.list.func] if function.name]


def _without_input(graph_def, input_name):
    placeholders = [node.name for node in graph_def.node if node.op == 'Placeholder']
    if input_name in placeholders:
        return None
    if not placeholders:
        return f'no input {input_name!r}, nor any other: no image classifier, or cut off'
    names = ', '.join(map(repr, placeholders))
    return f'no input {input_name!r}; its placeholders are {names}: choose with --input-name'


def inception(images, graph_def, input_name=INPUT_NAME, mean=MEAN):
    """Builds a frozen network on top of `images`, in the default graph.

    Args:
      images: float32 [batch, height, width, 3], RGB in [0, 255].
      graph_def: tf.GraphDef, from load_graph_def.
      input_name: str, the placeholder that `images`, less the mean, takes the place of.
      mean: float, or three for R, G and B.

    Returns:
      OrderedDict from layer name to float32 tensor, [batch, height, width, channels] or [batch, channels], in the
      order of the file: 'conv2d0_pre_relu', 'conv2d0', ..., 'mixed4c', ..., 'softmax2_pre_activation', 'softmax2'. A
      layer is an operation that depends on the images through learned weights; what lies within the scope of
      another ('conv2d0_pre_relu/conv') is a part of that one.

    Raises:
      InputError: TensorFlow cannot build it, since it has operations of another release, for instance.
    """
    centered = images - tf.constant(mean, tf.float32)
    try:
        operations = tf.import_graph_def(_with_our_gradient(graph_def), {input_name: centered},
                                         [node.name for node in graph_def.node], name='inception')
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(f'TensorFlow {tf.version.VERSION} cannot build this graph ({str(error).splitlines()[0]}); '
                         'expected one frozen by TensorFlow 1.x')
    by_name = OrderedDict((node.name, operation) for node, operation in zip(graph_def.node, operations))
    learned = [operation for operation in _downstream([images.op]) if operation.type in _LEARNED]
    layers = set(learned) | _downstream(learned)
    names = {name for name, operation in by_name.items() if operation in layers and _is_layer(operation)}
    return OrderedDict((name, by_name[name].outputs[0]) for name in by_name
                       if name in names and not any(scope in names for scope in _scopes(name)))


def _with_our_gradient(graph_def):
    """Lets the convolutions have gradients that are convolutions; returns another GraphDef."""
    changed = tf.GraphDef()
    changed.CopyFrom(graph_def)
    for node in changed.node:
        if node.op == 'Conv2D':
            node.attr['_gradient_op_type'].s = convolution_gradients.register().encode()
    return changed


def _downstream(operations):
    """Returns the set of operations that need the results of these."""
    found, todo = set(), list(operations)
    while todo:
        new = {consumer for output in todo.pop().outputs for consumer in output.consumers()} - found
        found |= new
        todo += new
    return found


def _is_layer(operation):
    if not operation.outputs or operation.outputs[0].dtype != tf.float32:
        return False
    shape = operation.outputs[0].shape
    return shape.rank in (2, 4) and shape.as_list()[-1] is not None


def _scopes(name):
    parts = name.split('/')
    return ['/'.join(parts[:end]) for end in range(1, len(parts))]
