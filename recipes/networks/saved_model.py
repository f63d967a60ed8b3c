"""SavedModels of graph mode: frozen while they are read, and nothing of them is run.

What a signature needs is kept of the graph, and its variables become constants with the values in the checkpoint.
"""
import warnings
from pathlib import Path

from common import files
from common.errors import InputError
from common.session import tf

FILE = 'saved_model.pb'
VARIABLES = ('Variable', 'VariableV2', 'VarHandleOp')


def find(path):
    """Returns the Path of the saved_model.pb that a folder or a file stands for; None for another file.

    Raises:
      InputError: a folder without one, or what is no file.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FILE).is_file():
            raise InputError(f'{path}: a folder without {FILE}; expected a SavedModel or a frozen graph')
        return path / FILE
    files.check_regular(path, 'frozen graph')
    with path.open('rb') as file:
        return path if path.name == FILE or file.read(3) == b'\x08\x01\x12' else None  # its version, 1, comes first


def digest(path):
    """Returns a checksum of a SavedModel's graph and variables; `path` is from `find`."""
    return '-'.join(map(files.digest, [path, *sorted((path.parent / 'variables').glob('variables.data-*'))]))


def read(path):
    """Reads a SavedModel as a frozen graph.

    Args:
      path: Path, from `find`; its variables are in the folder beside it.

    Returns:
      tf.GraphDef.

    Raises:
      InputError: not a SavedModel, damaged, of TensorFlow 2's functions, or its variables are missing.
    """
    tf.MetaGraphDef  # imports TensorFlow, quietly; compat.v1 does not hand the message SavedModel on
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # some damage is only warned of
            models = SavedModel.FromString(path.read_bytes()).meta_graphs
    except Exception as error:  # protobuf's own DecodeError is another class in each of its implementations
        raise InputError(f'{path}: not a SavedModel, or cut off ({error})')
    served = sorted(models, key=lambda model: 'serve' not in model.meta_info_def.tags)
    signatures = [signature for model in served[:1] for _, signature in sorted(model.signature_def.items())
                  if signature.inputs and signature.outputs]
    if not signatures:
        raise InputError(f'{path}: a SavedModel without a signature that has inputs and outputs')
    graph = _ancestors(served[0].graph_def, [output.name for output in signatures[0].outputs.values()])
    if any(node.op in ('PartitionedCall', 'StatefulPartitionedCall') for node in graph.node):
        raise InputError(f"{path}: a SavedModel of TensorFlow 2's functions; freeze it first "
                         '(convert_variables_to_constants_v2), and give the frozen graph')
    _freeze(graph, path)
    return graph


def _ancestors(graph_def, names):
    """Returns the part of a graph that the tensors of these names need, in its order."""
    by_name, needed, todo = {node.name: node for node in graph_def.node}, set(), list(names)
    while todo:
        name = todo.pop().lstrip('^').split(':')[0]
        if name in by_name and name not in needed:
            needed.add(name)
            todo += by_name[name].input
    result = tf.GraphDef(versions=graph_def.versions, library=graph_def.library)
    result.node.extend(node for node in graph_def.node if node.name in needed)
    return result


def _freeze(graph, path):
    """Replaces the variables of a graph by constants."""
    variables = [node for node in graph.node if node.op in VARIABLES]
    prefix = path.parent / 'variables' / 'variables'
    try:
        checkpoint = tf.train.load_checkpoint(str(prefix)) if variables else None
        for node in variables:
            value = checkpoint.get_tensor(node.name)
            node.op = 'Const'
            node.ClearField('attr')
            node.attr['dtype'].type = tf.as_dtype(value.dtype).as_datatype_enum
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
    except Exception as error:  # TensorFlow has a dozen kinds of them for a damaged checkpoint
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f'{path}: the variables of this SavedModel cannot be read ({reason}); they belong into '
                         f'{prefix.parent}')
    for node in graph.node:
        if node.op == 'ReadVariableOp':
            node.op = 'Identity'
            dtype = node.attr['dtype'].type
            node.ClearField('attr')
            node.attr['T'].type = dtype
