"""Feature visualization: pictures of what the channels, layers and classes of a trained network respond to.

The idea. Begin with a gray picture and change it until one channel of a network answers to it as strongly as it can:
gradient ascent on the picture, the weights stay as they are. Done pixel by pixel that gives a colored hash, in which a
network sees more than we do. Three things make it a picture of a dog's head or of marbles:

- *Other coordinates*: not the pixels are moved but the picture's Fourier coefficients, each divided by its frequency,
  in colors that vary independently in photographs. Large shapes then come as easily as fine ones.
- *Transformations*: in every step the network sees the picture a little shifted, scaled and turned, so that what
  remains is what it responds to however it lies.
- *The layer before the ReLU*: a channel that does not answer yet has a gradient only there.

Lowest layers show edges and colors, then textures, patterns, parts of things, and things. The logits show classes.
The other way round, attribution tells which pixels of a photograph a class's probability comes from.

Usage:
    python recipes/feature_visualization.py                                 some channels of every layer, low to high
    python recipes/feature_visualization.py --channels mixed4c:0-35         these channels of a layer
    python recipes/feature_visualization.py --classes tabby goldfish        what a class looks like to the network
    python recipes/feature_visualization.py --channels mixed4c:6 --diversity 6         six that differ
    python recipes/feature_visualization.py --objective 'mixed4c:6*0.5 + mixed4c:2'    two channels at once
    python recipes/feature_visualization.py --interpolate mixed4c:6 mixed4c:2          from one channel to another
    python recipes/feature_visualization.py --run output/mnist_convnet/latest          a network of your own
    python recipes/feature_visualization.py --explain photo.jpg             which pixels the answer comes from
    python recipes/feature_visualization.py --list-layers

What to expect: 36 channels at 128 x 128 pixels in about a minute on two cores.

Source: Olah, Mordvintsev and Schubert 2017, Feature Visualization (Distill), whose objectives, coordinates and
transformations these are. See also F. Chollet, How convolutional neural networks see the world (the Keras blog).
"""
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import cli, files, images, parallel, plotting, runs, session
from common.errors import InputError
from common.session import tf
from datasets import handwriting
from networks import attribution, classifiers, summary
from synthesis import explanations, objectives, parameterization, sheet_tiles, transformations
from synthesis.contact_sheets import SheetRun
from synthesis.optimizers import Adam

RECIPE = 'feature_visualization'
SIZE, CLASS_SIZE = 128, 224     # pixels of a side; the classes of Inception need 224
SMALLEST_SIZE = 16              # of a network of one's own
STEPS = 60
PER_LAYER = 6                   # channels of each layer, where nothing is asked for
# How strongly a picture is transformed with --robustness 1.
JITTER, SCALE, DEGREES = 1 / 16, 1.1, 10     # of the side, factor, degrees; each both ways
DIVERSITY_WEIGHT = 1.0          # of the similarity of pictures for one channel, relative to the channel's response


# ---- The network and the objective ----

class Graph(NamedTuple):
    """The graph of a batch of pictures."""
    coordinates: Any    # float32 [batch, *parameterization.coordinates_shape]
    pictures: Any       # float32 [batch, height, width, 3], RGB in [0, 255]
    seed: Any           # int32 [2], of the transformations
    seen: Any           # the pictures as transformed, which the network sees; can be fed
    channels: Any       # int32 [batch, terms]
    weights: Any        # float32 [batch, terms]
    positions: Any      # float32 [batch, terms, 2], fractions of height and width
    copies: Any         # int32 [batch], equal for pictures of one objective, which are to differ
    end_points: Any     # {layer: tensor}


class Objective(NamedTuple):
    """What a batch's pictures maximize."""
    response: Any       # float32 [batch], the network's answer
    value: Any          # float32 [batch], what the gradient is of
    gradient: Any       # of the sum over the batch with respect to the coordinates


def build_graph(build, size, basis='fourier', gray=False, robustness=1.0):
    """Builds pictures, transformations and network in the default graph.

    Args:
      build: function of float32 [batch, height, width, 3] to the network's end_points.
      size: int, pixels of a side.
      basis: one of parameterization.BASES.
      gray: bool, gray pictures.
      robustness: float, of the transformations; 0: none.

    Returns:
      Graph.
    """
    shape = parameterization.coordinates_shape(basis, size, size, 1 if gray else 3)
    coordinates = tf.placeholder(tf.float32, [None, *shape], name='coordinates')
    seed = tf.placeholder(tf.int32, [2], name='seed')
    pictures = parameterization.to_images(coordinates, basis, size, size)
    seen = transformations.transform(pictures, seed, robustness * JITTER * size, SCALE ** robustness,
                                     robustness * DEGREES)
    return Graph(coordinates=coordinates, pictures=pictures, seed=seed, seen=seen, end_points=build(seen),
                 channels=tf.placeholder(tf.int32, [None, None]), weights=tf.placeholder(tf.float32, [None, None]),
                 positions=tf.placeholder(tf.float32, [None, None, 2]), copies=tf.placeholder(tf.int32, [None]))


def add_objective(graph, sources, diverse=False):
    """Adds the objective of tiles with the same sources.

    Args:
      graph: Graph.
      sources: from sheet_tiles.sources.
      diverse: bool, copies are to differ.

    Returns:
      Objective.
    """
    response = value = 0.0
    for number, (activations, kind, at_position) in enumerate(sources):
        channels, weights = graph.channels[:, number], graph.weights[:, number]
        place = graph.positions[:, number] if at_position else None
        answer = respond(activations, kind, channels, place)
        response += weights * answer
        if kind == 'channel' and activations.op.type in ('Relu', 'Relu6'):
            before = respond(activations.op.inputs[0], kind, channels, place)
            answer = tf.where((answer > 0) | (weights < 0), answer, before)  # what is inactive has a gradient there
        value += weights * answer
    if diverse:
        scale = tf.stop_gradient(tf.abs(value))
        value -= DIVERSITY_WEIGHT * scale * similarity(sources[0][0], graph.copies)
    return Objective(response=response, value=value, gradient=tf.gradients(value, graph.coordinates)[0])


def respond(activations, kind, channels, place=None):
    """Computes each picture's answer.

    Args:
      activations: float32 [batch, height, width, num_channels], or [batch, num_channels].
      kind: 'channel'; 'mean', of all channels; or 'square', the mean of all their squares.
      channels: int32 [batch].
      place: float32 [batch, 2], the one position that counts, in fractions of height and width; None for their mean.

    Returns:
      float32 [batch].
    """
    if activations.shape.rank == 2:  # behind a pooling over windows, a row for each: see objectives.total
        rows = tf.reshape(activations, [tf.size(channels), -1, activations.shape.as_list()[-1]])
        activations = rows[:, :, tf.newaxis]
    if kind == 'channel':
        chosen = tf.one_hot(channels, activations.shape.as_list()[-1])
        per_position = tf.reduce_sum(activations * chosen[:, tf.newaxis, tf.newaxis], axis=-1)
    else:
        per_position = tf.reduce_mean(tf.square(activations) if kind == 'square' else activations, axis=-1)
    if place is None:
        return tf.reduce_mean(per_position, axis=[1, 2])
    sides = tf.shape(per_position)[1:]
    cell = tf.minimum(tf.cast(place * tf.cast(sides, tf.float32), tf.int32), sides - 1)  # 1.0 is the last
    rows, columns = tf.one_hot(cell[:, 0], sides[0]), tf.one_hot(cell[:, 1], sides[1])
    return tf.reduce_sum(per_position * rows[:, :, tf.newaxis] * columns[:, tf.newaxis], axis=[1, 2])


def similarity(activations, copies):
    """Computes how alike the textures of pictures with the same number are: float32 [batch].

    Args:
      activations: float32 [batch, height, width, channels].
      copies: int32 [batch], the number.

    Returns:
      for each picture, the mean cosine between its Gram matrix and those of the others; 0 without others.

    Source: the diversity term of Olah, Mordvintsev and Schubert 2017.
    """
    flat = tf.reshape(activations, [tf.size(copies), -1, activations.shape.as_list()[-1]])
    grams = tf.reshape(tf.matmul(flat, flat, transpose_a=True), [tf.size(copies), -1])
    grams /= tf.norm(grams, axis=1, keepdims=True) + 1e-6
    others = tf.cast(tf.equal(copies[:, tf.newaxis], copies), tf.float32) - tf.eye(tf.size(copies))
    cosines = tf.matmul(grams, grams, transpose_b=True)
    return tf.reduce_sum(others * cosines, axis=1) / tf.maximum(tf.reduce_sum(others, axis=1), 1)


# ---- Gradient ascent ----

def visualize(run, batches, sess, graph, objectives_of, *, basis='fourier', num_steps, learning_rate=0.05,
              seed=0):
    """Makes the pictures of all batches that are not done.

    Args:
      run: SheetRun.
      batches: list of lists of SheetTile.
      sess: tf.Session.
      graph: Graph.
      objectives_of: function of a batch to its Objective.
      basis: one of parameterization.BASES.
      num_steps: int.
      learning_rate: float, of Adam: about the change of a coordinate in a step.
      seed: int, of the start and the transformations.
    """
    shape = graph.coordinates.shape.as_list()[1:]
    for batch in run.remaining(batches):
        objective, feed = objectives_of(batch), feed_of(graph, batch)
        start = np.stack([parameterization.draw_start(basis, shape, [seed, tile.copy]) for tile in batch])
        adam = Adam(start, learning_rate)
        if run.saved:
            adam.restore(run.saved)
        for step in range(run.step, num_steps):
            def descend(coordinates, step=step):
                value, gradient = sess.run([objective.value, objective.gradient], {
                    **feed, graph.coordinates: coordinates.reshape(start.shape), graph.seed: [seed, step]})
                return (-value.mean(dtype=np.float64),), -gradient.ravel()  # Adam minimizes
            adam.step(descend)
            run.record(-adam.losses[0], adam.state())
        pictures = sess.run(graph.pictures, {graph.coordinates: adam.x.reshape(start.shape)})
        run.save(batch, pictures, sess.run(objective.response, {**feed, graph.seen: pictures}))


def feed_of(graph, batch):
    """Returns what tells the graph which terms each tile of a batch has: {placeholder: array}."""
    terms = [tile.terms for tile in batch]
    numbers = {tile.terms: number for number, tile in enumerate(batch)}
    return {graph.channels: [[sheet_tiles.number_in_source(term, graph.end_points) for term in row] for row in terms],
            graph.weights: [[term.weight for term in row] for row in terms],
            graph.positions: [[term.position or (0, 0) for term in row] for row in terms],
            graph.copies: [numbers[row] for row in terms]}


def make_sheet(args, network, started):
    """Makes the pictures and their sheet; returns the exit code. For options, see parse_args."""
    size = args.size or network.size or (CLASS_SIZE if args.classes else SIZE)
    anything = args.channels or args.classes or args.objective or args.interpolate or args.all_layers
    with tf.Graph().as_default() as tf_graph:
        graph = build_graph(network.build, size, args.basis, network.gray, args.robustness)
        tiles = sheet_tiles.choose(graph.end_points, network.labels, args.channels or (), args.classes or (),
                                   args.objective or (), args.all_layers if anything else PER_LAYER, args.neurons,
                                   args.diversity, args.interpolate or ())
        batches = sheet_tiles.in_batches(tiles, graph.end_points, size, size, args.diversity)
        parallel.check_jobs(len(batches), 'one batch of pictures')
        built = {}
        for batch in batches:
            sources = sheet_tiles.sources(batch[0], graph.end_points)
            if sources not in built:
                built[sources] = add_objective(graph, sources, diverse=args.diversity > 1)
        tf_graph.finalize()
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        def objectives_of(batch):
            return built[sheet_tiles.sources(batch[0], graph.end_points)]
        check_size(sess, graph, batches, objectives_of, size)
        run_dir = open_run(args, network, [cli.plural(len(tiles), 'picture')])
        summary.draw(run_dir / 'network.png', graph.seen, [source[0] for sources in built for source in sources])
        with SheetRun(run_dir, batches, args.steps, args.quiet) as run:
            visualize(run, batches, sess, graph, objectives_of, basis=args.basis, num_steps=args.steps,
                      learning_rate=args.learning_rate, seed=args.seed)
    return run.conclude(f'What {network.name} responds to', args.output, started)


def check_size(sess, graph, batches, objectives_of, size):
    """Raises InputError where pictures are too small, or too large, for a layer: some poolings have a fixed size."""
    for batch in {objectives_of(batch): batch for batch in batches}.values():
        picture = np.zeros((1, size, size, 3), np.float32)
        try:
            sess.run(objectives_of(batch).response, {**feed_of(graph, batch[:1]), graph.seen: picture})
        except tf.errors.InvalidArgumentError:
            raise InputError(f'--size {size}: does not suit {batch[0].terms[0].layer}; a network\'s classes need the '
                             'size that it was trained with')


# ---- Attribution: which pixels an answer comes from ----

def explain(args, network, paths, started):
    """Explains a classifier's answers to photographs, a row of maps for each; returns the exit code."""
    size = args.size or network.size or CLASS_SIZE
    photographs = [load_photograph(path, size, network.gray) for path in paths]
    with tf.Graph().as_default() as tf_graph:
        graph, classes = explanations.build_classifier(network, size, args.classes or ())
        tf_graph.finalize()
    jobs = [(path, photograph, number) for path, photograph in zip(paths, photographs) for number in classes or [None]]
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        run_dir = open_run(args, network, [f'{cli.plural(len(jobs), "answer")} explained'])
        summary.draw(run_dir / 'network.png', graph.images, graph.probabilities)
        rows, facts = explanations.explain(run_dir, attribution.Explainer(sess, graph), jobs, network.labels, args.seed,
                                           args.quiet)
    sheet = run_dir / 'explanation.png'
    plotting.plot_rows(sheet, rows, f'Which pixels the answers of {network.name} come from')
    if args.output:
        images.copy_image(sheet, args.output)
    seconds = runs.total_seconds(run_dir, started)
    runs.write_record(run_dir, seconds=seconds, versions=runs.versions(),
                      results={'explained': facts, 'seconds': seconds})
    print(f'{cli.plural(len(facts), "answer")} explained in {seconds:.0f} s: {args.output or sheet}')
    return 0


def load_photograph(path, size, gray):
    """Loads what a classifier is to explain: the middle of a photograph, or a digit as MNIST has them.

    Returns:
      float32 [size, size, 3], RGB in [0, 255].
    """
    if gray and size == handwriting.SIDE:
        digit = handwriting.find_digits(handwriting.load(path), path, several=False).digits[0]
        return np.repeat(np.float32(digit)[..., np.newaxis], 3, axis=-1)
    return images.center_square(images.load_image(path), size)


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, models=True)
    group = parser.add_argument_group('what is shown')
    group.add_argument('--channels', nargs='+', metavar='SPEC', help=f'channels: {sheet_tiles.FORMS}')
    group.add_argument('--classes', nargs='+', metavar='CLASS', help='classes, by their names or numbers')
    group.add_argument('--objective', action='append', metavar='SUM',
                       help='LAYER, LAYER:CHANNEL, LAYER:CHANNEL@Y,X, LAYER:CLASS NAME or LAYER:mean, with *WEIGHT or '
                            'without, and + between several; repeat it for more pictures')
    group.add_argument('--interpolate', nargs=2, metavar='OBJECTIVE',
                       help=f'{sheet_tiles.INTERPOLATED} pictures from one to the other, such as two channels')
    group.add_argument('--all-layers', type=cli.whole_number(1, 64), nargs='?', const=PER_LAYER, metavar='N',
                       help=f'N channels of every layer (default: {PER_LAYER}, where nothing else is asked for)')
    group.add_argument('--neurons', action='store_true', help='the unit at the center of a channel, not the whole')
    group.add_argument('--diversity', type=cli.whole_number(1, 64), default=1, metavar='N',
                       help='pictures for each objective, which differ')
    group.add_argument('--explain', nargs='+', type=Path, metavar='FILE',
                       help='photographs: which pixels speak for their class, or for each of --classes')
    group.add_argument('--output', type=Path, metavar='FILE', help="where to save the sheet besides the run's folder")
    classifiers.add_options(parser)
    parser.add_argument_group('a network of your own').add_argument(
        '--run', type=Path, metavar='DIR', help='a run of a classifier, as --export has written it')
    group = parser.add_argument_group('optimization')
    group.add_argument('--size', type=cli.whole_number(SMALLEST_SIZE, 4096), metavar='PIXELS',
                       help=f"side of a picture (default: {SIZE}; {CLASS_SIZE} for classes; a run's own)")
    group.add_argument('--steps', type=cli.whole_number(1), default=STEPS, help='steps of Adam')
    group.add_argument('--learning-rate', type=cli.real_number(1e-6, 10), default=0.05,
                       help='about the change of a coordinate in a step')
    group.add_argument('--basis', choices=parameterization.BASES, default='fourier', help='what the steps change')
    group.add_argument('--robustness', type=cli.real_number(0, 4), default=1.0, metavar='X',
                       help='strength of shifts, scaling and turns between steps; 0: none')
    args = cli.parse_args(parser, argv, RECIPE, free=('list_layers', 'output'), shared=True)
    check_args(args)
    return args


def check_args(args):
    """Finds what is wrong with the options alone, before anything slow."""
    for text in args.channels or ():
        sheet_tiles.parse_channels(text)
    for text in args.objective or ():
        for part in text.split('+'):
            objectives.parse(part.strip())
    sheet_tiles.check_interpolated(args.interpolate or ())
    sheet = [name for name in ('channels', 'objective', 'interpolate', 'all_layers', 'neurons') if getattr(args, name)]
    if args.explain and sheet:
        raise InputError(f'--explain explains classes: leave --{sheet[0].replace("_", "-")} out')
    if args.run and (args.graph or args.network):
        raise InputError(f'--run {args.run}: a network of its own, with which --graph and --network do not go')
    smallest = SMALLEST_SIZE if args.run else classifiers.smallest_input(args.network)
    if args.size and args.size < smallest:
        raise InputError(f'--size {args.size}: the network needs {smallest} pixels each way')
    if args.output:
        images.check_output(args.output)


def open_run(args, network, objective):
    """Makes the run's folder, or checks that what is to be resumed has not changed since; returns its Path."""
    device = parallel.describe_device(args.device, args.threads)
    run_dir = args.run_dir or runs.create(args.output_dir, RECIPE, settings=args.settings, seed=args.seed,
                                          device=device, objective=objective, source=network.source)
    runs.check_unchanged(run_dir, network=network.name, weights=network.sha256)
    if not args.quiet:
        objective = ' '.join(runs.read_record(run_dir)['objective'])
        print(f'{device}\nnetwork: {network.name}, {network.source}\n{objective}\nthis run: {run_dir}')
    return run_dir


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    if args.explain:
        parallel.check_alone('--explain')
    paths = images.find_images(args.explain, '--explain') if args.explain else []
    for path in paths:
        images.load_image(path)
    files.check_no_input(args.output, [args.graph, args.labels, *paths])
    network = classifiers.load_run(args.run) if args.run else classifiers.load(
        args.network, args.models_dir, args.graph, args.input_name, args.mean, args.labels, args.quiet, args.scale,
        args.feed or ())
    if args.list_layers:
        return classifiers.list_layers(network)
    return explain(args, network, paths, started) if paths else make_sheet(args, network, started)


if __name__ == '__main__':
    sys.exit(main())
