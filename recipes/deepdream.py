"""DeepDream: a picture is changed until a layer of a trained network sees more of what it sees in it.

The idea. A network that tells a thousand kinds of things apart answers to edges in its lowest layers, to textures in
the next, then to eyes, fur and petals, and to whole things in its highest. Take a layer, measure how strongly it
answers to a picture, and move every pixel up the gradient of that answer: what the layer was a little reminded of
becomes visible. What is climbed is the *objective*; the network's weights stay as they are.

- *Octaves*: dreaming starts on a small copy, where a pattern spans much of the picture, and goes on at larger and
  larger sizes. What shrinking lost of the picture is added back at every size.
- *Tiles*: the gradient is computed in tiles that cover every pixel, so that memory does not grow with the picture. The
  picture is shifted at random, around its edges, in every step, so that no seam stays in one place and the network's
  own grid of positions does not show.
- *A step* adds step size * gradient / mean |gradient|.
- *Films*: a camera that moves into the picture, and a dream of every frame, each starting from the last; or a video,
  each frame starting from what is filmed and a share of the last frame's dream, carried along by optical flow.
- *From noise* there is nothing to be reminded of: what appears is what the layer or channel itself likes to see.

There's more: a guide picture whose features the dream is drawn to; gradients with the same strength in every band of
frequencies (a Laplacian pyramid); several layers, channels, neurons and classes at once, each with its weight.
How convolutional neural networks see the world (F. Chollet, the Keras blog) shows what every layer of a network
responds to; Olah, Mordvintsev and Schubert, Feature Visualization (Distill, 2017), how to draw it well.

Usage:
    python recipes/deepdream.py                                         a raccoon's dream
    python recipes/deepdream.py --content sky.jpg                       your own picture; several, or a folder
    python recipes/deepdream.py --content sky.jpg --objective mixed3b --objective mixed4c:12*0.5
    python recipes/deepdream.py --content sky.jpg --guide flowers.jpg
    python recipes/deepdream.py --content noise --objective mixed4d_3x3_bottleneck_pre_relu:139
    python recipes/deepdream.py --content sky.jpg --zoom 1.05 --rotate 1 --frames 100 --output zoom.gif
    python recipes/deepdream.py --content holiday.mp4 --size 480 --output dream.mp4
    python recipes/deepdream.py --channels mixed4c:0-35                 a sheet of what each channel likes to see
    python recipes/deepdream.py --all-layers --content sky.jpg          a sheet of what each layer makes of a picture
    python recipes/deepdream.py --list-layers

Source: Mordvintsev, Olah, Tyka 2015, Inceptionism, and the DeepDream notebook of TensorFlow's examples.
"""
import collections
import hashlib
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

from common import cli, film, files, images, plotting, runs, session
from common.errors import ComputationError, InputError, UnavailableError
from common.session import tf
from networks import inception, vgg
from synthesis import color, contact_sheets, frames, laplacian, motion, objectives, tiles
from synthesis.picture_run import PictureRun

RECIPE = 'deepdream'
NETWORKS = ('inception', 'vgg19', 'vgg16')
NOISE, BUNDLED = 'noise', 'raccoon'
GUIDE_SIZE = 512                    # pixels of a guide's longer side, at most: larger things than a tile are never seen
# What else is good where there is no picture to start from: small to large in more octaves, all frequencies alike.
FROM_NOISE = {'size': 448, 'octaves': 5, 'steps': '20', 'step_size': '1', 'laplacian_levels': 4}
# What --book sets: the chapter's figures. Its objective is the mean of a layer, not of its squares; its noise is pale.
BOOK = {'objective': ['mixed4c:mean'], 'octaves': 4, 'octave_scale': 1.4, 'steps': '10', 'step_size': '1.5',
        'tile_size': 512, 'laplacian_levels': 0}
BOOK_NOISE_SIZE = 224               # pixels
BOOK_CONTRAST = 0.1                 # standard deviation of what is shown of its noise, of a range of 1
NOISE_CONTRAST = 0.17               # ours, after which few pixels are clipped


class Network(NamedTuple):
    """What the recipe needs to know of a network, whichever it is."""
    name: str
    build: Callable         # images -> end_points
    grid: int               # pixels per position of the deepest layer
    objective: str          # what suits it
    noise_objective: str    # what suits it where there is no picture
    labels: Any             # list of str, or None
    source: str
    sha256: str


class DreamGraph(NamedTuple):
    """The graph of one tile: placeholders in, the objective and its gradient out."""
    images: Any         # float32 [1, height, width, 3]
    positions: Any      # int32 [num_objectives, 2], pixels from the tile's top left
    guides: Any         # {layer: float32 [num_positions, channels]}; empty without a guide
    objective: Any      # float32 scalar, summed over pixels
    gradient: Any       # float32 [1, height, width, 3]
    terms: Any          # the Objectives that were added up
    end_points: Any     # {layer: tensor}
    channels: Any = None    # int32 [batch], of a sheet's pictures; then the objective is float32 [batch], too


class Octave(NamedTuple):
    """One size that the picture is worked on, and how."""
    height: int
    width: int
    steps: int
    step_size: float


class Job(NamedTuple):
    """One picture that is to dream."""
    number: int
    name: str           # of the result, without extension
    content: Path
    octaves: Any        # list of Octave
    from_noise: bool


class State(NamedTuple):
    """How far a dream is."""
    octave: int
    step: int           # steps done in this octave
    image: Any          # float32 [(batch, )height, width, 3] at the octave's size
    values: Any         # float64 [num_octaves, 2(, batch)]: the objective before an octave and in its last step


def load_network(args):
    """Loads the network asked for; Inception by default, VGG-16 with a warning where that cannot be had."""
    if args.network in ('vgg16', 'vgg19'):
        return load_vgg(args)
    try:
        return load_inception(args)
    except UnavailableError as error:
        if args.network:
            raise
        print(f'{RECIPE}: warning: no Inception, so this dreams on VGG-16, which looks different. {error}',
              file=sys.stderr)
        return load_vgg(args, fallback='vgg16')


def load_inception(args):
    """Reads the frozen graph and the list of labels beside it."""
    path, source, sha256 = inception.obtain_graph(args.models_dir, args.graph, args.quiet)
    labels_path = args.labels or inception.find_labels(path)
    labels = inception.load_labels(labels_path) if labels_path else None
    graph_def = inception.load_graph_def(path, args.input_name)
    build = partial(inception.inception, graph_def=graph_def, input_name=args.input_name, mean=args.mean)
    return Network('inception', build, inception.GRID, inception.DREAM_OBJECTIVE,
                   inception.NOISE_OBJECTIVE, labels, source, sha256)


def load_vgg(args, fallback=None):
    """Reads the weights of VGG-16 or VGG-19."""
    name, weights, source, sha256 = vgg.obtain_weights(args.models_dir, fallback or args.network, quiet=args.quiet)
    build = partial(vgg.vgg, weights=weights, network=name, pooling='max')
    return Network(name, build, vgg.GRID, vgg.DREAM_OBJECTIVE, vgg.NOISE_OBJECTIVE, None, source,
                   sha256)


def load_content(path, args):
    """Loads a picture, or makes noise, at the size asked for.

    Returns:
      float32 [height, width, 3], RGB in [0, 255].
    """
    if str(path) == NOISE:
        random = np.random.RandomState(args.seed)
        if args.book:
            return random.uniform(size=(args.size, args.size, 3)).astype(np.float32) + 100
        return random.uniform(100, 156, size=(args.size, args.size, 3)).astype(np.float32)
    image = raccoon() if str(path) == BUNDLED else load_picture(path)
    if args.size:
        image = images.resize_image(image, *images.fit_size(*image.shape[:2], longer_side=args.size, upscale=True))
    return image


def load_picture(path):
    """Loads a picture; of a file with another extension, says how it would be known for a video."""
    try:
        return images.load_image(path)
    except InputError as error:
        if path.suffix.lower() in images.IMAGE_EXTENSIONS or not path.is_file():
            raise
        raise InputError('{}; a video is known by its extension: {}'.format(error, ' '.join(sorted(film.VIDEO_EXTENSIONS))))


def raccoon():
    """Returns the picture that SciPy carries (768 x 1024; by J. Marshall, public domain)."""
    from scipy import misc
    return misc.face().astype(np.float32)


def plan_octaves(image, args):
    """Lays out the octaves of a picture.

    Returns:
      list of Octave, from small to large.

    Raises:
      InputError: the picture is too small for any.
    """
    height, width = image.shape[:2]
    smallest = (vgg if args.network in ('vgg16', 'vgg19') else inception).SMALLEST_INPUT
    sizes = laplacian.octave_sizes(height, width, args.octaves, args.octave_scale, smallest)
    if not sizes:
        raise InputError('%d x %d pixels are too few for any octave: the network needs %d each way; enlarge the '
                         'picture with --size' % (width, height, smallest))
    return [Octave(*size, steps=args.steps[number % len(args.steps)],
                   step_size=args.step_size[number % len(args.step_size)])
            for number, size in enumerate(sizes, args.octaves - len(sizes))]


def build_graph(network, terms, guided=False):
    """Builds the network, the objective and its gradient for one tile, in the default graph.

    Args:
      network: Network.
      terms: sequence of Objective, as parsed.
      guided: bool, layers dream towards a guide.

    Returns:
      DreamGraph.

    Raises:
      InputError: the network has no such layer, channel or class, or no gradient for it.
    """
    tile = tf.placeholder(tf.float32, [1, None, None, 3], name='tile')
    end_points = network.build(tile)
    terms = [objectives.resolve(term, end_points, network.labels) for term in terms]
    positions = tf.placeholder(tf.int32, [len(terms), 2], name='positions')
    guides = {term.layer: tf.placeholder(tf.float32, [None, end_points[term.layer].shape[-1].value])
              for term in terms if guided}
    with tf.name_scope('objective'):
        objective = objectives.total(terms, end_points, tf.shape(tile)[1:3], positions, guides)
    return DreamGraph(tile, positions, guides, objective, differentiate(objective, tile), terms, end_points)


def differentiate(objective, tile):
    """Adds the gradient of an objective, or of the sum of a batch's, with respect to the tile to the graph."""
    try:
        return tf.gradients(objective, tile)[0]
    except LookupError as error:
        raise InputError(f'TensorFlow has no gradient for an operation below the objective ({error})')


def build_sheet_graph(network, choose, height, width):
    """Builds the network for a batch of pictures, and a gradient for each batch of panels, in the default graph.

    Args:
      network: Network.
      choose: function of end_points to the Panels that are to dream.
      height, width: int, pixels of a picture.

    Returns:
      list of (Panels, DreamGraph), one for each batch; those of one branch's channels share a graph.
    """
    tile = tf.placeholder(tf.float32, [None, None, None, 3], name='tile')
    end_points, tile_shape = network.build(tile), tf.shape(tile)[1:3]
    positions, channels = tf.placeholder(tf.int32, [None, 2]), tf.placeholder(tf.int32, [None], name='channels')
    graphs, batches = {}, []
    for panels in contact_sheets.in_batches(choose(end_points), end_points, height, width):
        parts = frozenset(contact_sheets.part(panel, end_points) for panel in panels)
        if parts not in graphs:
            with tf.name_scope('objective'):
                objective = contact_sheets.objective(panels, end_points, channels, tile_shape)
            layers = [objectives.parse(layer) for layer in sorted({panel.layer for panel in panels})]
            graphs[parts] = DreamGraph(tile, positions, {}, objective, differentiate(objective, tile), layers,
                                       end_points, channels)
        batches.append((panels, graphs[parts]))
    return batches


def guide_features(sess, graph, guide):
    """Computes what a guide picture shows to the objective's layers.

    Args:
      guide: float32 [height, width, 3], RGB in [0, 255]; None for no guide.

    Returns:
      {placeholder: float32 [num_positions, channels]}, to be fed with every tile.
    """
    if guide is None:
        return {}
    features = sess.run({layer: graph.end_points[layer] for layer in graph.guides}, {graph.images: guide[np.newaxis]})
    return {graph.guides[layer]: values.reshape(-1, values.shape[-1]) for layer, values in features.items()}


def tiled_gradient(image, shift, sess, graph, feed, tile_size, grid):
    """Computes the objective and its gradient for a whole picture, tile by tile; every pixel gets one.

    Args:
      image: float32 [height, width, 3], RGB in [0, 255]; or [batch, height, width, 3], for the graph of a sheet.
      shift: (down, right) in pixels, by which the picture is moved, around its edges, under the tiles.
      sess: tf.Session.
      graph: DreamGraph.
      feed: what to feed besides the tile.
      tile_size, grid: pixels; see tiles.make_tiles.

    Returns:
      (float, the objective's mean over the pixels, or float64 [batch]; float32 of the image's shape, the gradient of
      its sum).
    """
    height, width = image.shape[-3:-1]
    shifted, gradient, value = np.roll(image, shift, axis=(-3, -2)), np.empty_like(image), 0.0
    for tile in tiles.make_tiles(height, width, tile_size, grid):
        positions = [[int(fraction * (size - 1) + 0.5 + by) % size - start for fraction, size, by, start
                      in zip(term.position or (0, 0), (height, width), shift, (tile.top, tile.left))]
                     for term in graph.terms]
        interior = (..., *tile.interior, slice(None))
        shown = shifted[interior]
        tile_value, tile_gradient = sess.run(
            [graph.objective, graph.gradient],
            {graph.images: shown.reshape(-1, *shown.shape[-3:]), graph.positions: positions, **feed})
        value = value + np.asarray(tile_value, np.float64)
        gradient[interior] = tile_gradient.reshape(shown.shape)
    return value / (height * width), np.roll(gradient, (-shift[0], -shift[1]), axis=(-3, -2))


def dream(content, octaves, gradient_of, seed=0, jitter=512, laplacian_levels=0, mask=None, state=None, report=None):
    """Climbs an objective, starting from a picture, over octaves.

    Args:
      content: float32 [height, width, 3], RGB in [0, 255]; or [batch, height, width, 3], each with an objective of its
        own, and a step of its own size up its own gradient.
      octaves: list of Octave, from small to the content's size.
      gradient_of: function of an image and a (down, right) shift; returns the objective and its gradient.
      seed: int, for the shifts; those of a step depend on seed, octave and step alone.
      jitter: int, pixels; shifts are below it both ways.
      laplacian_levels: int, bands of frequencies to make alike in each gradient.
      mask: float32 [height, width] in [0, 1], how much of a step a pixel takes, or None.
      state: State to go on from, or None.
      report: function of a State, called after every step.

    Returns:
      float32 of the content's shape, in [0, 255].

    Raises:
      ComputationError: the objective or its gradient is not finite; the last State reported is good.
    """
    state = state or State(0, 0, None, np.full((len(octaves), 2) + content.shape[:-3], np.nan))
    for number, octave in enumerate(octaves[state.octave:], state.octave):
        size = octave.height, octave.width
        if number > state.octave or state.image is None:
            state = State(number, 0, enlarge(content, state.image, size), state.values)
        octave_mask = 1 if mask is None else images.resize_image(mask, *size)[..., np.newaxis]
        for step in range(state.step, octave.steps):
            shift = np.random.RandomState([seed, number, step]).randint(max(jitter, 1), size=2)
            value, gradient = gradient_of(state.image, shift)
            if not (np.isfinite(value).all() and np.isfinite(gradient).all()):
                raise ComputationError('the objective or its gradient is not a finite number in step %d of octave %d; '
                                       'try a smaller --step-size' % (step + 1, number + 1))
            gradient = laplacian.normalize(gradient, laplacian_levels)
            image = climb(state.image, gradient * octave_mask, octave.step_size, mean_strength(gradient))
            values = state.values.copy()
            values[number, 1 if step else slice(None)] = value
            state = State(number, step + 1, image, values)
            if report:
                report(state)
    return state.image


def enlarge(content, image, size):
    """Brings a dream to the next size, and adds what shrinking had lost of the content.

    Args:
      content: float32 [height, width, 3] at its full size, or a batch.
      image: float32 [smaller height, smaller width, 3], the dream so far, or a batch; None at the start.
      size: (height, width).
    """
    if content.ndim == 4:
        return np.stack([enlarge(one, image if image is None else image[number], size)
                         for number, one in enumerate(content)])
    resized_content = images.resize_image(content, *size)
    if image is None:
        return resized_content
    lost_detail = resized_content - images.resize_image(images.resize_image(content, *image.shape[:2]), *size)
    return np.clip(images.resize_image(image, *size) + lost_detail, 0, 255)


def mean_strength(gradient):
    """Returns the mean absolute value where there is any gradient: a neuron's ends with its receptive field.

    Args:
      gradient: float32 [height, width, 3], or [batch, height, width, 3], for which it returns float64 [batch].
    """
    picture = (-3, -2, -1)
    return np.abs(gradient).sum(picture, np.float64) / np.maximum(np.count_nonzero(gradient, picture), 1)


def climb(image, gradient, step_size, strength):
    """Takes one step up the gradient and stays within what a picture can show.

    Args:
      image: float32 [height, width, 3] in [0, 255], or a batch.
      gradient: float32 of the same shape.
      step_size: float, the mean change of a pixel.
      strength: float, the gradient's mean absolute value, or float [batch].
    """
    factor = np.float32(step_size / (strength + 1e-7))
    return np.clip(image + gradient * factor[..., np.newaxis, np.newaxis, np.newaxis], 0, 255)


def finish(image, content, args, from_noise):
    """Makes the picture to be saved: contrast, colors and blend as asked for.

    Args:
      image: float32 [height, width, 3], the dream, at the content's size.
      content: float32 of the same shape.
    """
    if from_noise:
        contrast = 255 * (BOOK_CONTRAST if args.book else NOISE_CONTRAST)
        image = np.clip((image - image.mean()) / max(image.std(), 1e-4) * contrast + 127.5, 0, 255)
    if args.preserve_color:
        image = color.keep_luminance(content, image)
    return args.blend * image + (1 - args.blend) * content


def num_steps(octaves):
    """Returns the steps of these octaves."""
    return sum(octave.steps for octave in octaves)


def find_jobs(args):
    """Looks at every picture that is to dream, before the network is loaded.

    Returns:
      (list of Job, list of str: why the others are left out).

    Raises:
      InputError: none can be done.
    """
    paths = []
    for path in args.content or [Path(BUNDLED)]:
        known = str(path) == NOISE or not args.content
        paths += [path] if known else images.find_images([path], '--content')
    jobs, left_out, stems = [], [], collections.Counter()
    for path in paths:
        try:
            octaves = plan_octaves(load_content(path, args), args)
        except InputError as error:
            left_out.append(str(error) if str(path) in str(error) else f'{path}: {error}')
            continue
        stem = f'{path.stem}_dream'
        stems[stem] += 1
        name = stem if stems[stem] == 1 else '%s-%d' % (stem, stems[stem])
        jobs.append(Job(len(jobs), name, path, octaves, str(path) == NOISE))
    if not jobs:
        raise InputError(left_out[0])
    if args.all_layers and len(paths) > 1:
        raise InputError('--all-layers: one picture for all layers; --content names %d' % len(paths))
    if args.output and len(jobs) > 1:
        raise InputError("--output %s: one file for %d pictures; leave it out, they go into the run's folder"
                         % (args.output, len(jobs)))
    return jobs, left_out


def find_scene(args):
    """Opens what a film is to be made from; returns a Camera or Footage."""
    scene = frames.open_scene(args, lambda path: load_content(path or BUNDLED, args), NOISE)
    if scene.blend and not motion.flow_method():
        print(f'{RECIPE}: warning: no OpenCV, so a dream stays where it is when what it is on moves: pip install '
              'opencv-python-headless==4.8.1.78', file=sys.stderr)
    if args.frames and args.frames > scene.num_frames and not scene.mistakes:
        print('%s: warning: --frames %d, and the film has only %d' % (RECIPE, args.frames, scene.num_frames),
              file=sys.stderr)
    return scene


def film_job(scene, args):
    """Returns the Job of a film's frames.

    Raises:
      InputError: they are too small.
    """
    path = args.content[0] if args.content else Path(BUNDLED)
    try:
        octaves = plan_octaves(scene.first, args)
    except InputError as error:
        raise InputError(f'{path}: {error}')
    return Job(0, f'{path.stem}_dream', path, octaves, str(path) == NOISE)


def load_guide(path):
    """Loads the guide, shrunk where it is larger than what the network sees at a time."""
    guide = images.load_image(path)
    return images.resize_image(guide, *images.fit_size(*guide.shape[:2], longer_side=GUIDE_SIZE))


def octaves_that_fit(job, graph, gradient_of):
    """Leaves out octaves too small for an objective behind a pooling of fixed size, which asks for a whole input.

    Raises:
      InputError: all are.
    """
    if all(graph.end_points[term.layer].shape.rank == 4 for term in graph.terms):
        return job.octaves
    for number, octave in enumerate(job.octaves):
        try:
            gradient_of(np.zeros((octave.height, octave.width, 3), np.float32), (0, 0))
            return job.octaves[number:]
        except tf.errors.InvalidArgumentError as error:
            reason = str(error).splitlines()[0]
    raise InputError('--content %s: %d x %d pixels are too few for this objective (%s); enlarge the picture with --size'
                     % (job.content, octave.width, octave.height, reason))


def run_job(job, args, gradient_of, mask, run, checkpoint):
    """Dreams on one picture and saves it; `checkpoint` is what it takes to go on, or None."""
    content = load_content(job.content, args)
    if mask is not None:
        mask = images.resize_image(mask, *content.shape[:2]) / 255
    run.finish = lambda image: finish(enlarge(content, image, content.shape[:2]), content, args, job.from_noise)
    state = checkpoint and State(*(checkpoint[name] for name in State._fields))
    state = state and state._replace(octave=int(state.octave), step=int(state.step))
    last = [state]

    def record(state):
        last[0] = state
        run.record(num_steps(job.octaves[:state.octave]) + state.step, state.image, state._asdict(),
                   octave=state.octave + 1, objective=state.values[state.octave, 1])

    image = dream(content, job.octaves, gradient_of, args.seed, args.jitter, args.laplacian_levels, mask, state, record)
    result, values = finish(image, content, args, job.from_noise), last[0].values
    run.save(result, octaves=[dict(octave._asdict(), objective_before=before, objective_last=last)
                              for octave, (before, last) in zip(job.octaves, values)])
    plotting.plot_sheet(args.run_dir / (job.name + '_sheet.png'), [content, result], ['before', 'after'])
    plot_objective(args.run_dir / (job.name + '_objective.png'), run.rows())
    if not values.any():
        warn_of_silence()


def warn_of_silence():
    """Tells why a picture, or a whole film, is what it was."""
    print(f'{RECIPE}: warning: the objective was 0 from beginning to end, so nothing changed; a layer after its ReLU can be '
          'silent: try the one before (..._pre_relu)', file=sys.stderr)


def plot_objective(path, rows):
    """Draws how the objective rose, an octave a curve."""
    curves = {}
    for row in rows:
        steps, values = curves.setdefault('%(width)d x %(height)d' % row, ([], []))
        steps.append(row['step'])
        values.append(row['objective'])
    plotting.plot_curves(path, curves, 'The objective in each octave', 'step', 'objective')


def run_film(scene, job, args, gradient_of, mask):
    """Dreams on one frame after the other, those that are kept already left out, and makes a film of them.

    Returns:
      (dict, what run.json records of it; float, seconds that it had taken before the run was resumed).
    """
    height, width = scene.first.shape[:2]
    if mask is not None:
        mask = images.resize_image(mask, height, width) / 255

    def dream_on(number, start, content):
        blend = scene.blend if number else 0
        octaves = [fewer_steps(octave, 1 - blend) for octave in job.octaves]
        image = dream(start, octaves, gradient_of, frames.frame_seed(args.seed, number), args.jitter,
                      args.laplacian_levels, mask, report=journal.report)
        return finish(image, content, args, job.from_noise)

    columns = 'objective_before', 'objective'
    with frames.Journal(args.run_dir, scene.num_frames, columns, lambda state: dict(zip(columns, state.values[-1])),
                          args.quiet) as journal:
        try:
            frames.make_frames(scene, dream_on, journal.folder, journal.frame_done)
        except ComputationError as error:
            raise ComputationError(f'{error}; the frames so far are in {journal.folder}')
    path = args.output or args.run_dir / (job.name + film.MP4)
    film.write_film(path, journal.folder, scene.num_frames, scene.fps, scene.sound)
    if not any(journal.log.column('objective')[1]):
        warn_of_silence()
    record = {'content': job.content, 'path': path, 'height': height, 'width': width, 'frames': scene.num_frames,
              'fps': float(scene.fps), 'seconds_per_frame': np.mean(journal.log.column('seconds')[1])}
    runs.write_record(args.run_dir, pictures=[record])
    return record, journal.seconds_resumed


def fewer_steps(octave, share):
    """Returns an Octave that goes a share of the way: in so many of the steps, and at least in one."""
    steps = max(1, round(octave.steps * share))
    return octave._replace(steps=steps, step_size=octave.step_size * (octave.steps * share / steps))


def dream_sheet(job, args, network, mask, started):
    """Dreams on a sheet's panels, batch by batch, and draws the sheet; returns the exit code."""
    content = load_content(job.content, args)
    mask = mask if mask is None else images.resize_image(mask, *content.shape[:2]) / 255
    choose = partial(contact_sheets.choose_channels, args.channels) if args.channels else contact_sheets.choose_layers
    with tf.Graph().as_default() as tf_graph:
        batches = build_sheet_graph(network, choose, *content.shape[:2])
        tf_graph.finalize()
    device = session.describe_device(args.device, args.threads)
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        gradients = [partial(tiled_gradient, sess=sess, graph=graph, tile_size=args.tile_size, grid=network.grid,
                             feed={graph.channels: [panel.channel or 0 for panel in panels]})
                     for panels, graph in batches]
        octaves = [octaves_that_fit(job, graph, lambda image, shift: gradient_of(_copies(image, panels), shift))
                   for (panels, graph), gradient_of in zip(batches, gradients)]
        open_run(args, network, args.channels or ['every layer'], [job], None, device)
        runs.check_unchanged(args.run_dir, batches=[len(panels) for panels, _ in batches])
        todo = [contact_sheets.Batch(panels, fitting) for (panels, _), fitting in zip(batches, octaves)]
        with contact_sheets.Journal(args.run_dir, todo, args.quiet) as journal:
            for batch, gradient_of in list(zip(todo, gradients))[journal.batch:]:
                state = journal.saved_state and State(**journal.saved_state)
                try:
                    dreams = dream(_copies(content, batch.panels), batch.octaves, gradient_of, args.seed, args.jitter,
                                   args.laplacian_levels, mask, state, journal.report)
                except ComputationError as error:
                    raise ComputationError(f'{error}; the pictures so far are in {journal.folder}')
                journal.batch_done([finish(image, content, args, job.from_noise) for image in dreams])
    return conclude_sheet(args, network, content, time.time() - started + journal.seconds_resumed)


def _copies(image, panels):
    return np.broadcast_to(image, (len(panels), *image.shape))


def conclude_sheet(args, network, content, seconds):
    """Draws the sheets of the panels, records the results and says them in words; returns the exit code."""
    title = ('What channels of %s like to see' if args.channels else 'What each layer of %s makes of a picture')
    paths = contact_sheets.draw_sheets(args.run_dir, title % network.name, None if args.channels else content)
    panels = runs.read_record(args.run_dir)['panels']
    silent = [str(contact_sheets.Panel(panel['layer'], panel['channel'])) for panel in panels if panel['silent']]
    if silent:
        print('{}: warning: silent from beginning to end (objective 0), so nothing changed: {}; try the layer before '
              'its ReLU, where there is one (..._pre_relu)'.format(RECIPE, ', '.join(silent)), file=sys.stderr)
    if args.output:
        copies = [args.output.with_name(path.stem.replace('sheet', args.output.stem) + args.output.suffix)
                  for path in paths]
        for path, copy in zip(paths, copies):
            images.save_image(copy, images.load_image(path))
        paths = copies
    print('%d %s in %.0f s: %s' % (len(panels), 'channels' if args.channels else 'layers', seconds,
                                   ', '.join(map(str, paths))))
    runs.write_record(args.run_dir, seconds=seconds, sheets=paths, versions=runs.versions(),
                      results={'pictures': len(panels), 'silent': silent, 'seconds': seconds})
    return 0


def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, models=True)
    what = parser.add_argument_group('what dreams')
    what.add_argument('--content', nargs='+', type=Path, metavar='FILE', help="pictures or folders, or 'noise'; by "
                      'default a raccoon')
    what.add_argument('--size', type=cli.whole_number(1),
                      help="pixels of the longer side; by default the picture's own")
    what.add_argument('--mask', type=Path, metavar='FILE', help='a picture: white dreams, black stays, gray is between')
    what.add_argument('--output', type=Path, metavar='FILE', help="where to save the dream; a picture stays in the "
                      "run's folder too")
    of_what = parser.add_argument_group('of what')
    of_what.add_argument('--objective', action='append', metavar='OBJECTIVE', help=f'{objectives.FORMS}; repeat it to add several; by '
                         'default what suits the network')
    of_what.add_argument('--guide', type=Path, metavar='FILE', help="dream towards this picture's features")
    of_what.add_argument('--list-layers', action='store_true', help='print the layers and their channels')
    network = parser.add_argument_group('network')
    network.add_argument('--network', choices=NETWORKS, help='by default inception, vgg16 where that cannot be had')
    network.add_argument('--graph', type=Path, metavar='FILE', help='another frozen classifier')
    network.add_argument('--input-name', default=inception.INPUT_NAME, help="the frozen graph's input")
    network.add_argument('--mean', type=float, default=inception.MEAN, help='subtracted from the pixels')
    network.add_argument('--labels', type=Path, metavar='FILE', help='names of the classes, one a line')
    how = parser.add_argument_group('how')
    how.add_argument('--octaves', type=cli.whole_number(1, 30), default=4, help='sizes to dream at, at most')
    how.add_argument('--octave-scale', type=cli.real_number(1.05, 10), default=1.4, help='from one size to the next')
    how.add_argument('--steps', type=_several(cli.whole_number(1)), default='10', metavar='N[,N...]',
                     help='in each octave, or in every one from the smallest to the largest')
    how.add_argument('--step-size', type=_several(cli.real_number(1e-6)), default='1.5', metavar='X[,X...]',
                     help='mean change of a pixel in a step, of 255; one, or one for each octave')
    how.add_argument('--tile-size', type=cli.whole_number(64), default=512, help='pixels of a tile')
    how.add_argument('--jitter', type=cli.whole_number(0), default=512, help='pixels of the random shift, at most')
    how.add_argument('--laplacian-levels', type=cli.whole_number(0, 12), default=0,
                     help='bands of frequencies to make equally strong in the gradient; 0: as it is')
    how.add_argument('--blend', type=cli.real_number(0, 1), default=1.0,
                     help='how much of the dream; the rest is content')
    how.add_argument('--preserve-color', action='store_true', help="keep the content's colors")
    how.add_argument('--save-every', type=cli.whole_number(1), metavar='STEPS', help='save pictures on the way')
    how.add_argument('--book', action='store_true', help="the cookbook chapter's settings")
    contact_sheets.add_options(parser)
    frames.add_options(parser)
    args = cli.parse_args(parser, argv, RECIPE, free=('list_layers',), changeable=('output', 'save_every'),
                          preset=preset)
    check_args(args)
    return args


def preset(asked):
    """Returns the options that are others by default, for the book's settings and where there is no picture."""
    from_noise = Path(NOISE) in (asked.content or ()) or asked.channels
    return {**(FROM_NOISE if from_noise else {}), **(BOOK if asked.book else {}),
            **({'size': BOOK_NOISE_SIZE} if from_noise and asked.book else {}),
            **(contact_sheets.LAYERS if asked.all_layers else {}),
            **({'content': [Path(NOISE)], **contact_sheets.CHANNELS} if asked.channels else {})}


def _several(kind):
    """Returns an argparse type: one number, or several separated by commas, as a list."""
    return lambda text: [kind(part) for part in text.split(',')]


def check_args(args):
    """Finds what is wrong with the options alone, before anything slow."""
    for name in ('steps', 'step_size'):
        values = getattr(args, name)
        if len(values) not in (1, args.octaves):
            given = ','.join(f'{value:g}' for value in values)
            raise InputError('--%s %s: %d numbers for %d octaves; give one, or one for each'
                             % (name.replace('_', '-'), given, len(values), args.octaves))
    args.terms = [objectives.parse(text) for text in args.objective or ()]
    pointed = [term.text for term in args.terms if term.channel is not None]
    if args.guide and pointed:
        raise InputError(f'--guide needs whole layers: --objective {pointed[0]} names a channel')
    if args.network in ('vgg16', 'vgg19') and args.graph:
        raise InputError(f'--graph {args.graph}: a frozen graph does not go with --network {args.network}')
    if args.graph and not args.graph.is_file():
        raise InputError(f'--graph {args.graph}: no such file')
    asked_by = frames.asked_by(args)
    args.film = runs.read_record(args.run_dir).get('film', False) if args.run_dir else asked_by is not None
    if contact_sheets.is_wanted(args):
        contact_sheets.check_options(args, NOISE, asked_by)
    if args.film and args.save_every:
        raise InputError('--save-every %d: a film keeps every frame, and no steps between' % args.save_every)
    if args.film:
        film.check_output(args.output or (args.run_dir or args.output_dir) / 'film.mp4',
                          '--output' if args.output else '--output-dir')
    elif args.output and not args.output.suffix:
        raise InputError(f'--output {args.output}: a picture needs an extension such as .png; for a folder of frames, add --frames')
    elif args.output:
        images.check_output(args.output)


def list_layers(network):
    """Prints the layers in the network's order, with their channels; returns the exit code."""
    with tf.Graph().as_default():
        end_points = network.build(tf.placeholder(tf.float32, [1, None, None, 3]))
    width = max(map(len, end_points))
    for name, tensor in end_points.items():
        print('%-*s %5d channels' % (width, name, tensor.shape[-1].value))
    return 0


def open_run(args, network, objective, jobs, scene, device):
    """Makes the run's folder, or checks that what is to be resumed has not changed since."""
    facts = {'network': network.name, 'weights': network.sha256}
    if scene:
        facts.update(inputs=scene.digest(), optical_flow=scene.blend > 0 and motion.flow_method() is not None)
    else:
        facts['inputs'] = [hashlib.sha256(load_content(job.content, args).tobytes()).hexdigest() for job in jobs]
    if args.run_dir is None:
        args.run_dir = runs.create(args.output_dir, RECIPE, settings=args.settings, seed=args.seed, device=device,
                                   objective=objective, source=network.source, film=scene is not None)
    runs.check_unchanged(args.run_dir, **facts)
    if not args.quiet:
        objective = runs.read_record(args.run_dir)['objective']
        print('{}\nnetwork: {}, {}\nobjective: {}\nthis run: {}'.format(
            device, network.name, network.source, ' + '.join(objective), args.run_dir))


def run_jobs(jobs, args, gradient_of, mask, left_out, started):
    """Dreams on one picture after the other, and says the results in words; returns the exit code."""
    with PictureRun(args.run_dir, [num_steps(job.octaves) for job in jobs], ('octave', 'objective'),
                    save_every=args.save_every, output=args.output, quiet=args.quiet, started=started) as run:
        for job in run.remaining(jobs):
            with run.keeping(job.name, content=job.content) as checkpoint:
                run_job(job, args, gradient_of, mask, run, checkpoint)
    if len(run.finished) != 1:
        return run.conclude(f'{len(run.finished)} pictures dreamed in {run.seconds():.0f} s, {len(left_out)} left out: '
                            f'{args.run_dir}', left_out)
    done, = run.finished
    before, last = (done['octaves'][-1][name] for name in ('objective_before', 'objective_last'))
    return run.conclude(f'dreamed in {run.seconds():.0f} s; the objective rose from {before:.4g} to {last:.4g} in the '
                        f"last octave: {done['path']}", left_out, objective_before=before, objective_last=last)


def conclude_film(args, picture, left_out, seconds):
    """Records the results and says them in words; returns the exit code."""
    results = {'pictures': 1, 'seconds': seconds, 'frames': picture['frames'],
               'seconds_per_frame': picture['seconds_per_frame']}
    print('%(frames)d frames dreamed, %(seconds_per_frame).2f s each: %(path)s' % picture)
    runs.write_record(args.run_dir, seconds=seconds, left_out=left_out, results=results, versions=runs.versions())
    return 2 if left_out else 0


def default_objective(network, jobs, args):
    """Returns what suits the network: for noise a channel, as far as no guide says what to dream of."""
    return network.noise_objective if jobs[0].from_noise and not args.guide else network.objective


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.time()
    args = parse_args(argv)
    if args.list_layers:
        return list_layers(load_network(args))
    scene = find_scene(args) if args.film else None
    jobs, left_out = ([film_job(scene, args)], list(scene.mistakes)) if scene else find_jobs(args)
    files.check_no_input(args.output, [job.content for job in jobs] + [args.mask, args.guide, args.graph, args.labels],
                         '--output')
    mask = args.mask and images.load_gray(args.mask)
    guide = args.guide and load_guide(args.guide)
    network = load_network(args)
    if contact_sheets.is_wanted(args):
        return dream_sheet(jobs[0], args, network, mask, started)
    terms = args.terms or [objectives.parse(default_objective(network, jobs, args))]
    with tf.Graph().as_default() as tf_graph:
        graph = build_graph(network, terms, guided=guide is not None)
        tf_graph.finalize()
    device = session.describe_device(args.device, args.threads)
    with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
        gradient_of = partial(tiled_gradient, sess=sess, graph=graph, feed=guide_features(sess, graph, guide),
                              tile_size=args.tile_size, grid=network.grid)
        jobs = [job._replace(octaves=octaves_that_fit(job, graph, gradient_of)) for job in jobs]
        open_run(args, network, [term.text for term in graph.terms], jobs, scene, device)
        for mistake in left_out:
            print(f'{RECIPE}: left out: {mistake}', file=sys.stderr)
        if scene:
            picture, seconds = run_film(scene, jobs[0], args, gradient_of, mask)
            return conclude_film(args, picture, left_out, time.time() - started + seconds)
        return run_jobs(jobs, args, gradient_of, mask, left_out, started)


if __name__ == '__main__':
    sys.exit(main())
