"""DeepDream: a picture is changed until a layer of a trained network sees more of what it sees in it.

The idea. A network that tells a thousand kinds of things apart responds to edges in its lowest layers, to textures in
the next, then to eyes, fur and petals, and to whole things in its highest. Take a layer, measure how strongly it
responds to a picture (the *objective*), and move every pixel along the gradient of that response: gradient ascent. What
the layer was a little reminded of becomes visible. The network's weights stay as they are.

- *An ascent step* adds step size * gradient / mean |gradient|.
- *Octaves*: dreaming starts on a small copy, where a pattern spans much of the picture, and continues at larger and
  larger sizes. The detail that shrinking lost is added back at every size.
- *Tiles*: the gradient is computed in tiles that cover every pixel, so that memory does not grow with the picture. The
  picture is shifted at random, around its edges, in every step, so that no seam stays in one place and the network's
  own grid of positions does not show.
- *From noise* there is nothing to be reminded of: what appears is what the layer or channel itself responds to.

There is more: a guide picture whose features the dream is drawn to; a Laplacian pyramid, which gives every band of
frequencies in the gradient the same strength; several layers, channels, neurons and classes at once, each with its
weight; films of a picture or of a video. What each channel of a network responds to: feature_visualization.py.

Usage:
    python recipes/deepdream.py                                         a raccoon's dream
    python recipes/deepdream.py --content sky.jpg                       your own picture; several, or a folder
    python recipes/deepdream.py --content sky.jpg --objective mixed3b --objective mixed4c:12*0.5
    python recipes/deepdream.py --content sky.jpg --guide flowers.jpg
    python recipes/deepdream.py --content noise --objective mixed4d_3x3_bottleneck_pre_relu:139
    python recipes/deepdream.py --content sky.jpg --zoom 1.05 --rotate 1 --frames 100 --output zoom.gif
    python recipes/deepdream.py --content holiday.mp4 --size 480 --output dream.mp4
    python recipes/deepdream.py --list-layers

What to expect: a picture of 1024 x 575 pixels dreams in 19 seconds on two cores, its objective about twice as high.

Source: Mordvintsev, Olah, Tyka 2015, Inceptionism, and the DeepDream notebook of TensorFlow's examples. See also
F. Chollet, How convolutional neural networks see the world (the Keras blog).
"""
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import cli, files, images, parallel, plotting, runs, session
from common.errors import ComputationError, InputError
from common.session import tf
from networks import classifiers, summary
from synthesis import color, content, frames, laplacian, objectives, octaves, tiles
from synthesis.picture_run import PictureRun

RECIPE = 'deepdream'
# What suits noise: small to large in more octaves, all frequencies alike.
FROM_NOISE = {'size': 448, 'octaves': 5, 'steps': '20', 'step_size': '1', 'laplacian_levels': 4}
# What --book sets: TensorFlow 1.x Deep Learning Cookbook (Gulli and Kapoor, Packt, 2017), chapter 4. Its objective is
# the mean of a layer, not of its squares; its noise is of 224 pixels.
BOOK = {'objective': ['mixed4c:mean'], 'octaves': 4, 'octave_scale': 1.4, 'steps': '10', 'step_size': '1.5',
        'tile_size': 512, 'laplacian_levels': 0}
BOOK_NOISE = {'size': 224}


# ---- The network, the objective and its gradient ----

def build_graph(network, terms, guided=False):
    """Builds the network, the objective and its gradient for one tile, in the default graph.

    Args:
      network: classifiers.Classifier.
      terms: sequence of objectives.Objective, as parsed.
      guided: bool, whole layers dream towards a guide.

    Returns:
      objectives.ObjectiveGraph.

    Raises:
      InputError: the network has no such layer, channel or class, or no gradient for it.
    """
    tile = tf.placeholder(tf.float32, [1, None, None, 3], name='tile')
    end_points = network.build(tile)
    terms = [objectives.resolve(term, end_points, network.labels) for term in terms]
    positions = tf.placeholder(tf.int32, [len(terms), 2], name='positions')
    guides = {term.layer: tf.placeholder(tf.float32, [None, end_points[term.layer].shape.as_list()[-1]])
              for term in terms if guided}
    with tf.name_scope('objective'):
        objective = objectives.total(terms, end_points, tf.shape(tile)[1:3], positions, guides)
    return objectives.ObjectiveGraph(images=tile, positions=positions, guides=guides, objective=objective, terms=terms,
                                     gradient=objectives.differentiate(objective, tile), end_points=end_points)


def tiled_gradient(image, shift, sess, graph, feed=(), tile_size=512, grid=32):
    """Computes the objective and its gradient for a whole image, tile by tile; every pixel gets one.

    Args:
      image: float32 [height, width, 3], RGB in [0, 255].
      shift: (down, right) in pixels, by which the image is moved, around its edges, under the tiles.
      sess: tf.Session.
      graph: objectives.ObjectiveGraph.
      feed: dict, what to feed besides the tile.
      tile_size, grid: pixels; see tiles.make_tiles.

    Returns:
      (float, the objective's mean over the pixels; float32 of the image's shape, the gradient of its sum).
    """
    height, width = image.shape[:2]
    shifted, gradient, value = np.roll(image, shift, axis=(0, 1)), np.empty_like(image), 0.0
    for tile in tiles.make_tiles(height, width, tile_size, grid):
        cli.check_stop()
        positions = [[int(fraction * (size - 1) + 0.5 + by) % size - inside.start for fraction, size, by, inside
                      in zip(term.position or (0, 0), (height, width), shift, tile.interior)]
                     for term in graph.terms]
        tile_value, tile_gradient = sess.run(
            [graph.objective, graph.gradient],
            {graph.images: shifted[tile.interior][np.newaxis], graph.positions: positions, **dict(feed)})
        value += float(tile_value)
        gradient[tile.interior] = tile_gradient[0]
    return value / (height * width), np.roll(gradient, (-shift[0], -shift[1]), axis=(0, 1))


# ---- Gradient ascent ----

class State(NamedTuple):
    """How far a dream is."""
    octave: int
    step: int           # steps done in this octave
    image: Any          # float32 [height, width, 3] at the octave's size
    values: Any         # float64 [num_octaves, 2]: the objective before an octave and in its last step


def dream(content_image, planned, gradient_of, seed=0, jitter=512, laplacian_levels=0, mask=None, saved=None,
          report=lambda state: None):
    """Maximizes an objective by gradient ascent, starting from an image, over octaves.

    Args:
      content_image: float32 [height, width, 3], RGB in [0, 255].
      planned: list of octaves.Octave, from small to the image's size.
      gradient_of: function of an image and a (down, right) shift; returns the objective and its gradient.
      seed: int, for the shifts; those of a step depend on seed, octave and step alone.
      jitter: int, pixels; shifts are below it both ways.
      laplacian_levels: int, bands of frequencies to normalize in each gradient.
      mask: float32 [any height, any width], 255 where a pixel takes whole steps, 0 where it stays; or None.
      saved: dict of arrays, the State to resume from, or None.
      report: function of a State, called after every step.

    Returns:
      (float32 of the content image's shape, in [0, 255]; float64 [num_octaves, 2], the objective before each octave and
      in its last step).

    Raises:
      ComputationError: the objective or its gradient is not finite; the last State reported is good.
    """
    mask = None if mask is None else images.resize_image(mask, *content_image.shape[:2]) / 255
    state = State(octave=0, step=0, image=None, values=np.full((len(planned), 2), np.nan))
    if saved:
        state = State(octave=int(saved['octave']), step=int(saved['step']), image=saved['image'],
                      values=saved['values'])
    for number, octave in enumerate(planned[state.octave:], state.octave):
        size = octave.height, octave.width
        if number > state.octave or state.image is None:
            state = state._replace(octave=number, step=0, image=enlarge(content_image, state.image, size))
        octave_mask = 1 if mask is None else images.resize_image(mask, *size)[..., np.newaxis]
        for step in range(state.step, octave.steps):
            shift = np.random.RandomState([seed, number, step]).randint(max(jitter, 1), size=2)
            value, gradient = gradient_of(state.image, shift)
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                raise ComputationError(f'the objective or its gradient is not a finite number in step {step + 1} of '
                                       f'octave {number + 1}; try a smaller --step-size')
            gradient = laplacian.normalize(gradient, laplacian_levels)
            image = ascent_step(state.image, gradient * octave_mask, octave.step_size, mean_absolute_gradient(gradient))
            values = state.values.copy()
            values[number, 1 if step else slice(None)] = value
            state = State(octave=number, step=step + 1, image=image, values=values)
            report(state)
    return state.image, state.values


def ascent_step(image, gradient, step_size, mean_absolute):
    """Takes one step along the gradient and stays within what an image can show.

    Args:
      image: float32 [height, width, 3] in [0, 255].
      gradient: float32 of the same shape.
      step_size: float, the mean change of a pixel.
      mean_absolute: float, the gradient's mean absolute value.
    """
    return np.clip(image + gradient * np.float32(step_size / (mean_absolute + 1e-7)), 0, 255)


def mean_absolute_gradient(gradient):
    """Returns the mean absolute value where there is any gradient: a neuron's ends with its receptive field."""
    return np.abs(gradient).sum(dtype=np.float64) / max(np.count_nonzero(gradient), 1)


def enlarge(content_image, image, size):
    """Brings a dream to the next size, and adds the detail of the content image that shrinking had lost.

    Args:
      content_image: float32 [height, width, 3] at its full size.
      image: float32 [smaller height, smaller width, 3], the dream so far; None at the start.
      size: (height, width).
    """
    resized_content = images.resize_image(content_image, *size)
    if image is None:
        return resized_content
    lost_detail = resized_content - images.resize_image(images.resize_image(content_image, *image.shape[:2]), *size)
    return np.clip(images.resize_image(image, *size) + lost_detail, 0, 255)


# ---- Images and films ----

def dream_images(run, jobs, load_image, ascend, finished):
    """Dreams on one image after the other.

    Args:
      run: PictureRun.
      jobs: list of content.Job.
      load_image: function of a Path; returns the content image.
      ascend, finished: `dream` and color.finish with their options.
    """
    for job in run.remaining(jobs):
        with run.keeping(job.name, images.load_alpha(job.content), content=job.content) as checkpoint:
            content_image = load_image(job.content)
            run.finish = lambda image: finished(enlarge(content_image, image, content_image.shape[:2]), content_image,
                                                contrast=job.contrast)

            def report(state):
                run.record(octaves.total_steps(job.octaves[:state.octave]) + state.step, state.image, state._asdict(),
                           octave=state.octave + 1, objective=state.values[state.octave, 1])
            image, values = ascend(content_image, job.octaves, saved=checkpoint, report=report)
            result = run.finish(image)
            run.save(result, octaves=[dict(octave._asdict(), objective_before=before, objective_last=last)
                                      for octave, (before, last) in zip(job.octaves, values)])
            plotting.plot_sheet(run.run_dir / f'{job.name}_sheet.png', [content_image, result], ['before', 'after'])
            octaves.plot_objective(run.run_dir / f'{job.name}_objective.png', run.rows())
            objectives.warn_if_inactive(values)


def conclude(run, skipped):
    """Prints how the objective went; returns the exit code."""
    if not run.only_result:
        return run.conclude('dreamed', skipped)
    before, last = (run.only_result['octaves'][-1][name] for name in ('objective_before', 'objective_last'))
    return run.conclude('dreamed', skipped, f'the objective went from {before:.4g} to {last:.4g} in the last octave',
                        objective_before=before, objective_last=last)


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, models=True)
    group = parser.add_argument_group('input and output')
    group.add_argument('--content', nargs='+', type=Path, metavar='FILE',
                       help=f"images, folders, a video, or '{content.NOISE}' (default: a raccoon)")
    group.add_argument('--size', type=cli.whole_number(1), metavar='PIXELS',
                       help=f"longer side (default: the image's own; {FROM_NOISE['size']} for noise)")
    group.add_argument('--mask', type=Path, metavar='FILE', help='grayscale mask: white is changed, black is kept')
    group.add_argument('--output', type=Path, metavar='FILE', help="where to save the result besides the run's folder")
    group.add_argument('--save-every', type=cli.whole_number(1), metavar='STEPS', help='also save intermediate images')
    group = parser.add_argument_group('objective')
    group.add_argument('--objective', action='append', metavar='OBJECTIVE', help=objectives.FORMS +
                       '; repeat it to add several (default: mixed4c; for noise a channel)')
    group.add_argument('--guide', type=Path, metavar='FILE', help="maximize the match with this image's features")
    group.add_argument('--book', action='store_true', help="the settings of the cookbook's chapter")
    classifiers.add_options(parser)
    group = parser.add_argument_group('optimization')
    octaves.add_options(group)
    group.add_argument('--tile-size', type=cli.whole_number(64), default=512, metavar='PIXELS',
                       help='longer side of the tiles that gradients are computed in')
    group.add_argument('--jitter', type=cli.whole_number(0), default=512, metavar='PIXELS', help='maximum random shift')
    group.add_argument('--laplacian-levels', type=cli.whole_number(0, 12), default=0, metavar='N',
                       help='bands of frequencies to normalize in the gradient; 0: none')
    group.add_argument('--blend', type=cli.real_number(0, 1), default=1.0, metavar='X',
                       help='weight of the result; the rest is the content')
    group.add_argument('--preserve-color', action='store_true', help="keep the content's colors")
    frames.add_options(parser)
    group = parser.add_argument_group('moved to feature_visualization.py')
    group.add_argument('--channels', nargs='+', metavar='SPEC', help='what channels respond to')
    group.add_argument('--all-layers', action='store_true', help='what the channels of every layer respond to')
    args = cli.parse_args(parser, argv, RECIPE, free=('list_layers', 'output'), changeable=('save_every',),
                          preset=preset, shared=True)
    check_args(args)
    return args


def preset(asked):
    """Returns the options that are others by default, for the book's settings and where there is no image."""
    from_noise = Path(content.NOISE) in (asked.content or ())
    return {**(FROM_NOISE if from_noise else {}), **(BOOK if asked.book else {}),
            **(BOOK_NOISE if from_noise and asked.book else {})}


def check_args(args):
    """Finds what is wrong with the options alone, before anything slow."""
    if args.channels or args.all_layers:
        option = f'--channels {" ".join(args.channels)}' if args.channels else '--all-layers'
        raise InputError(f'{option}: sheets are made, and better, by: python recipes/feature_visualization.py {option}')
    octaves.check_options(args)
    for term in map(objectives.parse, args.objective or ()):
        if args.guide and term.channel is not None:
            raise InputError(f'--guide needs whole layers: --objective {term.text} names a channel')
    frames.check_options(args)
    if args.output and not frames.is_wanted(args):
        images.check_output(args.output)


def open_inputs(args, load_image):
    """Finds out what is to dream, before the network is loaded.

    Returns:
      (list of content.Job; a film's frame source, or None; list of str: why other images are skipped).
    """
    plan = partial(octaves.plan, num_octaves=args.octaves, octave_scale=args.octave_scale, steps=args.steps,
                   step_sizes=args.step_size, smallest=classifiers.smallest_input(args.network))
    if frames.is_wanted(args):
        source = frames.open_source(args, load_image)
        jobs, _ = content.plan_jobs([source.path], lambda path: source.first, plan, args.book)
        return jobs, source, source.problems
    jobs, skipped = content.plan_jobs(content.find(args.content), load_image, plan, args.book,
                                      single=args.output and f'--output {args.output}')
    return jobs, None, skipped


def open_run(args, network, objective, skipped, is_film=False, **facts):
    """Makes the run's folder, or checks that what is to be resumed has not changed since; returns its Path."""
    device = parallel.describe_device(args.device, args.threads)
    run_dir = args.run_dir or runs.create(
        args.output_dir, RECIPE, settings=args.settings, seed=args.seed, device=device, objective=objective,
        source=network.source, film=is_film)
    runs.check_unchanged(run_dir, network=network.name, weights=network.sha256, **facts)
    if not args.quiet:
        objective = ' + '.join(runs.recorded(run_dir, 'objective'))
        print(f'{device}\nnetwork: {network.name}, {network.source}\nobjective: {objective}\nthis run: {run_dir}')
    for reason in skipped:
        print(f'{RECIPE}: skipped: {reason}', file=sys.stderr)
    return run_dir


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    load_network = partial(classifiers.load, args.network, args.models_dir, args.graph, args.input_name, args.mean,
                           args.labels, args.quiet, args.scale, args.feed or ())
    if args.list_layers:
        return classifiers.list_layers(load_network())
    load_image = partial(content.load, size=args.size, seed=args.seed, book=args.book)
    jobs, source, skipped = open_inputs(args, load_image)
    parallel.check_jobs(len(jobs), 'a film' if source else 'one picture')
    files.check_no_input(args.output, [job.content for job in jobs] + [args.mask, args.guide, args.graph, args.labels])
    mask = args.mask and images.to_gray(images.load_image(args.mask))
    guide = args.guide and images.fit(images.load_image(args.guide), objectives.GUIDE_SIZE)
    network = load_network()
    ascend = partial(dream, seed=args.seed, jitter=args.jitter, laplacian_levels=args.laplacian_levels, mask=mask)
    finished = partial(color.finish, preserve_color=args.preserve_color, blend=args.blend, contrast=jobs[0].contrast)
    default = network.noise_objective if jobs[0].contrast and not args.guide else network.objective
    terms = [objectives.parse(text) for text in args.objective or [default]]
    with tf.Graph().as_default() as tf_graph:
        graph = build_graph(network, terms, guided=guide is not None)
        tf_graph.finalize()
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        gradient_of = partial(tiled_gradient, sess=sess, graph=graph, tile_size=args.tile_size, grid=network.grid,
                              feed=objectives.guide_features(sess, graph, guide))
        ascend = partial(ascend, gradient_of=gradient_of)
        layers = [graph.end_points[term.layer] for term in graph.terms]
        jobs = [job._replace(octaves=octaves.drop_too_small(job.octaves, layers, gradient_of, job.content))
                for job in jobs]
        facts = source.facts() if source else {'inputs': [content.digest(load_image(job.content)) for job in jobs]}
        run_dir = open_run(args, network, [term.text for term in graph.terms], skipped, source is not None, **facts)
        summary.draw(run_dir / 'network.png', graph.images, layers)
        if source:
            with frames.FilmRun(run_dir, source, args.quiet) as run:
                run.make_frames(jobs[0].octaves, args.seed, ascend, finished)
            return run.conclude(args.output or run_dir / f'{jobs[0].name}.mp4', skipped, started)
        with PictureRun(run_dir, [octaves.total_steps(job.octaves) for job in jobs], ('octave', 'objective'),
                        shown={'objective': 'objective'}, save_every=args.save_every, output=args.output,
                        quiet=args.quiet, started=started, results=('octaves',)) as run:
            dream_images(run, jobs, load_image, ascend, finished)
    return conclude(run, skipped)


if __name__ == '__main__':
    sys.exit(main())
