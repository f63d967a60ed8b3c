"""Style transfer: repaints a photograph in the style of a painting (Gatys, Ecker and Bethge 2015).

The idea. A network trained to recognize what photographs show separates two aspects of an image. Its deep activations
say what is where: the content. The correlations between the channels of a layer (their Gram matrix) describe the
texture, regardless of where: the style. We look for an image whose activations are the photograph's and whose
correlations are the painting's. No network is trained: the gradient of the loss goes to the pixels.

The image is optimized from coarse to fine, in steps of √2, by L-BFGS. The losses are means, so that one set of weights
serves every size; `--loss book` and `--book` have the cookbook's sums, weights and optimizer instead. The default
weights were chosen by eye: with a style weight of 100 the photograph only changes its colors, with 500 a face is still
a face under brush strokes, with 3,000 to 10,000 the painting takes over. Broad strokes on a busy photograph leave more
of it with 150; so do larger images. 500 iterations at 512 pixels take four and a half minutes on two CPU cores.

Usage:
    python recipes/style_transfer.py --content face.jpg --style starry_night.jpg
    python recipes/style_transfer.py --content photos/ --style wave.jpg scream.jpg           every pair
    python recipes/style_transfer.py --content city.jpg --style wave.jpg monet.jpg --style-blend 2 1
    python recipes/style_transfer.py --content city.jpg --style wave.jpg monet.jpg --mask sky.png town.png  by regions
    python recipes/style_transfer.py --content holiday.mp4 --style wave.jpg --output painted.mp4            a film

Source: A Neural Algorithm of Artistic Style, arXiv 1508.06576; its equations are numbered as there.
"""
import sys
import time
from functools import partial
from typing import Any, NamedTuple, Optional

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import cli, images, parallel, runs, session
from common.errors import ComputationError, InputError
from common.session import tf
from networks import summary, vgg
from synthesis import frames, jobs, memory, optimizers, painting, regions, sizes, tiles, transport
from synthesis.optimizers import LBFGS, Adam
from synthesis.picture_run import PictureRun
from synthesis.style_targets import compute_targets
from synthesis.tiled_loss import POOLS, interior_of, laplacian, make_evaluate, num_positions, total_variation

RECIPE = 'style_transfer'
STYLE_LAYERS = ('conv1_1', 'conv2_1', 'conv3_1', 'conv4_1', 'conv5_1')
# What --loss book sets: the loss of the TensorFlow 1.x Deep Learning Cookbook, chapter 4; and --book: its whole recipe.
BOOK_LOSS = dict(loss='book', content_weight=5.0, style_weight=100.0, tv_weight=0.0, stretch_style=True,
                 style_layers=['conv1_1:0.5', 'conv2_1:1', 'conv3_1:1.5', 'conv4_1:3', 'conv5_1:4'])
BOOK = dict(BOOK_LOSS, optimizer='adam', learning_rate=2.0, iterations=600, scales=1, noise_ratio=0.6)
Tensor = Any


# ---- The losses: functions of sums over positions, which can be added up tile by tile ----

class LossWeights(NamedTuple):
    """What each part of the loss counts."""
    content_layers: dict = {'conv4_2': 1.0}  # layer to its weight within the content loss
    style_layers: dict = dict.fromkeys(STYLE_LAYERS, 1 / len(STYLE_LAYERS))
    content_weight: float = 5.0
    style_weight: float = 500.0
    tv_weight: float = 1.0
    loss: str = 'mean'  # or 'wasserstein', 'book'
    laplacian_weight: float = 0.0
    laplacian_pools: tuple = (1,)  # pixels, averaged before edges are compared

    @property
    def layers(self):
        """The names of all layers that the losses use."""
        return [*self.style_layers, *self.content_layers]

    @property
    def parts(self):
        """The names of the losses that a run records."""
        return Losses._fields[:5 if self.laplacian_weight else 4]


class Losses(NamedTuple):
    """The loss and its parts, their weights included."""
    total: float
    content: float
    style: float
    variation: float
    laplacian: float = 0.0
    temporal: float = 0.0  # of a film's frames


def gram_matrix(activations, mask=None):
    """Computes the correlations between channels, the texture statistic of a layer.

    Args:
      activations: float32 [1, height, width, channels].
      mask: float32 [1, height, width] in [0, 1], how much each position counts; None if all do.

    Returns:
      float32 [channels, channels], summed over positions.

    Source: eq. 3. Its gradient with respect to F is F (R + R transposed), R being the gradient from above. R is as
      symmetric as the matrix itself: one product of matrices instead of the two that TensorFlow would derive.
    """
    @tf.custom_gradient
    def correlate(features):
        def masked(values):
            return values if mask is None else values * tf.reshape(mask, [-1, 1])
        return (tf.matmul(masked(features), features, transpose_a=True),
                lambda from_above: masked(tf.matmul(features, 2 * from_above)))

    return correlate(tf.reshape(activations, [-1, int(activations.shape[-1])]))


def content_loss(squares, positions, num_channels, loss='mean'):
    """Computes how far a layer's activations are from the content image's.

    Args:
      squares: float32, the squared differences summed over positions and channels.
      positions, num_channels: M and N of the layer in the whole image.
      loss: 'mean', 'wasserstein' or 'book'.

    Source: eq. 1, there half of the sum. A mean does not grow with the image; the book divides by 4 N M.
    """
    return squares / ((4.0 if loss == 'book' else 1.0) * positions * num_channels)


def style_loss(gram, target, positions, loss='mean'):
    """Computes how far a layer's Gram matrix is from the style image's.

    Args:
      gram: float32 [channels, channels], summed over positions.
      target: float32 of the same shape, per position: style images of another size can be compared.
      positions: M of the layer in the whole image, or of a region.
      loss: 'mean', 'wasserstein' or 'book'.

    Source: eq. 4, the sum over 4 N² M². That weighs a layer of 512 channels 64 times as much as one of 64, so 'mean' is
      the mean square of the matrices divided by N M, as in most programs since; 'book' is eq. 4. 'wasserstein' has
      matrices of its own; see transport.
    """
    if loss == 'wasserstein':
        return transport.transport_loss(gram / positions, target)
    num_channels = float(int(gram.shape[0]))
    difference = gram / positions - target
    if loss == 'book':
        return tf.reduce_sum(tf.square(difference)) / (4 * num_channels ** 2)
    return tf.reduce_mean(tf.square(difference / num_channels))


def total_loss(totals, style_targets, content_targets, size, weights, areas=None):
    """Computes the losses from sums over the whole image.

    Args:
      totals: list of float32: a Gram matrix per style layer, a sum of squares per content target, the variation.
      style_targets: dict from (layer, region) to what its Gram matrix is compared with.
      content_targets: dict from layer, or pool size, to what it is compared with.
      size: int32 [2], (height, width) of the whole image.
      weights: LossWeights.
      areas: float32 [style targets], positions of each layer's regions, which weigh them; None without regions.

    Returns:
      Losses of float32 scalars.

    Source: eq. 5 (the sum over style layers) and eq. 7 (the total), with total variation and edges added.
    """
    grams, variation = totals[:len(style_targets)], totals[-1]
    squares = dict(zip(content_targets, totals[len(style_targets):-1]))
    size = tf.unstack(size)
    areas, style = [None] * len(grams) if areas is None else tf.unstack(areas), []
    for ((layer, _), target), gram, area in zip(style_targets.items(), grams, areas):
        weight, positions = weights.style_layers[layer], num_positions(size, vgg.stride(layer))
        if area is not None:  # one that has vanished counts nothing
            weight, positions = weight * (area / positions), tf.where(area > 0, area, 1.0)
        style.append(weight * style_loss(gram, target, positions, weights.loss))
    style = weights.style_weight * tf.add_n(style)
    content = weights.content_weight * tf.add_n([
        weight * content_loss(squares[layer], num_positions(size, vgg.stride(layer)),
                              int(content_targets[layer].shape[-1]), weights.loss)
        for layer, weight in weights.content_layers.items()])
    variation *= weights.tv_weight / (3 * tf.cast(size[0] * size[1], tf.float32))
    total, edges = content + style + variation, tf.constant(0.0)
    if weights.laplacian_weight:
        edges = weights.laplacian_weight * tf.add_n([squares[pool] / (3 * num_positions(size, pool))
                                                         for pool in weights.laplacian_pools])
        total += edges
    return Losses(total=total, content=content, style=style, variation=variation, laplacian=edges,
                  temporal=tf.constant(0.0))


class StyleGraph(NamedTuple):
    """Tensors of the graph that evaluates an image of any size, or a tile of it."""
    image: Tensor  # placeholder, float32 [1, height, width, 3]
    size: Tensor  # placeholder, int32 [2], (height, width) of the whole image
    interior: Optional[Tensor]  # placeholder, int32 [4], its bounds in the image; None without tiles
    masks: dict  # style layer to a placeholder, float32 [1, height, width, regions] of the interior; empty without
    areas: Optional[Tensor]  # placeholder, float32 [grams], the sums of the whole image's masks; None without regions
    grams: dict  # (style layer, region) to float32 [channels, channels], summed over the interior
    as_target: Any  # function of a style's Gram matrix, float64, per position, to what results are compared with
    features: dict  # content layer or pool size to float32 [1, height, width, channels] of the interior
    style_targets: dict  # (style layer, region) to its placeholder, as `grams`, but from `as_target`
    content_targets: dict  # content layer to its placeholder, as `features`
    tile_totals: list  # all that the losses are made of, summed over the interior
    image_totals: list  # the same for the whole image: fed where there are several tiles
    losses: Losses
    gradient: Tensor  # of the total loss with respect to the image


def build_graph(network, weights=LossWeights(), tiled=False, num_regions=0):
    """Adds a vgg.Network, the losses and their gradient to the default graph; returns a StyleGraph.

    One graph serves all sizes, the targets (`grams`, `features`), and, if `tiled`, crops of an image: see
    tiled_loss.make_evaluate.
    """
    image = tf.placeholder(tf.float32, [1, None, None, 3], name='image')
    size = tf.placeholder(tf.int32, [2], name='size')
    interior = tf.placeholder(tf.int32, [4], name='interior') if tiled else None
    end_points = network.build(image)
    with tf.name_scope('totals'):
        inside = {layer: interior_of(end_points[layer], interior, vgg.stride(layer)) for layer in weights.layers}
        masks = {layer: tf.placeholder(tf.float32, [1, None, None, num_regions])
                 for layer in weights.style_layers if num_regions}
        bordered = {layer: transport.with_constant(inside[layer]) if weights.loss == 'wasserstein' else inside[layer]
                    for layer in weights.style_layers}
        grams = {(layer, region): gram_matrix(bordered[layer], masks[layer][..., region] if masks else None)
                 for layer in weights.style_layers for region in range(num_regions or 1)}
        areas = tf.placeholder(tf.float32, [len(grams)], name='areas') if masks else None
        features = {layer: inside[layer] for layer in weights.content_layers}
        if weights.laplacian_weight:
            features.update({pool: interior_of(laplacian(image, pool), interior, pool)
                             for pool in weights.laplacian_pools})
        style_targets, content_targets = ({layer: tf.placeholder(tf.float32, tensor.shape)
                                           for layer, tensor in compared.items()} for compared in (grams, features))
        tile_totals = [*grams.values(), *(tf.reduce_sum(tf.squared_difference(features[layer], content_targets[layer]))
                                          for layer in features), total_variation(image, interior)]
    image_totals = [tf.placeholder_with_default(part, part.shape) for part in tile_totals] if tiled else tile_totals
    with tf.name_scope('losses'):
        losses = total_loss(image_totals, style_targets, content_targets, size, weights, areas)
    with tf.name_scope('gradient'):  # the chain rule, cut where the sums over tiles come in
        gradient, = tf.gradients(tile_totals, image, grad_ys=tf.gradients(losses.total, image_totals))
    return StyleGraph(image=image, size=size, interior=interior, masks=masks, areas=areas, grams=grams,
                      as_target=transport.root_of_covariance if weights.loss == 'wasserstein' else np.asarray,
                      features=features, style_targets=style_targets, content_targets=content_targets,
                      tile_totals=tile_totals, image_totals=image_totals, losses=losses, gradient=gradient)


# ---- The loop, from coarse to fine ----

def stylize(sess, graph, content_image, style_images, scales, start=None, blend=None, make_optimizer=LBFGS,
            style_size=sizes.style_size, make_tiles=tiles.make_tiles, record=lambda *step, **losses: None,
            checkpoint=None, guide=None, seconds=float('inf'), add_loss=lambda evaluate: evaluate):
    """Repaints the content image in the styles, from coarse to fine; ComputationError where a loss is not finite.

    Args:
      sess, graph, blend, make_tiles, guide: see compute_targets.
      content_image, style_images: float32 [any height, any width, 3] in [0, 255]; a list of such, each of its size.
      scales, seconds: list of sizes.Scale; after which each of them ends with the iteration in work.
      start: float32 [any height, any width, 3]; None for the content image.
      make_optimizer: function of a start, float32 [size], to an optimizer.
      style_size: function of a style image's own size and the scale's to the size that it is given.
      record, checkpoint: called after every iteration, see PictureRun.record; the state it was given last, or None.
      add_loss: function of what the optimizer is to minimize, to the same with another loss added.

    Returns:
      (float32 [height, width, 3] in [0, 255], Losses of that image).
    """
    image, began = content_image if start is None else start, time.monotonic()
    first, done = (int(checkpoint['scale']), int(checkpoint['iteration'])) if checkpoint else (0, 0)
    for index, scale in enumerate(scales[first:], first):
        content = images.resize_image(content_image, *scale.size)
        styles = [images.resize_image(style, *style_size(style.shape[:2], scale.size)) for style in style_images]
        targets = compute_targets(sess, graph, content, styles, blend, make_tiles, guide)
        evaluate = add_loss(make_evaluate(sess, graph, scale.size, make_tiles(*scale.size), *targets))
        image = images.resize_image(image, *scale.size)
        if guide:
            evaluate, image = guide.limit(evaluate, image, content)
        optimizer = make_optimizer(image.ravel())
        if checkpoint:
            optimizers.restore(optimizer, checkpoint)
        before = sum(earlier.iterations for earlier in scales[:index])
        for iteration in range(done + 1, scale.iterations + 1):
            optimizer.step(evaluate)
            if not np.isfinite(optimizer.losses[0]):
                raise ComputationError(f'the loss is not finite after {before + iteration - 1} iterations; lower '
                                       'weights or a lower learning rate may help')
            state = dict(optimizers.named_state(optimizer), scale=index, iteration=iteration)
            record(before + iteration, np.clip(optimizer.x.reshape(*scale.size, 3), 0, 255), state,
                   **Losses(*optimizer.losses)._asdict())
            if time.monotonic() - began > seconds:
                break
        done, checkpoint = 0, None
        image = np.clip(optimizer.x.reshape(*scale.size, 3), 0, 255)
    return image, evaluate(image.ravel())[0]


# ---- Command line ----

def parse_args(argv):
    """Parses and checks the command line; see --help."""
    parser = cli.make_parser(__doc__, models=True)
    jobs.add_options(parser)
    regions.add_options(parser)
    painting.add_options(parser)
    add = parser.add_argument_group('look').add_argument
    add('--content-weight', type=cli.real_number(0), default=5.0, metavar='W', help='higher: more of the photograph')
    add('--style-weight', type=cli.real_number(0), default=500.0, metavar='W', help='higher: more of the painting')
    add('--tv-weight', type=cli.real_number(0), default=1.0, metavar='W', help='total variation; higher: smoother')
    add('--laplacian-weight', type=cli.real_number(0), default=0.0, metavar='W',
        help="higher: more of the photograph's drawing, its edges")
    add('--laplacian-pools', nargs='+', type=cli.whole_number(1), default=[1], metavar='PIXELS',
        help='sides of the squares averaged before edges are compared: 1, 2, 4, 8 or 16')
    add('--preserve-color', choices=('no', 'luminance', 'histogram'), default='no',
        help="keep the photograph's colors: transfer luminance only, or match the style's colors to it first")
    add('--init', default='content', metavar='START', help='start from content, noise, style, or an image file')
    add('--noise-ratio', type=cli.real_number(0, 1), default=0.0, metavar='R', help='fraction of noise in the start')
    add = vgg.add_options(parser).add_argument
    add('--content-layers', nargs='+', default=['conv4_2'], metavar='LAYER', help='layer or layer:weight')
    add('--style-layers', nargs='+', default=list(STYLE_LAYERS), metavar='LAYER', help='layer or layer:weight')
    add = parser.add_argument_group('optimization').add_argument
    add('--iterations', '--steps', type=cli.whole_number(1), default=500, metavar='N', help='over all scales')
    add('--optimizer', choices=('lbfgs', 'adam'), default='lbfgs', help='adam takes less memory')
    add('--learning-rate', type=cli.real_number(1e-6), default=5.0, metavar='R', help='of adam')
    add('--scales', type=cli.whole_number(1, 20), metavar='N',
        help=f'sizes from coarse to fine (default: as many as start at {sizes.COARSEST} pixels)')
    add('--tile-size', type=cli.whole_number(64), metavar='PIXELS', help='use tiles (default: if memory requires it)')
    add('--loss', choices=('mean', 'wasserstein', 'book'), default='mean',
        help="wasserstein: style by transport of features; book: the cookbook's sums and weights")
    add('--book', action='store_true', help='the whole recipe of the TensorFlow 1.x Deep Learning Cookbook, ch. 4')
    args = cli.parse_args(parser, argv, RECIPE, free=('output',), changeable=('save_every',), shared=True,
                          preset=lambda asked: BOOK if asked.book else BOOK_LOSS if asked.loss == 'book' else {})
    if args.content_weight == args.style_weight == 0:
        raise InputError('--content-weight 0 --style-weight 0: nothing to paint; one of them must be above 0')
    for pool in set(args.laplacian_pools) - set(POOLS):
        raise InputError(f'--laplacian-pools {pool}: expected 1, 2, 4, 8 or 16')
    jobs.load_start(args.init)
    return args


def loss_weights(args):
    """Returns the LossWeights that the options ask for."""
    content_layers, style_layers = (jobs.parse_layers(asked, args.network, args.loss != 'book')
                                    for asked in (args.content_layers, args.style_layers))
    return LossWeights(content_layers=content_layers, style_layers=style_layers, content_weight=args.content_weight,
                       style_weight=args.style_weight, tv_weight=args.tv_weight, loss=args.loss,
                       laplacian_weight=args.laplacian_weight,
                       laplacian_pools=tuple(dict.fromkeys(args.laplacian_pools)))


def open_run(args, notes, skipped, **facts):
    """Makes the run's folder, or checks that what is to be resumed has not changed since; returns its Path."""
    device = parallel.describe_device(args.device, args.threads)
    run_dir = args.run_dir or runs.create(args.output_dir, RECIPE, settings=args.settings, device=device)
    runs.check_unchanged(run_dir, **facts)
    if not args.quiet:
        print('\n'.join([device, *notes, f'this run: {run_dir}']))
    for line in skipped:
        print(f'skipped: {line}', file=sys.stderr)
    return run_dir


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    weights = loss_weights(args)
    guide = regions.read(args.mask, args.content_map, args.style_map, jobs.find_styles(args.style), args.style_blend)
    blend = [] if guide and args.style_blend is None else args.style_blend
    opened = painting.open_source(args)
    todo, skipped = jobs.find_jobs(args.content, args.style, args.size, args.style_scale, blend, args.upscale,
                                   args.stretch_style, opened)
    filmed = opened and painting.of_size(opened, todo)
    others = [*(args.mask or ()), args.content_map, *(args.style_map or ())]
    parallel.check_jobs(len(todo), 'a film' if filmed else 'one picture')
    jobs.check_output(args.output, todo, others, opened)
    network, source = vgg.load_network(args.models_dir, weights.layers, args.network, args.weights, args.pooling,
                                       args.padding, args.quiet)
    memory_before, num_regions = memory.current(), guide.count if guide else 0
    tiling = memory.choose_tiles(max((job.size for job in todo), key=np.prod), network.name, network.weights,
                                 weights.layers, args.optimizer, args.tile_size, args.run_dir,
                                 [*weights.style_layers] * (num_regions + (args.loss == 'wasserstein')))
    run_dir = open_run(
        args, [tiling.reason, *jobs.note_small(todo, args.size), *(guide.notes_for(todo) if guide else ())], skipped,
        weights=source, inputs=jobs.fingerprints(todo, others), tile_size=tiling.tile_size,
        **(painting.facts(filmed) if filmed else {}))
    with tf.Graph().as_default() as tf_graph:
        graph = build_graph(network, weights, tiling.tile_size is not None, num_regions)
        tf_graph.finalize()
    summary.draw(run_dir / 'network.png', graph.image, [*graph.grams.values(), *graph.features.values()])
    make_optimizer = LBFGS if args.optimizer == 'lbfgs' else partial(Adam, learning_rate=args.learning_rate)
    style_size = partial(sizes.style_size, style_scale=args.style_scale, stretch=args.stretch_style,
                         upscale=args.upscale)
    make_start = partial(jobs.make_start, args.init, args.noise_ratio, args.seed)
    finish = partial(regions.finish, preserve_color=args.preserve_color, guide=guide)
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        paint = partial(stylize, sess, graph, blend=blend, make_optimizer=make_optimizer, style_size=style_size,
                        make_tiles=tiling.make_tiles, guide=guide)
        if filmed:
            with frames.FilmRun(run_dir, filmed, args.quiet, painting.COLUMNS) as run:
                painting.paint_film(run, paint, make_start, finish, list(map(jobs.load_image, todo[0].styles)), args)
                return run.conclude(args.output or run_dir / f'{todo[0].name}.mp4', skipped, started, 'painted')
        with PictureRun(run_dir, [args.iterations] * len(todo), weights.parts, unit='iteration',
                        shown={'loss': 'total'}, save_every=args.save_every, output=args.output, quiet=args.quiet,
                        started=started, results=('seconds_per_iteration', 'content_loss', 'style_loss')) as run:
            painting.paint_pictures(run, todo, paint, make_start, finish, args)
    return painting.conclude(run, skipped, estimated_memory=tiling.bytes_needed, memory_before=memory_before)


if __name__ == '__main__':
    sys.exit(main())
