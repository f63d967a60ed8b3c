"""Contact sheets of many small dreams: what each channel of a layer responds to, what each layer makes of an image.

A tile of a sheet is one dream, of one size with the others. Tiles are made in batches: their images go through the
network together, each up the gradient of its own objective, with the same shifts that it would have had alone.
"""
import itertools
import math
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from common import cli, images, plotting, runs
from common.errors import ComputationError, InputError
from common.session import tf
from synthesis import content, objectives
from synthesis.octaves import drop_too_small, total_steps
from synthesis.picture_run import InterruptibleRun

FORMS = 'LAYER:CHANNELS with CHANNELS such as 0-35 or 1,5,9-12, or LAYER for all that it has'
# What the recipe's options are by default for a sheet: small images, and layers that can be told apart.
CHANNELS = {'size': 128}
LAYERS = {'size': 224, 'step_size': '3', 'laplacian_levels': 3}
BATCH_PIXELS = 12 * 128 ** 2            # of all images in a batch: larger ones are no faster on a CPU
BEFORE_RELU = '_pre_relu'
LAYER_COLUMNS = 9                       # a module of Inception has 8 layers, and a pooling behind it
CHANNEL_COLUMNS = 8
SHEET_WIDTH, SHEET_HEIGHT = 1400, 1800  # pixels of a sheet, about, at most
GAP = 10                                # pixels between tiles
TILES, STATE = 'pictures', 'state.npz'  # the folder in a run that the tiles are saved in; what --resume needs
SECONDS_BETWEEN_STATES = 10.0
METRICS = ('step', 'batch', 'octave', 'height', 'width', 'seconds', 'objective')


class SheetTile(NamedTuple):
    """One dream of a sheet."""
    layer: str
    channel: Optional[int] = None       # None for the whole layer

    def __str__(self):
        return self.layer if self.channel is None else f'{self.layer}:{self.channel}'

    def file_name(self, number):
        """Names the tile's own file; layers are numbered, so that a folder's listing keeps their order."""
        layer = self.layer.replace('/', '-')
        return f'{number:03d}_{layer}.png' if self.channel is None else f'{layer}_{self.channel:04d}.png'


class Batch(NamedTuple):
    """Tiles that are dreamed together."""
    tiles: Any              # list of SheetTile
    graph: Any              # objectives.ObjectiveGraph, float32 [batch] is its objective
    octaves: Any = None     # list of Octave
    gradient_of: Any = None  # function of float32 [batch, height, width, 3] and a (down, right) shift

    def copies(self, image):
        """Returns an image once for every tile: float32 [batch, height, width, 3]."""
        return np.broadcast_to(image, (len(self.tiles), *image.shape))

    def prepare(self, octaves, gradient_of, path):
        """Adds the gradient, a function of images, shift, graph and feed, and the octaves large enough for it."""
        gradient_of = partial(gradient_of, graph=self.graph,
                              feed={self.graph.channels: [tile.channel or 0 for tile in self.tiles]})
        octaves = drop_too_small(octaves, [self.graph.end_points[tile.layer] for tile in self.tiles],
                                 lambda image, shift: gradient_of(self.copies(image), shift), path)
        return self._replace(octaves=octaves, gradient_of=gradient_of)


# ---- Options ----


def add_options(parser):
    """Adds the sheets' options to the recipe's."""
    sheets = parser.add_argument_group('contact sheets')
    sheets.add_argument('--channels', nargs='+', metavar='SPEC',
                        help=f'show what each of these channels responds to, from noise: {FORMS}; several are allowed')
    sheets.add_argument('--all-layers', action='store_true',
                        help='show what every layer makes of the same image, from the lowest to the highest')


def preset(asked):
    """Returns the options that are others by default for a sheet."""
    if asked.channels:
        return dict(CHANNELS, content=[Path(content.NOISE)])
    return LAYERS if asked.all_layers else {}


def is_wanted(args):
    """Tells whether the options ask for a sheet."""
    return bool(args.channels or args.all_layers)


def check_options(args, film):
    """Raises InputError where options do not go together; `film` is the one that asks for a film, or None."""
    if not is_wanted(args):
        return
    sheet = '--channels' if args.channels else '--all-layers'
    if args.channels and args.all_layers:
        raise InputError('--all-layers and --channels are two sheets; make one after the other')
    if film:
        raise InputError(f'{sheet} makes images, and {film} is for a film; leave one of them out')
    if args.channels and [str(path) for path in args.content or ()] != [content.NOISE]:
        raise InputError(f'--channels starts from noise: leave --content {args.content[0]} out')
    for option in ('book', 'objective', 'guide', 'save_every') + (('mask',) if args.channels else ()):
        if getattr(args, option):
            raise InputError(f'--{option.replace("_", "-")} does not go with {sheet}; leave it out')
    for text in args.channels or ():
        parse_channels(text)


def parse_channels(text):
    """Reads which channels of which layer are meant.

    Args:
      text: str in one of FORMS.

    Returns:
      (str, the layer; list of (first, last), None for all).

    Raises:
      InputError: names the part that is wrong.
    """
    layer, colon, channels = (part.strip() for part in text.partition(':'))
    if not layer:
        raise InputError(f'--channels {text}: the layer is missing; expected {FORMS}')
    if not colon:
        return layer, None
    ranges = []
    for part in channels.split(','):
        match = re.match(r'\s*(\d+)\s*(?:-\s*(\d+)\s*)?$', part)
        if not match:
            raise InputError(f'--channels {text}: {part.strip()!r} is neither a channel nor a range; expected {FORMS}')
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last < first:
            raise InputError(f'--channels {text}: the range {part.strip()} ends before it begins; write {last}-{first}')
        ranges.append((first, last))
    return layer, ranges


def choose_channels(texts, end_points):
    """Finds the channels that were asked for in a network.

    Args:
      texts: sequence of str, each in one of FORMS.
      end_points: dict from layer name to tensor.

    Returns:
      list of SheetTile, a layer's together, each channel once.

    Raises:
      InputError: there is no such layer or channel.
    """
    tiles = {}
    for text in texts:
        layer, ranges = parse_channels(text)
        objectives.check_layer('--channels ' + text, layer, end_points)
        num_channels = end_points[layer].shape.as_list()[-1]
        for first, last in ranges or [(0, num_channels - 1)]:
            if last >= num_channels:
                raise InputError(f'--channels {text}: no channel {max(first, num_channels)}; {layer} has '
                                 f'{num_channels}, 0 to {num_channels - 1}')
            tiles.setdefault(layer, {}).update((SheetTile(layer, channel), None)
                                               for channel in range(first, last + 1))
    return [tile for of_layer in tiles.values() for tile in of_layer]


def choose_layers(end_points):
    """Returns a SheetTile for every layer that has positions; of a layer before its ReLU and behind it, the latter."""
    return [SheetTile(name) for name, tensor in end_points.items() if tensor.shape.rank == 4
            and not (name.endswith(BEFORE_RELU) and name[:-len(BEFORE_RELU)] in end_points)]


# ---- Batches and their objectives ----


def build_batches(build, channels, height, width):
    """Builds the network for a batch of images, and a gradient for each batch of tiles, in the default graph.

    Args:
      build: function of float32 [batch, height, width, 3] to the network's end_points.
      channels: the value of --channels; None for a sheet of all layers.
      height, width: int, pixels of an image.

    Returns:
      list of Batch; those of one branch's channels share a graph.
    """
    images_in = tf.placeholder(tf.float32, [None, None, None, 3], name='tile')
    end_points, image_shape = build(images_in), tf.shape(images_in)[1:3]
    positions, number = tf.placeholder(tf.int32, [None, 2]), tf.placeholder(tf.int32, [None], name='channels')
    all_tiles = choose_channels(channels, end_points) if channels else choose_layers(end_points)
    graphs, batches = {}, []
    for tiles in in_batches(all_tiles, end_points, height, width):
        parts = frozenset(part(tile, end_points) for tile in tiles)
        if parts not in graphs:
            with tf.name_scope('objective'):
                objective = batch_objective(tiles, end_points, number, image_shape)
            graphs[parts] = objectives.ObjectiveGraph(
                images=images_in, positions=positions, guides={}, objective=objective,
                gradient=objectives.differentiate(objective, images_in),
                terms=[objectives.parse(layer) for layer in sorted({tile.layer for tile in tiles})],
                end_points=end_points, channels=number)
        batches.append(Batch(tiles=tiles, graph=graphs[parts]))
    return batches


def in_batches(tiles, end_points, height, width):
    """Cuts tiles into batches of neighbors; channels of two layers, or of two branches of one, never share one.

    Args:
      tiles: list of SheetTile.
      end_points: dict from layer name to tensor.
      height, width: int, pixels of an image.

    Returns:
      list of lists of SheetTile.
    """
    most = max(1, BATCH_PIXELS // (height * width))
    groups = itertools.groupby(tiles, lambda tile: tile.channel is not None and part(tile, end_points))
    batches = []
    for group in (list(group) for _, group in groups):
        count = math.ceil(len(group) / most)
        batches += [group[len(group) * number // count:len(group) * (number + 1) // count] for number in range(count)]
    return batches


def part(tile, end_points):
    """Returns what must be computed of a tile's layer: (tensor, int number of its first channel)."""
    layer = end_points[tile.layer]
    return (layer, 0) if tile.channel is None else objectives.branch(layer, tile.channel)


def batch_objective(tiles, end_points, channels, image_shape):
    """Computes for every image of a batch the objective of its own tile.

    Args:
      tiles: list of SheetTile, a batch.
      end_points: dict from layer name to tensor, of the batch's images.
      channels: int32 [batch], the tiles' channels, where they are of channels.
      image_shape: int32 [2], the images' height and width in pixels.

    Returns:
      float32 [batch].
    """
    if tiles[0].channel is None:
        return objectives.of_each_layer([tile.layer for tile in tiles], end_points, image_shape)
    activations, first = part(tiles[0], end_points)
    return objectives.of_each_channel(activations, channels - first, image_shape)


# ---- The run ----


class SheetRun(InterruptibleRun):
    """The run of a sheet: tiles, metrics, the state to resume from. A context manager: Ctrl-C waits for the step's end.

    Args:
      run_dir: Path, the run's folder with its run.json.
      batches: list of Batch, prepared.
      quiet: bool, no progress.

    Raises:
      InputError: the run's batches were others, or it is of an earlier version.
    """

    def __init__(self, run_dir, batches, quiet=False):
        runs.check_unchanged(run_dir, batches=[len(batch.tiles) for batch in batches])
        record = runs.read_record(run_dir)
        if 'panels' in record:
            raise InputError(f'--resume {run_dir}: an earlier version of the recipe began that run; start a new one')
        self.folder, self.batches = run_dir / TILES, batches
        self.folder.mkdir(exist_ok=True)
        self.tiles = record.get('tiles', [])
        self.num_tiles = np.cumsum([len(batch.tiles) for batch in batches])  # up to the end of each batch
        self.number = int(np.searchsorted(self.num_tiles, len(self.tiles), side='right'))  # of the batch in work
        num_steps = [total_steps(batch.octaves) for batch in batches]
        state = runs.load_arrays(run_dir / STATE) if (run_dir / STATE).exists() else None
        self.saved, done = None, sum(num_steps[:self.number])
        if state and int(state.pop('batch')) == self.number:
            self.saved = state
            done += total_steps(batches[self.number].octaves[:int(state['octave'])]) + int(state['step'])
        super().__init__(run_dir, METRICS, sum(num_steps), done, quiet=quiet)
        self.saved_at = self.began = time.monotonic()
        self.seconds_resumed = self.log.rows[-1]['seconds'] if self.log.rows else 0.0
        self.recorded_seconds = done == sum(num_steps) and record.get('seconds')

    def make_batches(self, image, ascend, finish):
        """Dreams on the batches that are not done.

        Args:
          image: float32 [height, width, 3] in [0, 255], what all tiles start from.
          ascend: function of a batch of images, octaves, gradient_of, saved (a dict of arrays to resume from, or None)
            and report, which is called with the recipe's State after every step; returns the dreams and float64
            [num_octaves, 2, num_tiles], the objective before each octave and in its last step.
          finish: function of a dream and the image; returns float32 [height, width, 3] in [0, 255].

        Raises:
          ComputationError: a dream failed; the tiles so far are saved.
          cli.Interrupted: after Ctrl-C.
        """
        for number in range(self.number, len(self.batches)):
            self.number, self.last, batch = number, None, self.batches[number]
            try:
                dreams, values = ascend(batch.copies(image), batch.octaves, batch.gradient_of, saved=self.saved,
                                        report=self._report)
            except cli.StopBetweenTiles:
                self._interrupt()
            except ComputationError as error:
                raise ComputationError(f'{error}; the tiles so far are in {self.folder}')
            self._save(batch, [finish(dream, image) for dream in dreams], values)
            self.saved = None

    def _report(self, state):
        self.last, done = state, len(self.tiles)
        octave = self.batches[self.number].octaves[state.octave]
        objective = state.values[state.octave, 1].mean()
        self.progress.update({f'tiles {done + 1}-{self.num_tiles[self.number]} of': str(self.num_tiles[-1]),
                              'objective': objective})
        self.log.append(step=self.progress.done, batch=self.number + 1, octave=state.octave + 1, height=octave.height,
                        width=octave.width, objective=objective,
                        seconds=round(self.seconds_resumed + time.monotonic() - self.began, 3))
        if self.stop.requested and self.progress.done < self.progress.total:
            self._interrupt()
        if time.monotonic() - self.saved_at > SECONDS_BETWEEN_STATES:
            self._save_state()

    def _save_state(self):
        if self.last is not None:  # a step of this batch since it was begun or resumed
            runs.save_arrays(self.run_dir / STATE, batch=self.number, **self.last._asdict())
        self.saved_at = time.monotonic()

    def _interrupt(self):
        self._save_state()
        raise cli.Interrupted(f'after {self.progress.done} of {self.progress.total} steps; the {len(self.tiles)} tiles '
                              f'that are done are in {self.folder}')

    def _save(self, batch, tile_images, values):
        for number, (tile, image) in enumerate(zip(batch.tiles, tile_images)):
            name = tile.file_name(len(self.tiles) + 1)
            images.save_image(self.folder / name, image)
            before, last = values[-1, :, number]
            self.tiles.append({'layer': tile.layer, 'channel': tile.channel, 'file': name, 'objective_before': before,
                               'objective_last': last, 'inactive': not values[..., number].any()})
        runs.write_record(self.run_dir, tiles=self.tiles)

    def conclude(self, network_name, image, output, skipped, started):
        """Draws the sheets, records the results and prints them.

        Args:
          network_name: str.
          image: float32 [height, width, 3], the image that the layers were shown; None for a sheet of channels.
          output: Path that the user wants the sheet at, or None.
          skipped: list of str, why other images were not used.
          started: float, when the command began (`time.monotonic()`).

        Returns:
          int, the exit code: 2 where something was skipped, else 0.
        """
        title = f'What channels of {network_name} like to see' if image is None else (
            f'What each layer of {network_name} makes of a picture')
        paths = draw_sheets(self.run_dir, title, image)
        inactive = [str(SheetTile(tile['layer'], tile['channel'])) for tile in self.tiles if tile['inactive']]
        if inactive:
            print(f'warning: inactive throughout (objective 0), so nothing changed: {", ".join(inactive)}; try the '
                  f'layer before its ReLU, if there is one (...{BEFORE_RELU})', file=sys.stderr)
        if output:
            copies = [output.with_name(path.stem.replace('sheet', output.stem) + output.suffix) for path in paths]
            for path, copy in zip(paths, copies):
                images.save_image(copy, images.load_image(path))
            paths = copies
        seconds = self.recorded_seconds or time.monotonic() - started + self.seconds_resumed
        runs.write_record(self.run_dir, seconds=seconds, sheets=paths, versions=runs.versions(),
                          results={'pictures': len(self.tiles), 'inactive': inactive, 'seconds': seconds})
        print(f'{len(self.tiles)} {"channels" if image is None else "layers"} in {seconds:.0f} s: '
              f'{", ".join(map(str, paths))}')
        return 2 if skipped else 0


# ---- Drawing ----


def draw_sheets(run_dir, title, image=None):
    """Draws the tiles, read from their files, as labeled sheets.

    Args:
      run_dir: Path, the run's folder.
      title: str.
      image: float32 [height, width, 3], the image that the layers were shown, which comes first; None for channels.

    Returns:
      list of Paths: sheet.png, or sheet_1.png and so on where one does not hold all.
    """
    tiles = runs.read_record(run_dir)['tiles']
    rows = _rows_of_channels(tiles) if image is None else _rows_of_layers(tiles)
    side = max(128, SHEET_WIDTH // max(len(row) for _, row in rows) - GAP)
    drawn = [(heading, [_show(run_dir, tile, image, side) for tile in row]) for heading, row in rows]
    most = max(1, SHEET_HEIGHT // (side + 40)) if image is None else len(drawn)  # rows on a sheet
    count = math.ceil(len(drawn) / most)
    paths = []
    for number in range(count):
        paths.append(run_dir / ('sheet.png' if count == 1 else f'sheet_{number + 1}.png'))
        plotting.plot_rows(paths[-1], drawn[number * most:(number + 1) * most], title, GAP)
    return paths


def _rows_of_channels(tiles):
    """Begins a row with every layer, headed by its name; returns a list of (heading, list of tiles)."""
    layers = [(layer, list(group)) for layer, group in itertools.groupby(tiles, lambda tile: tile['layer'])]
    columns = min(CHANNEL_COLUMNS, max(len(group) for _, group in layers))
    if len(layers) == 1:
        columns = min(CHANNEL_COLUMNS, math.ceil(math.sqrt(len(tiles))))
        columns = next((more for more in range(columns, CHANNEL_COLUMNS + 1) if len(tiles) % more == 0), columns)
    return [('' if start else layer, group[start:start + columns])
            for layer, group in layers for start in range(0, len(group), columns)]


def _rows_of_layers(tiles):
    """Keeps the layers of a module, which share the beginning of their names, in a row where they fit into one."""
    rows = [('', [None])]  # the image itself
    for _, group in itertools.groupby(tiles, lambda tile: tile['layer'].split('_')[0]):
        group = list(group)
        if len(rows[-1][1]) + len(group) > LAYER_COLUMNS:
            rows.append(('', []))
        for tile in group:
            if len(rows[-1][1]) == LAYER_COLUMNS:
                rows.append(('', []))
            rows[-1][1].append(tile)
    return rows


def _show(run_dir, tile, image, side):
    """Returns (image, caption) of a tile; of None, those of the image that the layers were shown."""
    shown = image if tile is None else images.load_image(run_dir / TILES / tile['file'])
    if max(shown.shape[:2]) > side:
        shown = images.resize_image(shown, *images.fit_size(*shown.shape[:2], longer_side=side))
    if tile is None:
        return shown, 'the picture'
    name = tile['layer'] if tile['channel'] is None else str(tile['channel'])
    return shown, name + (' (inactive)' if tile['inactive'] else '')
