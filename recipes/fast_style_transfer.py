"""Fast style transfer: paints a photograph in a second, in one of 26 styles or any painting's, and learns paintings.

The idea. style_transfer.py optimizes each picture from the start. Here a network was trained once to make such
pictures in a single pass. Its convolutions know how to paint; a *style* is nothing but the scale γ and the shift β that
follow each normalization: 990 numbers. Hence there are three ways to a style:

- *26 styles* that were trained with the convolutions. They have no names: without any option, a sheet shows them all.
  Vectors can be blended.
- *Any painting at once*: a second network predicts γ and β from the painting, for a network of its own.
- *Learn a painting* (--learn): the convolutions stay as they are, and γ and β are trained on a few photographs, for the
  loss of style_transfer.py: Gram matrices like the painting's, content like the photograph's. Minutes, where training
  a whole network takes hours on a GPU; closer to the painting than the prediction.

A film is painted frame by frame; --smooth blends in the last frame, warped with optical flow, so that strokes stay.

Usage:
    python recipes/fast_style_transfer.py --content face.jpg                                  a sheet of the 26 styles
    python recipes/fast_style_transfer.py --content face.jpg --style-number 7 12:0.5,19:0.5   one, and a blend of two
    python recipes/fast_style_transfer.py --content photos/ --style wave.jpg scream.jpg       any painting, every pair
    python recipes/fast_style_transfer.py --learn starry_night.jpg
    python recipes/fast_style_transfer.py --content face.jpg --style starry_night             what was learned
    python recipes/fast_style_transfer.py --content holiday.mp4 --style-number 7 --smooth 0.7 --output painted.mp4

Source: Johnson, Alahi and Fei-Fei 2016, arXiv 1603.08155; Dumoulin, Shlens and Kudlur 2017, arXiv 1610.07629, whose
network and 26 styles these are; Ghiasi et al. 2017, arXiv 1705.06830, for any painting.
"""
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import checkpoints, cli, files, film, images, parallel, plotting, progress, runs, session
from common.errors import ComputationError, InputError
from common.session import tf
from networks import style_networks, summary, vgg
from synthesis import color, content, frames, large_pictures, memory, motion, styles
from synthesis.optimizers import Adam
from synthesis.picture_run import PictureRun

RECIPE = 'fast_style_transfer'
STYLE_LAYERS = ('conv1_2', 'conv2_2', 'conv3_3', 'conv4_3')  # of VGG-16, as in Johnson et al.
CONTENT_LAYER = 'conv3_3'
# What --learn trains on by default, and the two photographs that only measure the result.
SAMPLES = Path(__file__).resolve().parent.parent / 'docs' / 'samples'
PHOTOGRAPHS = [SAMPLES / f'{name}.jpg' for name in ('astronaut', 'chelsea', 'coffee', 'flowers', 'sky', 'tubingen')]
HELD_OUT = [SAMPLES / 'hopper.jpg', content.RACCOON]
PAINTING_SIZE = 384  # pixels of the longer side of the painting that is learned
# A photograph is flat where neighboring pixels differ by less than so many gray levels on average, over squares of so
# many pixels; how much more than elsewhere what is painted may not vary there.
FLAT_CONTRAST, FLAT_SIZE, FLAT_WEIGHT = 2.0, 9, 10.0
PROOFS = (0.25, 0.5)  # of the steps, after which a proof picture is saved; another follows at the end
Tensor = Any


# ---- The network: one graph for every size, every style ----

class Graph(NamedTuple):
    """Tensors of the graph that paints."""
    images: Tensor  # placeholder, float32 [batch, any height, any width, 3], RGB in [0, 255]
    style: Tensor  # float32 [length], γ and β; the network's first style unless it is fed
    painted: Tensor  # float32 of the shape of `images`, in [0, 255]
    end_points: dict  # see style_networks.paint


def build_graph(network, style=None):
    """Adds the network that paints to the default graph; returns a Graph. `style` is the vector unless one is fed."""
    photographs = tf.placeholder(tf.float32, [None, None, None, 3], name='images')
    style = np.zeros(network.length, np.float32) if style is None else style
    style = tf.placeholder_with_default(style, [network.length], name='style')
    end_points = style_networks.paint(photographs, network, style)
    return Graph(images=photographs, style=style, painted=end_points['painted'], end_points=end_points)


def paint(sess, graph, photograph, style, preserve_color='no'):
    """Paints a photograph, float32 [height, width, 3] in [0, 255], in the style of a vector, float32 [length]."""
    height, width, _ = photograph.shape
    image = color.gray(photograph) if preserve_color == 'luminance' else photograph
    feed = {graph.images: image[np.newaxis], graph.style: style}
    if height * width > large_pictures.LARGE:
        feed = large_pictures.second_layer(sess, graph, image, style)
    painted = sess.run(graph.end_points['whole'], feed)[0, :height, :width]
    return color.restore(painted, photograph, preserve_color)


# ---- Loss: what makes a style the painting's ----

class Losses(NamedTuple):
    """The loss and its parts, these without their weights: tensors, or their values."""
    total: Any
    content: Any
    style: Any
    variation: Any


class LearningGraph(NamedTuple):
    """Tensors of the graph that learns a style."""
    painting: Graph
    grams: dict  # style layer to float32 [channels, channels] of what is painted
    targets: dict  # style layer to its placeholder, the painting's
    losses: Losses
    gradient: Tensor  # of the total loss with respect to the style


def gram_matrix(activations):
    """Computes the correlations between channels: float32 [1, height, width, channels] to [channels, channels]."""
    features = tf.reshape(activations, [-1, int(activations.shape[-1])])
    return tf.matmul(features, features, transpose_a=True) / tf.cast(tf.shape(features)[0], tf.float32)


def variation_loss(painted, photographs):
    """Computes how much neighboring pixels differ, above all where the photographs are flat.

    What Gram matrices ask for has no place: without that weight a sky is covered with a weave.

    Args:
      painted, photographs: float32 [batch, height, width, 3], RGB in [0, 255].

    Returns:
      float32, the mean of squared differences as a fraction of a gray level's range squared, times 100. They count once
      where there is something in the photograph, and up to 1 + FLAT_WEIGHT times where its pixels hardly differ.
    """
    def differences(batch):
        return batch[:, 1:, :-1] - batch[:, :-1, :-1], batch[:, :-1, 1:] - batch[:, :-1, :-1]
    contrast = tf.reduce_mean(tf.abs(tf.concat(differences(photographs), axis=-1)), axis=-1, keepdims=True)
    flat = 1 / (1 + (tf.nn.avg_pool2d(contrast, FLAT_SIZE, 1, 'SAME') / FLAT_CONTRAST) ** 4)
    squares = tf.add_n([tf.square(part) for part in differences(painted)])
    return 100 * tf.reduce_mean((1 + FLAT_WEIGHT * flat) * squares) / 255 ** 2


def build_learning_graph(network, vgg_weights, *, content_weight=1.0, style_weight=3.0, tv_weight=1.0):
    """Adds the network that paints, the losses and their gradient to the default graph; returns a LearningGraph.

    Every part of the loss is relative, so that one set of weights serves all paintings. Style: the squared difference
    of the Gram matrices, as a fraction of the painting's own squares, summed over the four layers. Content: the squared
    difference of CONTENT_LAYER, as a fraction of the photograph's own squares. Variation: see variation_loss.

    Args:
      network: style_networks.StyleNetwork.
      vgg_weights: VGG-16's, from vgg.load_weights.
      content_weight, style_weight, tv_weight: float, what each part counts in the total.
    """
    painting = build_graph(network)
    build = partial(vgg.vgg, weights=vgg_weights, network='vgg16')
    seen = build(painting.painted, last_layer=STYLE_LAYERS[-1], prefix='painted')
    wanted = build(painting.images, last_layer=CONTENT_LAYER, prefix='photograph')[CONTENT_LAYER]
    grams = {layer: gram_matrix(seen[layer]) for layer in STYLE_LAYERS}
    targets = {layer: tf.placeholder(tf.float32, gram.shape) for layer, gram in grams.items()}
    with tf.name_scope('losses'):
        style = tf.add_n([tf.reduce_sum(tf.squared_difference(gram, targets[layer]))
                          / tf.reduce_sum(tf.square(targets[layer])) for layer, gram in grams.items()])
        content_loss = (tf.reduce_sum(tf.squared_difference(seen[CONTENT_LAYER], wanted))
                        / tf.reduce_sum(tf.square(wanted)))
        variation = variation_loss(painting.painted, painting.images)
        total = content_weight * content_loss + style_weight * style + tv_weight * variation
    gradient, = tf.gradients(total, painting.style)
    return LearningGraph(painting=painting, grams=grams, targets=targets, gradient=gradient,
                         losses=Losses(total=total, content=content_loss, style=style, variation=variation))


def style_targets(sess, graph, painting):
    """Returns the feed dict of a painting's Gram matrices: what the network paints is the painting itself."""
    grams = sess.run(graph.grams, {graph.painting.painted: painting[np.newaxis]})
    return {graph.targets[layer]: gram for layer, gram in grams.items()}


# ---- Learning ----

def mean_losses(sess, graph, crops, targets, style):
    """Returns (Losses, float32 [length], their gradient), the means over crops."""
    results = [sess.run([graph.losses, graph.gradient], {
        graph.painting.images: crop[np.newaxis], graph.painting.style: style, **targets}) for crop in crops]
    losses = Losses(*np.mean([losses for losses, _ in results], axis=0, dtype=np.float64).tolist())
    return losses, np.mean([gradient for _, gradient in results], axis=0, dtype=np.float32)


def nearest_style(sess, graph, network, feed, quiet=False):
    """Returns the vector to start from: of the 26 styles and their mean the one with the least loss on what is fed."""
    candidates, totals = [network.styles.mean(axis=0), *network.styles], []
    with progress.Progress(len(candidates), unit='style to start from', quiet=quiet) as bar:
        for style in candidates:
            totals.append(sess.run(graph.losses.total, {**feed, graph.painting.style: style}))
            bar.update({'loss': totals[-1]})
    return candidates[int(np.argmin(totals))]


def learn(sess, graph, network, photographs, targets, record, *, num_steps, batch_size, crop_size, learning_rate,
          seed=0, checkpoint=None, quiet=False):
    """Learns γ and β of a painting, float32 [length], by Adam, with a learning rate that falls to 0.

    Args:
      sess, graph: tf.Session on a LearningGraph.
      network: style_networks.StyleNetwork with the styles to start from.
      photographs: list of float32 [height, width, 3] in [0, 255].
      targets: feed dict of style_targets.
      record: function of the step, the style, the optimizer's state and, by name, the losses; called after every step.
      num_steps, batch_size, crop_size, learning_rate, quiet: see --help.
      seed: of the crops; those of a step depend on seed and step alone.
      checkpoint: dict of arrays, the state to resume from; None to begin.

    Raises:
      ComputationError: the loss is not finite.
    """
    def crops_of(step, count=batch_size):
        random = np.random.RandomState([seed, step])
        return [styles.draw_crop(photographs, crop_size, random) for _ in range(count)]

    first = {graph.painting.images: crops_of(0, 1), **targets}
    start = network.styles[0] if checkpoint else nearest_style(sess, graph, network, first, quiet)
    optimizer = Adam(start, learning_rate)
    if checkpoint:
        optimizer.restore(checkpoint)
    for step in range(optimizer.num_evaluations + 1, num_steps + 1):
        optimizer.learning_rate = learning_rate * (1 - (step - 1) / num_steps)
        optimizer.step(partial(mean_losses, sess, graph, crops_of(step), targets))
        if not np.isfinite(optimizer.losses[0]):
            raise ComputationError(f'the loss is not finite in step {step}; try a smaller --learning-rate')
        record(step, optimizer.x, optimizer.state(), **Losses(*optimizer.losses)._asdict())
    return optimizer.x


def learn_painting(args, network, started):
    """Learns a painting and saves its style; returns the exit code."""
    painting = styles.load_painting(args.learn, '--learn', round(PAINTING_SIZE * args.style_scale))
    paths = images.find_images(args.photos, '--photos') if args.photos else PHOTOGRAPHS
    photographs = styles.load_photographs(paths)
    proof_of, *others = [images.fit(images.load_image(path), 2 * args.crop_size) for path in HELD_OUT]
    _, weights, source, sha256 = vgg.obtain_weights(args.models_dir, 'vgg16', args.weights, quiet=args.quiet)
    with tf.Graph().as_default() as tf_graph:
        graph = build_learning_graph(network, weights, content_weight=args.content_weight,
                                     style_weight=args.style_weight, tv_weight=args.tv_weight)
        tf_graph.finalize()
    run_dir = open_run(args, network, [args.learn, *paths], vgg=source, vgg_sha256=sha256)
    name = args.learn.stem
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess, PictureRun(
            run_dir, [args.steps], Losses._fields, shown={'loss': 'total', 'style': 'style'}, output=args.output,
            quiet=args.quiet, started=started, results=('style_loss_before', 'style_loss', 'style_path')) as run:
        for _ in run.remaining([args.learn]):
            with run.keeping(f'{name}_proof') as checkpoint:
                targets = style_targets(sess, graph, painting)

                def record(step, vector, state, **losses):
                    if step in [round(fraction * args.steps) for fraction in PROOFS]:
                        images.save_image(run_dir / f'{name}_proof_{step:04d}.png',
                                          paint(sess, graph.painting, proof_of, vector))
                    run.record(step, proof_of, state, **losses)
                style = learn(sess, graph, network, photographs, targets, record, num_steps=args.steps,
                              batch_size=args.batch_size, crop_size=args.crop_size, seed=args.seed,
                              learning_rate=args.learning_rate, checkpoint=checkpoint, quiet=args.quiet)
                style_networks.save_style(run_dir / f'{name}{styles.SUFFIX}', style, painting=str(args.learn))
                before, after = (mean_losses(sess, graph, [proof_of, *others], targets, vector)[0]
                                 for vector in (network.styles.mean(axis=0), style))
                proof = paint(sess, graph.painting, proof_of, style)
                run.save(proof, style_loss_before=before.style, style_loss=after.style, content_loss=after.content,
                         style_path=run_dir / f'{name}{styles.SUFFIX}')
                plotting.plot_sheet(run_dir / f'{name}_sheet.png', [proof_of, painting, proof],
                                    ['held-out photograph', 'painting', 'learned'])
                plotting.plot_curves(run_dir / f'{name}_losses.png', run.curves(Losses._fields),
                                     'Losses per step', 'step', 'loss', log=True)
    result = run.only_result
    return run.conclude('learned', detail=f'style loss on photographs held out from {result["style_loss_before"]:.3g} '
                        f'to {result["style_loss"]:.3g}, the style is {result["style_path"]}; picture', **result)


# ---- Painting ----

def paint_pictures(run, todo, paint_image, vector_of):
    """Paints one photograph after the other.

    Args:
      run: PictureRun.
      todo: list of styles.Job.
      paint_image: function of a photograph, float32 [height, width, 3] in [0, 255], and a style's vector; see `paint`.
      vector_of: function of a Style and a photograph to the style's vector.

    Raises:
      cli.Interrupted: after Ctrl-C; the pictures so far are saved.
    """
    for job in run.remaining(todo):
        with run.keeping(job.name, alpha=images.load_alpha(job.content), content=job.content):
            photograph = images.resize_image(images.load_image(job.content), *job.size)
            painted = paint_image(photograph, vector_of(job.style, photograph=photograph))
            run.record(1, painted, {})
            run.save(painted)
        run.check_stop()


def paint_film(run, source, paint_image, style):
    """Paints the frames of a film that are not saved yet.

    A fraction of the frame before as it was painted, source.blend, is carried along with optical flow; it is dropped
    where the film does not match the frame before.

    Args:
      run: frames.FilmRun.
      source: frames.VideoSource.
      paint_image: see paint_pictures.
      style: float32 [length].

    Raises:
      cli.Interrupted: after Ctrl-C; the frames so far are saved.
    """
    first = run.progress.done
    filmed = source.read(max(first - 1, 0))
    old = next(filmed) if first else None
    for number in range(first, source.num_frames):
        began, new = time.monotonic(), next(filmed)
        painted = paint_image(new, style)
        if number and source.blend:
            last = images.load_image(film.frame_path(run.folder, number - 1))
            everywhere = np.full([*last.shape[:2], 1], 255, np.float32)
            carried = motion.warp_change(np.concatenate([last, everywhere], axis=-1), old, new)
            painted = painted + np.float32(source.blend) * (carried[..., :3] - carried[..., 3:] / 255 * painted)
        old = new
        run.save_frame(number, painted, time.monotonic() - began)


# ---- Command line ----

def parse_args(argv):
    """Parses and checks the command line; see --help."""
    parser = cli.make_parser(__doc__, models=True)
    styles.add_options(parser)
    add = parser.add_argument_group('learning').add_argument
    add('--learn', type=Path, metavar='FILE', help='a painting whose style is to be learned')
    add('--photos', nargs='+', type=Path, metavar='FILE',
        help='photographs to learn with: files or folders (default: six of docs/samples)')
    add('--steps', type=cli.whole_number(1), default=100, metavar='N', help='of Adam')
    add('--learning-rate', type=cli.real_number(1e-6), default=0.04, metavar='R', help='at first; it falls to 0')
    add('--batch-size', type=cli.whole_number(1, 64), default=2, metavar='N', help='crops per step')
    add('--crop-size', type=cli.whole_number(64, 512), default=160, metavar='PIXELS', help='their side')
    add('--content-weight', type=cli.real_number(0), default=1.0, metavar='W', help='higher: more of the photograph')
    add('--style-weight', type=cli.real_number(0), default=3.0, metavar='W', help='higher: more of the painting')
    add('--tv-weight', type=cli.real_number(0), default=1.0, metavar='W', help='total variation; higher: smoother')
    add('--weights', type=Path, metavar='FILE', help="VGG-16's: .mat (MatConvNet), .h5, .keras, .onnx or .npz")
    args = cli.parse_args(parser, argv, RECIPE, free=('export', 'output'), shared=True)
    paints = [name for name in ('content', 'style', 'style_number', 'smooth') if getattr(args, name) is not None]
    if args.learn and paints:
        raise InputError(f'--learn and --{paints[0].replace("_", "-")}: learn the painting first, then paint with it')
    if args.photos and not args.learn:
        raise InputError('--photos needs --learn')
    if args.content_weight == args.style_weight == 0:
        raise InputError('--content-weight 0 --style-weight 0: nothing to learn; one of them must be above 0')
    return args


def open_run(args, network, inputs, skipped=(), **facts):
    """Makes the run's folder, or checks that what is to be resumed has not changed since; returns its Path."""
    device = parallel.describe_device(args.device, args.threads)
    run_dir = args.run_dir or runs.create(args.output_dir, RECIPE, settings=args.settings, device=device,
                                          source=network.source)
    runs.check_unchanged(run_dir, network=network.kind, weights=network.sha256,
                         inputs={str(path): files.digest(path) for path in inputs}, **facts)
    if not args.quiet:
        print(f'{device}\nnetwork: {network.kind}, {network.source}\nthis run: {run_dir}')
    for line in skipped:
        print(f'skipped: {line}', file=sys.stderr)
    return run_dir


def export(run_dir, network, style):
    """Writes a SavedModel that paints in one style: images in, painted images out; both float32 in [0, 255]."""
    with tf.Graph().as_default() as tf_graph, tf.Session(graph=tf_graph) as sess:
        graph = build_graph(network, style)
        return checkpoints.save_model(run_dir, sess, {'images': graph.images}, {'painted': graph.painted})


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    if args.learn:
        parallel.check_alone('--learn')
        return learn_painting(args, style_networks.obtain('multistyle', args.models_dir, args.quiet)[0], started)
    asked, kind = styles.find_styles(args.style_number, args.style, args.style_blend,
                                     parallel.from_first(args.output_dir) / RECIPE)
    todo, source, skipped = styles.find_photographs(args, asked, kind)
    parallel.check_jobs(1 if source else len(todo), 'a film' if source else 'one picture')
    network, predictor = style_networks.obtain(kind, args.models_dir, args.quiet)
    found = styles.read(asked, network)
    paintings = [part for part in found if isinstance(part, Path)]
    inputs = sorted({*paintings, *(job.content for job in todo)})
    files.check_no_input(args.output, [*inputs, *(args.content or ())])
    with tf.Graph().as_default() as tf_graph:
        graph, seen = build_graph(network), tf.placeholder(tf.float32, [1, None, None, 3], name='painting')
        description = predictor and style_networks.predict(seen, predictor)
        tf_graph.finalize()
    run_dir = open_run(args, network, inputs, skipped, frames=source and source.facts())
    summary.draw(run_dir / 'network.png', graph.images, graph.painted, 'As computed, 9×9 for four columns at once')

    def predict(painting):
        shown = images.fit(painting, round(style_networks.PREDICTOR_SIZE * args.style_scale))
        return style_networks.style_vector(network, sess.run(description, {seen: shown[np.newaxis]})[0])
    vector_of = partial(styles.vector, found=found, predict=predict, strength=args.strength,
                        match_colors=args.preserve_color == 'histogram')
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        paint_image = partial(paint, sess, graph, preserve_color=args.preserve_color)
        if args.export:
            photograph = source.first if source else images.load_image(todo[0].content)
            print(f'exported: {export(run_dir, network, vector_of(asked[0], photograph=photograph))}')
        if source:
            with frames.FilmRun(run_dir, source, args.quiet, columns=('frame', 'seconds')) as run:
                paint_film(run, source, paint_image, vector_of(asked[0], photograph=source.first))
            output = args.output or run_dir / f'{source.path.stem}_{asked[0].name}.mp4'
            return run.conclude(output, skipped, started, 'painted')
        with PictureRun(run_dir, [1] * len(todo), columns=(), unit='picture',
                        output=args.output if len(todo) == 1 else None, quiet=args.quiet, started=started) as run:
            paint_pictures(run, todo, paint_image, vector_of)
            styles.draw_sheet(run_dir, todo, args.output)
    detail = run.only_result and f'peak memory {memory.peak() / 1e9:.1f} GB'
    return run.conclude('painted', skipped, detail, **dict(run.only_result or {}, peak_memory=memory.peak()))


if __name__ == '__main__':
    sys.exit(main())
