"""The classifiers that images can be optimized for, by name: Inception, VGG-19, VGG-16; their options, their labels."""
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from common import cli, files, runs
from common.errors import InputError, UnavailableError, note
from common.session import tf
from networks import inception, saved_model, vgg

MAX_LABELS_BYTES = 2 ** 24
NAMES = ('inception', 'vgg19', 'vgg16')
TRAINED_BY = ('mnist_convnet', 'cifar10_tflearn', 'vgg16_transfer')     # recipes whose runs are classifiers


class Classifier(NamedTuple):
    """What a recipe needs to know of a network, whichever it is."""
    name: str
    build: Callable         # images -> end_points; see networks.inception.inception
    grid: int               # pixels per position of the deepest layer
    objective: str          # what suits it
    noise_objective: str    # what suits it where there is no image to start from
    labels: Any             # list of str, or None
    source: str
    sha256: str
    size: Optional[int] = None  # pixels of the images' sides that it was made for, where it is a run's
    gray: bool = False      # it sees the luminance alone


def add_options(parser):
    """Adds the options that choose a network to the recipe's."""
    network = parser.add_argument_group('network')
    network.add_argument('--network', choices=NAMES, help='network (default: inception; vgg16 if that is unavailable)')
    network.add_argument('--graph', type=Path, metavar='FILE', help='another frozen graph, or a SavedModel')
    network.add_argument('--input-name', default=inception.INPUT_NAME, metavar='NAME',
                         help='the operation of the graph that takes the images')
    network.add_argument('--mean', type=cli.real_number(-1e6, 1e6), default=inception.MEAN, metavar='X',
                         help='subtracted from the pixels')
    network.add_argument('--scale', type=cli.real_number(1e-6, 1e6), default=inception.SCALE, metavar='X',
                         help='multiplies what is left')
    network.add_argument('--feed', action='append', metavar='NAME=VALUE',
                         help='a value for another placeholder of the graph; repeat it for several')
    network.add_argument('--labels', type=Path, metavar='FILE',
                         help='names of the classes, one per line (default: the file beside the graph)')
    network.add_argument('--list-layers', action='store_true', help='print the layers and their channels')


def smallest_input(name):
    """Returns the pixels that an image's shorter side needs."""
    return (vgg if name in vgg.TITLES else inception).SMALLEST_INPUT


def load(name, models_dir, graph=None, input_name=inception.INPUT_NAME, mean=inception.MEAN, labels=None, quiet=False,
         scale=inception.SCALE, feed=()):
    """Loads a network's weights, by download where they are missing.

    Args:
      name: str, one of NAMES; None for Inception, or VGG-16 with a warning where that is unavailable.
      models_dir: Path of the folder with published weights.
      graph: Path of another frozen classifier or SavedModel instead of inception5h, or None.
      input_name, mean, scale, feed: see networks.inception.inception.
      labels: Path of the list of classes; None for one beside the graph.
      quiet: bool, no progress.

    Returns:
      Classifier.

    Raises:
      InputError: a file is not what it ought to be.
      UnavailableError: the weights cannot be downloaded.
    """
    if name in vgg.TITLES:
        for option, value in (('--graph', graph), ('--labels', labels), ('--feed', ' '.join(feed))):
            if value:
                raise InputError(f'{option} {value}: for a frozen graph, which does not go with --network {name}')
        return _load_vgg(name, models_dir, quiet)
    classes = labels and load_labels(labels)
    try:
        path, source, sha256 = inception.obtain_graph(models_dir, graph, quiet)
    except UnavailableError as error:
        if name:
            raise
        print(f'warning: Inception is unavailable; using VGG-16, whose dreams look different. {error}', file=sys.stderr)
        return _load_vgg('vgg16', models_dir, quiet)
    beside = find_labels(path)
    classes = classes or beside and load_labels(beside)
    build = partial(inception.inception, input_name=input_name, mean=mean, scale=scale, feed=feed,
                    graph_def=inception.load_graph_def(path, input_name))
    if labels:
        build = partial(_build_labeled, build, labels, classes)
    if graph and sha256 != inception.GRAPH_SHA256 and (mean, scale) == (inception.MEAN, inception.SCALE):
        note('input', f'{graph} gets pixels less {mean:g}, as inception5h wants them; others want '
             f'{inception.OTHER_INPUTS}')
    return Classifier(name='inception', build=build, grid=inception.GRID, objective=inception.DREAM_OBJECTIVE,
                      noise_objective=inception.NOISE_OBJECTIVE, labels=classes,
                      source=source, sha256=sha256)


def _build_labeled(build, path, labels, images):
    end_points = build(images)
    if not any(are_logits_of(layer.shape, labels) for layer in end_points.values()):
        raise InputError(f'--labels {path}: no layer of the graph has a channel for each of its {len(labels)} lines')
    return end_points


def _load_vgg(name, models_dir, quiet):
    name, weights, source, sha256 = vgg.obtain_weights(models_dir, name, quiet=quiet)
    return Classifier(name=name, build=partial(vgg.vgg, weights=weights, network=name, pooling='max'), grid=vgg.GRID,
                      objective=vgg.DREAM_OBJECTIVE, noise_objective=vgg.NOISE_OBJECTIVE, labels=None, source=source,
                      sha256=sha256)


def load_run(run_dir):
    """Loads the network of a run that trained a classifier, from the SavedModel that --export wrote.

    Args:
      run_dir: Path.

    Returns:
      Classifier.

    Raises:
      InputError: not a run, one of another recipe, nothing is exported yet, or it is damaged.
    """
    try:
        recipe = runs.read_record(run_dir)['recipe']
    except OSError:
        raise InputError(f'--run {run_dir}: not a run; name a folder that contains a {runs.RECORD}')
    if recipe not in TRAINED_BY:
        raise InputError(f'--run {run_dir}: a run of {recipe}, which trains no classifier; expected one of '
                         f'{", ".join(TRAINED_BY)}')
    folder = run_dir / 'saved_model'
    if not folder.is_dir():
        raise InputError(f'--run {run_dir}: its network is not exported yet; do that first: python recipes/{recipe}.py '
                         f'--resume {run_dir} --export')
    graph_def = inception.load_graph_def(folder)
    shape = [dim.size for dim in inception.find_input(graph_def).attr['shape'].shape.dim]
    names = [list(node.attr['value'].tensor.string_val) for node in graph_def.node if node.op == 'Const']
    labels = next((found for found in names if len(found) > 1), None)
    build = partial(inception.inception, graph_def=graph_def, mean=0.0)
    return Classifier(name=f'a network of {recipe}', build=build, grid=1, objective='', noise_objective='',
                      labels=labels and [name.decode('utf-8', 'surrogateescape') for name in labels],
                      source=str(run_dir.resolve()), sha256=saved_model.digest(saved_model.find(folder)),
                      size=shape[1] if len(shape) > 2 and shape[1] > 0 else None, gray=len(shape) == 3)


def list_layers(network):
    """Prints a Classifier's layers in the network's order, with their channels."""
    with tf.Graph().as_default():
        end_points = network.build(tf.placeholder(tf.float32, [1, None, None, 3]))
    width = max(map(len, end_points))
    for name, tensor in end_points.items():
        print(f'{name:<{width}} {tensor.shape.as_list()[-1]:5d} channels')


# ---- The names of the classes ----

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
        files.check_regular(path, 'list of classes')
    except InputError as error:
        raise InputError(f'--labels {error}')
    try:
        with Path(path).open(encoding='utf-8') as file:
            text = file.read(MAX_LABELS_BYTES).rstrip()
        labels = text.splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f'--labels {path}: cannot be read ({reason}); expected a text file with one class a line')
    if '\0' in text:
        raise InputError(f'--labels {path}: no text; expected a text file with one class a line')
    if not labels:
        raise InputError(f'--labels {path}: an empty file; expected one class a line')
    return [label.strip() for label in labels]


def are_logits_of(shape, labels):
    """Tells whether a layer of this TensorShape, [batch, channels], can have a channel for each class of a list.

    The first may be for nothing, see labels_of_channels, and some layers have a few channels more than there are names:
    1,008 for 1,001 in inception5h.
    """
    return shape.rank == 2 and len(labels) - 1 <= shape.as_list()[-1] <= 1.01 * len(labels)


def labels_of_channels(labels, num_channels):
    """Returns a list of labels without its first, for nothing ('background', 'dummy'), where the network lacks that."""
    return labels[1:] if len(labels) == num_channels + 1 else labels


def find_labels(graph_path):
    """Returns the Path of a list of labels that lies beside the graph (inception5h's own first), or None."""
    folder = Path(graph_path).parent
    own, others = sorted(folder.glob(inception.LABELS_FILE)), sorted(folder.glob('*label*.txt'))
    return next(filter(Path.is_file, own + others), None)
