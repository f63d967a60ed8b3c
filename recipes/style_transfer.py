"""Style transfer: repaints a photograph in a painting's style (Gatys, Ecker and Bethge 2015).

A network that has learned to name what photographs show keeps two things about a picture apart: its deep activations say
what is where (the content), and the correlations between the channels of a layer say what the surface is like, the same
all over the picture (the style). So a picture is sought, pixel by pixel, whose activations are the photograph's and
whose correlations are the painting's. No network is trained: the gradient of the loss goes to the pixels.

  python recipes/style_transfer.py --content face.jpg --style starry_night.jpg
  python recipes/style_transfer.py --content photos/ --style wave.jpg scream.jpg       # every pair
  python recipes/style_transfer.py --content city.jpg --style wave.jpg monet.jpg --style-blend 2 1
  python recipes/style_transfer.py --content city.jpg --style wave.jpg --preserve-color luminance --size 1024

The picture is painted from coarse to fine, in steps of √2, by L-BFGS. The losses are means, so that one set of weights
serves every size; `--loss book` and `--book` have the cookbook's sums, weights and optimizer instead.

The default weights were chosen by looking: with a style weight of 100 the photograph only changes its colors, with 500
the face is still a face under brush strokes, with 3,000 to 10,000 the painting takes its features over. Broad strokes
on a busy photograph (The Scream on a row of houses) leave more of it with 150; so do larger pictures.

Source: A Neural Algorithm of Artistic Style, arXiv 1508.06576; its equations are numbered as there.
"""
import collections
import functools
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import cbook

from common import cli, files, images, plotting, runs, session
from common.errors import ComputationError, InputError
from common.session import tf
from networks import vgg
from synthesis import color, memory, sizes, tiles
from synthesis import jobs as pairs
from synthesis.adam import Adam
from synthesis.lbfgs import LBFGS
from synthesis.picture_run import PictureRun
from synthesis.tiled_loss import make_evaluate, sum_over_tiles

RECIPE = 'style_transfer'
NOISE = 20  # gray levels either way around ImageNet's mean
LARGEST_SIDE = 2 ** 20  # pixels: a tile that holds every picture
OPTIMIZER = 'optimizer_'  # begins the names of the optimizer's arrays in a checkpoint
CURVES = 'total', 'content', 'style'
FIRST_STEP = 1.0  # gray levels that L-BFGS's first step moves a pixel on average
# Memory, fitted to measured peaks: TensorFlow itself in bytes, copies of every activation (with what the allocator does
# not give back from scale to scale) and of the weights, vectors of the picture's size.
FIXED_MEMORY, ACTIVATION_COPIES, WEIGHT_COPIES = 3.3e8, 2.75, 4.0
VECTORS = {'lbfgs': 28, 'adam': 12}

# What the cookbook does otherwise: its loss ...
BOOK_LOSS = dict(loss='book', content_weight=5.0, style_weight=100.0, tv_weight=0.0, stretch_style=True,
                 style_layers=['conv1_1:0.5', 'conv2_1:1', 'conv3_1:1.5', 'conv4_1:3', 'conv5_1:4'])
# ... and its whole recipe.
BOOK = dict(BOOK_LOSS, optimizer='adam', learning_rate=2.0, iterations=600, scales=1, noise_ratio=0.6)


class Network(NamedTuple):
    """A VGG network and how it is applied."""

    name: str
    weights: dict
    pooling: str
    padding: str


class Objective(NamedTuple):
    """What is minimized."""

    content_layers: dict  # layer name to its weight within the content loss
    style_layers: dict
    content_weight: float
    style_weight: float
    tv_weight: float
    loss: str  # 'mean' or 'book'


class Losses(NamedTuple):
    """The loss and its parts, their weights included."""

    total: float
    content: float
    style: float
    variation: float


class StyleGraph(NamedTuple):
    """Tensors of the graph that evaluates a picture of any size, or a tile of it."""

    image: object  # placeholder, float32 [1, height, width, 3]
    size: object  # placeholder, int32 [2], (height, width) of the whole picture
    core: object  # placeholder, int32 [4], bounds of the tile's core in the image, in pixels; None: there are no tiles
    grams: dict  # style layer to float32 [channels, channels], summed over the core
    features: dict  # content layer to float32 [1, height, width, channels] of the core
    style_targets: dict  # style layer to its placeholder, as `grams`, but per position
    content_targets: dict  # content layer to its placeholder, as `features`
    sums: list  # all that the losses are made of, summed over the core
    whole_sums: list  # the same summed over all tiles: fed, or else `sums`
    losses: Losses
    gradient: object  # of the total loss with respect to the image


# The losses. Each is a function of a sum over positions, and so can be summed up tile by tile.

def gram_matrix(activations):
    """Computes the correlations between channels, the texture statistic of a layer.

    Args:
      activations: float32 [1, height, width, channels].

    Returns:
      float32 [channels, channels], summed over positions.

    Source: eq. 3. Its gradient with respect to F is F (R + R transposed), R being what comes from above. R is symmetric
      as the matrix itself is: one product of matrices instead of the two that TensorFlow would derive.
    """
    @tf.custom_gradient
    def correlate(features):
        return (tf.matmul(features, features, transpose_a=True),
                lambda from_above: tf.matmul(features, 2 * from_above))

    return correlate(tf.reshape(activations, [-1, int(activations.shape[-1])]))


def content_loss(squares, num_positions, num_channels, loss):
    """Computes how far a layer's activations are from the photograph's.

    Args:
      squares: float32 scalar, the squared differences summed over positions and channels.
      num_positions, num_channels: M and N of the layer in the whole picture.
      loss: 'mean' or 'book'.

    Returns:
      float32 scalar.

    Source: eq. 1, there half of the sum. A mean does not grow with the picture; the book divides by 4 N M.
    """
    return squares / ({'mean': 1.0, 'book': 4.0}[loss] * num_positions * num_channels)


def style_loss(gram, target, num_positions, loss):
    """Computes how far a layer's Gram matrix is from the painting's.

    Args:
      gram: float32 [channels, channels], summed over positions.
      target: float32 of the same shape, per position: paintings of another size can be compared.
      num_positions: M of the layer in the whole picture.
      loss: 'mean' or 'book'.

    Returns:
      float32 scalar.

    Source: eq. 4, the sum over 4 N² M². That weighs a layer of 512 channels 64 times as much as one of 64, so 'mean' is
      the mean square of the matrices divided by N M, as in most programs since; 'book' is eq. 4.
    """
    num_channels = float(int(gram.shape[0]))
    difference = gram / num_positions - target
    if loss == 'book':
        return tf.reduce_sum(tf.square(difference)) / (4 * num_channels ** 2)
    return tf.reduce_mean(tf.square(difference / num_channels))


def squared_variation(image, core=None):
    """Sums the squared differences between neighboring pixels, which noise makes large.

    Args:
      image: float32 [1, height, width, 3].
      core: int32 [4], (top, left, bottom, right): only pairs whose upper or left pixel lies in it count.

    Returns:
      float32 scalar.

    Source: Mahendran and Vedaldi 2014, arXiv 1412.0035, with the exponent 2.
    """
    down = across = image
    if core is not None:
        top, left, bottom, right = tf.unstack(core)
        down, across = image[:, top:bottom + 1, left:right], image[:, top:bottom, left:right + 1]
    return (tf.reduce_sum(tf.square(down[:, 1:] - down[:, :-1]))
            + tf.reduce_sum(tf.square(across[:, :, 1:] - across[:, :, :-1])))


def weigh(sums, graph_targets, size, objective):
    """Turns sums over the whole picture into the losses.

    Args:
      sums: As in `StyleGraph`: a Gram matrix per style layer, a sum of squares per content layer, the variation.
      graph_targets: (`style_targets`, `content_targets`), as in `StyleGraph`.
      size: int32 [2], (height, width) of the whole picture.
      objective: `Objective`.

    Returns:
      `Losses` of float32 scalars.

    Source: eq. 5 (the sum over style layers) and eq. 7 (the total), with total variation added.
    """
    style_targets, content_targets = graph_targets
    grams, squares, variation = sums[:len(style_targets)], sums[len(style_targets):-1], sums[-1]
    style = tf.add_n([
        objective.style_layers[layer] * style_loss(gram, target, num_positions(size, layer), objective.loss)
        for (layer, target), gram in zip(style_targets.items(), grams)])
    content = tf.add_n([
        objective.content_layers[layer] * content_loss(square, num_positions(size, layer), int(target.shape[-1]),
                                                       objective.loss)
        for (layer, target), square in zip(content_targets.items(), squares)])
    content *= objective.content_weight
    style *= objective.style_weight
    variation *= objective.tv_weight / (3 * tf.cast(size[0] * size[1], tf.float32))
    return Losses(content + style + variation, content, style, variation)


def num_positions(size, layer):
    """Returns how many positions a layer has in a picture of `size` (height, width): a number, or a tensor for one."""
    stride = vgg.stride(layer)
    count = ((size[0] + stride - 1) // stride) * ((size[1] + stride - 1) // stride)  # an odd border is rounded up
    return float(count) if isinstance(count, int) else tf.cast(count, tf.float32)


def cut_core(activations, core, stride):
    """Cuts a tile's core from the activations of its crop; `core` None: all is core."""
    if core is None:
        return activations
    bounds = (core + [0, 0, stride - 1, stride - 1]) // stride
    return activations[:, bounds[0]:bounds[2], bounds[1]:bounds[3]]


def build_graph(network, objective, tiled=False):
    """Adds losses and gradient of a picture to the default graph.

    One graph serves all sizes, the targets (`grams`, `features`), and tiles: see `tiled_loss.make_evaluate`.

    Args:
      network: `Network`.
      objective: `Objective`.
      tiled: Whether the image may be a crop.

    Returns:
      `StyleGraph`.
    """
    image = tf.placeholder(tf.float32, [1, None, None, 3], name='image')
    size = tf.placeholder(tf.int32, [2], name='size')
    core = tf.placeholder(tf.int32, [4], name='core') if tiled else None
    layers = used_layers(objective)
    end_points = vgg.vgg(image, network.weights, network.name, deepest(layers, network.name),
                         pooling=network.pooling, padding=network.padding)
    with tf.name_scope('sums'):
        cores = {layer: cut_core(end_points[layer], core, vgg.stride(layer)) for layer in layers}
        grams = collections.OrderedDict((layer, gram_matrix(cores[layer])) for layer in objective.style_layers)
        features = collections.OrderedDict((layer, cores[layer]) for layer in objective.content_layers)
        style_targets, content_targets = (
            collections.OrderedDict((layer, tf.placeholder(tf.float32, tensor.shape)) for layer, tensor in of.items())
            for of in (grams, features))
        sums = [*grams.values(),
                *(tf.reduce_sum(tf.squared_difference(features[layer], content_targets[layer])) for layer in features),
                squared_variation(image, core)]
    whole_sums = [tf.placeholder_with_default(part, part.shape) for part in sums] if tiled else sums
    with tf.name_scope('losses'):
        losses = weigh(whole_sums, (style_targets, content_targets), size, objective)
    with tf.name_scope('gradient'):  # the chain rule, cut where the sums over tiles come in
        gradient, = tf.gradients(sums, image, grad_ys=tf.gradients(losses.total, whole_sums))
    return StyleGraph(image, size, core, grams, features, style_targets, content_targets, sums, whole_sums, losses,
                      gradient)


def deepest(layers, network):
    """Returns the last of the layers in the network's order."""
    return max(layers, key=vgg.layer_names(network).index)


def compute_targets(sess, graph, content_image, style_images, blend, cover):
    """Computes what a picture is to be like, once per scale.

    Args:
      sess: Session on the graph.
      graph: `StyleGraph`.
      content_image: float32 [height, width, 3], of the scale's size.
      style_images: List of float32 [any height, any width, 3].
      blend: List of the styles' shares, which sum to 1.
      cover: Function of (height, width) to a list of `tiles.Tile`.

    Returns:
      (feed dict of the style targets, list with a feed dict of the content targets for each tile).
    """
    def feeds(image):
        for tile in cover(*image.shape[:2]):
            core = {} if graph.core is None else {graph.core: tile.interior_bounds}
            yield {graph.image: image[tile.crop][np.newaxis], **core}

    style_targets = {target: np.float64(0) for target in graph.style_targets.values()}
    for share, image in zip(blend, style_images):
        grams = sum_over_tiles(sess, list(graph.grams.values()), feeds(image))
        for (layer, target), gram in zip(graph.style_targets.items(), grams):
            style_targets[target] = style_targets[target] + share * gram / num_positions(image.shape[:2], layer)
    of_tiles = [sess.run(graph.features, feed) for feed in feeds(content_image)]
    return style_targets, [{graph.content_targets[layer]: features for layer, features in of_tile.items()}
                           for of_tile in of_tiles]


def stylize(sess, graph, cover, content_image, style_images, plan, start, make_optimizer, record, blend=(1.0,),
            style_size=sizes.style_size, checkpoint=None):
    """Paints the content in the styles, from coarse to fine.

    Args:
      sess: Session on the graph.
      graph: `StyleGraph`.
      cover: Function of (height, width) to a list of `tiles.Tile`.
      content_image: float32 [any height, any width, 3] in [0, 255].
      style_images: List of the same, each of its own size.
      plan: List of `sizes.Scale`.
      start: float32 [height, width, 3] of the first scale.
      make_optimizer: Function of a start, float32 [size], to an `LBFGS` or `Adam`.
      record: Function of iteration, picture and state (a dict of arrays), with the losses by name, called after every
        iteration; may raise to end the work.
      blend: List of the styles' shares, which sum to 1.
      style_size: Function of a style picture's own size and the scale's to the size that it is given.
      checkpoint: A state that `record` was given, after which to go on.

    Returns:
      (float32 [height, width, 3] in [0, 255], `Losses` of that picture).

    Raises:
      ComputationError: A loss is not finite.
    """
    first, iterations_done = (int(checkpoint[name]) for name in ('scale', 'iteration')) if checkpoint else (0, 0)
    picture = start
    for index, scale in enumerate(plan[first:], first):
        content = images.resize_image(content_image, *scale.size)
        styles = [images.resize_image(image, *style_size(image.shape[:2], scale.size)) for image in style_images]
        style_targets, content_targets = compute_targets(sess, graph, content, styles, blend, cover)
        evaluate = make_evaluate(sess, graph, scale.size, cover(*scale.size), style_targets, content_targets)
        optimizer = make_optimizer(images.resize_image(picture, *scale.size).ravel())
        if checkpoint:  # its names began with optimiser_ once
            optimizer.restore({name.split('_', 1)[1]: array for name, array in checkpoint.items()
                               if name.startswith('optimi')})
        before = sum(earlier.iterations for earlier in plan[:index])
        for iteration in range(iterations_done + 1, scale.iterations + 1):
            optimizer.step(evaluate)
            if not np.isfinite(optimizer.losses[0]):
                raise ComputationError(f'the loss is not finite after {before + iteration - 1} iterations; lower '
                                       f'weights or a lower learning rate may help')
            state = {OPTIMIZER + name: array for name, array in optimizer.state().items()}
            record(before + iteration, np.clip(optimizer.x.reshape(*scale.size, 3), 0, 255),
                   dict(state, scale=index, iteration=iteration), **Losses(*optimizer.losses)._asdict())
        iterations_done, checkpoint = 0, None
        picture = np.clip(optimizer.x.reshape(*scale.size, 3), 0, 255)
    return picture, evaluate(picture.ravel())[0]


def starting_picture(size, base, noise_ratio, seed):
    """Makes the picture that painting starts from.

    Args:
      size: (height, width).
      base: float32 [any height, any width, 3]; scaled to cover the size, its middle is taken.
      noise_ratio: Share of noise, 0 to 1.
      seed: Of the noise.

    Returns:
      float32 [height, width, 3].
    """
    mean = np.array(vgg.MEAN_RGB, np.float32)
    noise = np.random.RandomState(seed).uniform(-NOISE, NOISE, [*size, 3]).astype(np.float32)
    return mean + np.float32(noise_ratio) * noise + np.float32(1 - noise_ratio) * (sizes.fill(base, *size) - mean)


def make_parser():
    """Returns the parser of the command line."""
    parser = cli.make_parser(__doc__, models=True)
    what = parser.add_argument_group('pictures')
    what.add_argument('--content', nargs='+', type=Path, metavar='FILE', help='photographs, files or folders; '
                      'none: a portrait that matplotlib brings along')
    what.add_argument('--style', nargs='+', type=Path, metavar='FILE', help='paintings, files or folders, each given '
                      'to every photograph; none: one drawn by code')
    what.add_argument('--output', type=Path, metavar='FILE', help="the result, besides the one in the run's folder")
    what.add_argument('--size', type=cli.whole_number(sizes.SMALLEST_SIDE), default=512, help='longer side, pixels')
    what.add_argument('--upscale', action='store_true', help='enlarge pictures that are smaller than that')
    what.add_argument('--save-every', type=cli.whole_number(1), metavar='N', help='keep every N-th picture on the way')
    look = parser.add_argument_group('look')
    look.add_argument('--iterations', type=cli.whole_number(1), default=500, help='in all scales')
    look.add_argument('--content-weight', type=cli.real_number(0), default=5.0, metavar='W', help='more of the photo')
    look.add_argument('--style-weight', type=cli.real_number(0), default=500.0, metavar='W', help='more of the paint')
    look.add_argument('--tv-weight', type=cli.real_number(0), default=1.0, metavar='W', help='smoother')
    look.add_argument('--style-scale', type=cli.real_number(0.05, 10), default=1.0, metavar='S',
                      help="the style's longer side, in the content's: smaller gives finer strokes")
    look.add_argument('--stretch-style', action='store_true', help="stretch the style to the content's shape")
    look.add_argument('--style-blend', nargs='*', type=cli.real_number(0), metavar='SHARE',
                      help='mix all styles into one; without numbers, equally')
    look.add_argument('--preserve-color', choices=('no', 'luminance', 'histogram'), default='no',
                      help="keep the photograph's colors: paint in gray, or repaint the style in them first")
    look.add_argument('--init', default='content', metavar='START', help='content, noise, style, or a picture')
    look.add_argument('--noise-ratio', type=cli.real_number(0, 1), default=0.0, metavar='R', help='noise in the start')
    method = parser.add_argument_group('method')
    method.add_argument('--network', choices=tuple(vgg.CONVOLUTIONS), help='none: vgg19, or else vgg16')
    method.add_argument('--weights', type=Path, metavar='FILE', help='.mat (MatConvNet), .h5 (Keras) or .onnx')
    method.add_argument('--content-layers', nargs='+', default=['conv4_2'], metavar='LAYER',
                        help='layer or layer:weight')
    method.add_argument('--style-layers', nargs='+', metavar='LAYER', help='layer or layer:weight',
                        default=['conv1_1', 'conv2_1', 'conv3_1', 'conv4_1', 'conv5_1'])
    method.add_argument('--pooling', choices=('average', 'max', 'l2'), default='average', help='in the network')
    method.add_argument('--padding', choices=('zero', 'reflect'), default='zero', help='beyond the border')
    method.add_argument('--optimizer', choices=('lbfgs', 'adam'), default='lbfgs', help='adam takes less memory')
    method.add_argument('--learning-rate', type=cli.real_number(1e-6), default=5.0, metavar='R', help="adam's")
    method.add_argument('--scales', type=cli.whole_number(1, 20), metavar='N', help='sizes from coarse to fine; none: '
                        f'from {sizes.COARSEST} pixels on')
    method.add_argument('--tile-size', type=cli.whole_number(64), metavar='PIXELS', help='work tile by tile; '
                        'none: if memory asks for it')
    method.add_argument('--loss', choices=('mean', 'book'), default='mean', help="book: the cookbook's sums, weights")
    method.add_argument('--book', action='store_true', help="the cookbook's whole recipe: Adam, from noise, one scale")
    return parser


def parse_args(argv):
    """Parses and checks the command line; nothing slow, nothing written.

    Raises:
      InputError: An option cannot be followed.
    """
    args = cli.parse_args(make_parser(), argv, RECIPE, changeable=('output', 'save_every'),
                          preset=lambda asked: BOOK if asked.book else BOOK_LOSS if asked.loss == 'book' else {})
    args.objective = Objective(parse_layers(args.content_layers, args.network, args.loss),
                               parse_layers(args.style_layers, args.network, args.loss),
                               args.content_weight, args.style_weight, args.tv_weight, args.loss)
    if args.content_weight == args.style_weight == 0:
        raise InputError('--content-weight 0 --style-weight 0: nothing to paint; one of them has to be above 0')
    if args.init not in ('content', 'noise', 'style'):
        images.load_image(args.init)
    if args.output:
        images.check_output(args.output, '--output')
    return args


def parse_layers(texts, network, scale):
    """Reads layers and weights.

    Args:
      texts: List of 'conv1_1' or 'conv1_1:0.5'.
      network: 'vgg16', 'vgg19' or None.
      scale: 'mean': the weights are made to sum to 1. 'book': they stay as they are.

    Returns:
      OrderedDict of layer name to weight.

    Raises:
      InputError: No such layer, or a weight that is no number above 0.
    """
    weights = collections.OrderedDict()
    for text in texts:
        layer, _, weight = text.partition(':')
        vgg.check_layer(layer, network or 'vgg19')
        try:
            weights[layer] = float(weight or 1)
        except ValueError:
            weights[layer] = 0
        if not 0 < weights[layer] < float('inf'):
            raise InputError(f'{text}: the weight of a layer is a number above 0, as in {layer}:0.5')
    total = sum(weights.values()) if scale == 'mean' else 1
    return collections.OrderedDict((layer, weight / total) for layer, weight in weights.items())


def find_jobs(args):
    """Returns (list of `pairs.Job`, list of str: why other pictures are left out); see `pairs.find_jobs`."""
    contents = args.content or [Path(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))]  # US Navy portrait
    jobs, left_out = pairs.find_jobs(contents, args.style, args.size, args.style_scale, args.style_blend, args.upscale,
                                     args.stretch_style)
    if args.output and len(jobs) > 1:
        raise InputError(f"--output {args.output}: one file for {len(jobs)} pictures; leave it out, they go into the "
                         f"run's folder")
    files.check_no_input(args.output, pairs.files(jobs), '--output')
    for mistake in left_out:
        print(f'left out: {mistake}', file=sys.stderr)
    return jobs, left_out


def used_layers(objective):
    """Returns the names of all layers that the losses look at."""
    return [*objective.style_layers, *objective.content_layers]


def load_network(args):
    """Returns the `Network`, with no more layers than are used, and a dict of where its weights are from."""
    name, weights, source, sha256 = vgg.obtain_weights(args.models_dir, args.network, args.weights, quiet=args.quiet)
    layers = used_layers(args.objective)
    for layer in layers:
        vgg.check_layer(layer, name)
    names = vgg.layer_names(name)
    used = names[:names.index(deepest(layers, name)) + 1]
    weights = {layer: arrays for layer, arrays in weights.items() if layer in used}
    return Network(name, weights, args.pooling, args.padding), dict(network=name, source=source, sha256=sha256)


def estimate_memory(size, network, halo=0, optimizer='lbfgs', tile_size=None):
    """Estimates the memory that painting takes above what loading the weights took.

    Args:
      size: (height, width) of the picture.
      network: `Network`, with the weights of the layers that are used.
      halo: Pixels around a tile.
      optimizer: 'lbfgs' or 'adam'.
      tile_size: None for no tiles.

    Returns:
      int, bytes.
    """
    crop = [min(side, tile_size + 2 * tiles.round_up(halo, 16)) if tile_size else side for side in size]
    activations = sum(num_positions(crop, layer) * bias.size for layer, (_, bias) in network.weights.items())
    vectors = VECTORS[optimizer] * 3 * size[0] * size[1]
    weights = sum(kernel.size for kernel, _ in network.weights.values())
    return int(FIXED_MEMORY + 4 * (ACTIVATION_COPIES * activations + vectors + WEIGHT_COPIES * weights))


def choose_tiles(args, network, jobs):
    """Decides whether memory asks for tiles; a resumed run has those that it began with.

    Returns:
      (tile size in pixels or None, halo in pixels, bytes that will be needed, str that says so).

    Raises:
      UnavailableError: There is too little memory, even for tiles.
    """
    # How far to each side a core's activations depend on pixels: the receptive field, less the position's own pixels.
    halo = max((vgg.halo(layer, network.name) - vgg.stride(layer)) // 2 for layer in used_layers(args.objective))
    size = max((job.size for job in jobs), key=lambda size: size[0] * size[1])
    begun = runs.read_record(args.run_dir) if args.run_dir else {}
    only = [begun['tile_size']] if 'tile_size' in begun else [args.tile_size] if args.tile_size else None
    tile_size, need, line = memory.choose_tile_size(
        max(size), functools.partial(estimate_memory, size, network, halo, args.optimizer), only)
    return tile_size, halo, need, line


def paint(job, args, sess, graph, cover, run, checkpoint):
    """Paints one picture and writes it, its sheet and its curves into the run's folder."""
    content, originals = pairs.load_picture(job.content), [pairs.load_picture(path) for path in job.styles]
    target, styles = content, originals
    if args.preserve_color == 'luminance':
        target, styles = color.gray(content), [color.match_luminance(style, content) for style in originals]
    elif args.preserve_color == 'histogram':
        styles = [color.match_histogram(style, content) for style in originals]
    plan = sizes.plan(*job.size, args.iterations, args.scales)
    base = {'content': target, 'noise': target, 'style': styles[0]}.get(args.init)
    start = starting_picture(plan[0].size, pairs.load_picture(args.init) if base is None else base,
                             1.0 if args.init == 'noise' else args.noise_ratio, args.seed)

    if args.preserve_color == 'luminance':
        run.finish = lambda image: color.keep_luminance(images.resize_image(content, *image.shape[:2]), image)

    def make_optimizer(x):
        return LBFGS(x, first_step=FIRST_STEP) if args.optimizer == 'lbfgs' else Adam(x, args.learning_rate)

    blend = np.array(args.style_blend or [1] * len(styles), float)
    style_size = functools.partial(sizes.style_size, style_scale=args.style_scale, stretch=args.stretch_style,
                                   upscale=args.upscale)
    picture, losses = stylize(sess, graph, cover, target, styles, plan, start, make_optimizer, run.record,
                              blend / blend.sum(), style_size, checkpoint)
    result = run.finish(picture)
    run.save(result, seconds_per_iteration=run.seconds_per_step(),
             **{f'{name}_loss': value for name, value in losses._asdict().items()})
    plotting.plot_sheet(run.run_dir / f'{job.name}_sheet.png', [content, *originals, result],
                        ['content', *['style'] * len(originals), 'result'])
    rows = run.rows()
    curves = {name: ([row['step'] for row in rows], [row[name] for row in rows]) for name in CURVES}
    plotting.plot_curves(run.run_dir / f'{job.name}_losses.png', curves,
                         'Loss per iteration, from coarse to fine', 'iteration', 'loss, with its weight', log=True)


@cli.exit_codes
def main(argv=None):
    """Paints what the command line asks for; returns the exit code."""
    started = time.time()
    args = parse_args(argv)
    jobs, left_out = find_jobs(args)
    network, source = load_network(args)
    memory_before = memory.current()
    tile_size, halo, need, memory_line = choose_tiles(args, network, jobs)
    device = session.describe_device(args.device, args.threads)
    run_dir = args.run_dir or runs.create(args.output_dir, RECIPE, settings=args.settings, device=device)
    runs.check_unchanged(run_dir, weights=source, inputs=pairs.fingerprints(jobs), tile_size=tile_size)
    if not args.quiet:
        print(f'{device}\n{memory_line}')
    with tf.Graph().as_default() as tf_graph:
        graph = build_graph(network, args.objective, tiled=tile_size is not None)
        tf_graph.finalize()
    cover = functools.partial(tiles.make_tiles, tile_size=tile_size or LARGEST_SIDE, halo=halo)
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess, PictureRun(
            run_dir, [args.iterations] * len(jobs), Losses._fields, 'iteration', {'loss': 'total'}, args.save_every,
            args.output, args.quiet, started) as run:
        for job in run.remaining(jobs):
            with run.keeping(job.name) as checkpoint:
                paint(job, args, sess, graph, cover, run, checkpoint)
    return conclude(run, left_out, estimated_memory=need, memory_before=memory_before)


def conclude(run, left_out, **figures):
    """Records the results and says them in words; returns the exit code."""
    figures.update(peak_memory=memory.peak())
    if len(run.finished) != 1:
        return run.conclude(f'{len(run.finished)} pictures painted in {run.seconds():.0f} s, {len(left_out)} left out: '
                            f'{run.run_dir}', left_out, **figures)
    done, = run.finished
    return run.conclude(f'painted in {run.seconds():.0f} s, {done["seconds_per_iteration"]:.2f} s an iteration, with at '
                        f'most {memory.peak() / 1e9:.1f} GB of memory; content loss {done["content_loss"]:.4g}, style '
                        f'loss {done["style_loss"]:.4g}: {done["path"]}', left_out, **dict(done, **figures))


if __name__ == '__main__':
    sys.exit(main())
