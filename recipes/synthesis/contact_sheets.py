"""Sheets of many small dreams: what each channel of a layer likes to see, what each layer makes of the same picture.

A panel is one dream of a sheet. Panels dream in batches: pictures of one size go through the network together, each up
the gradient of its own objective, with the same shifts that it would have had alone.
"""
import itertools
import math
import re
import time
from typing import NamedTuple, Optional

from common import cli, images, plotting, runs
from common.errors import InputError
from common.progress import Progress
from synthesis import objectives
from synthesis.picture_run import Stoppable

FORMS = 'LAYER:CHANNELS with CHANNELS such as 0-35 or 1,5,9-12, or LAYER for all that it has'
# What the recipe's options are by default for a sheet: small pictures, and layers that can be told apart.
CHANNELS = {'size': 128}
LAYERS = {'size': 224, 'step_size': '3', 'laplacian_levels': 3}
BATCH_PIXELS = 12 * 128 ** 2            # of all pictures in a batch: larger ones are no faster on a CPU
BEFORE_RELU = '_pre_relu'
LAYER_COLUMNS = 9                       # a module of Inception has 8 layers, and a pooling behind it
CHANNEL_COLUMNS = 8
SHEET_WIDTH, SHEET_HEIGHT = 1400, 1800  # pixels of a sheet, about, at most
GAP = 10                                # pixels between panels
PICTURES, STATE = 'pictures', 'state.npz'
SECONDS_BETWEEN_STATES = 10.0
METRICS = ('step', 'batch', 'octave', 'height', 'width', 'seconds', 'objective')


class Panel(NamedTuple):
    """One dream of a sheet."""
    layer: str
    channel: Optional[int] = None       # None for the whole layer

    def __str__(self):
        return self.layer if self.channel is None else '%s:%d' % self

    def file_name(self, number):
        """Names the panel's own picture; layers are numbered, so that a folder's listing keeps their order."""
        layer = self.layer.replace('/', '-')
        return '%03d_%s.png' % (number, layer) if self.channel is None else '%s_%04d.png' % (layer, self.channel)


class Batch(NamedTuple):
    """Panels that dream together, and at which sizes."""
    panels: list
    octaves: list       # of the recipe's Octaves: height, width, steps, step_size


def add_options(parser):
    """Adds the sheets' options to the recipe's."""
    sheets = parser.add_argument_group('sheets of many small dreams')
    sheets.add_argument('--channels', nargs='+', metavar='SPEC',
                        help=f'what each of these channels likes to see, from noise: {FORMS}; several if you like')
    sheets.add_argument('--all-layers', action='store_true',
                        help='what every layer makes of the same picture, from the lowest to the highest')


def is_wanted(args):
    """Tells whether the options ask for a sheet."""
    return bool(args.channels or args.all_layers)


def check_options(args, noise, film):
    """Finds what does not go together, before anything slow.

    Args:
      args: the recipe's options.
      noise: str, how --content is written that is none.
      film: str, what asks for a film, or None.

    Raises:
      InputError: says which option is one too many, or what is wrong with a spec.
    """
    sheet = '--channels' if args.channels else '--all-layers'
    if args.channels and args.all_layers:
        raise InputError('--all-layers and --channels are two sheets; make one after the other')
    if film:
        raise InputError(f'{sheet} makes pictures, and {film} is for a film; leave one of them out')
    if args.channels and [str(path) for path in args.content or ()] != [noise]:
        raise InputError(f'--channels starts from noise: leave --content {args.content[0]} out')
    for option in ('book', 'objective', 'guide', 'save_every') + (('mask',) if args.channels else ()):
        if getattr(args, option):
            raise InputError('--{} does not go with {}; leave it out'.format(option.replace('_', '-'), sheet))
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
            raise InputError(f'--channels {text}: {part.strip()!r} is no channel and no range; expected {FORMS}')
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last < first:
            raise InputError('--channels %s: the range %s ends before it begins; write %d-%d'
                             % (text, part.strip(), last, first))
        ranges.append((first, last))
    return layer, ranges


def choose_channels(texts, end_points):
    """Holds what was asked for against a network.

    Args:
      texts: sequence of str, each in one of FORMS.
      end_points: dict from layer name to tensor.

    Returns:
      list of Panels, a layer's together, each channel once.

    Raises:
      InputError: there is no such layer or channel.
    """
    panels = {}
    for text in texts:
        layer, ranges = parse_channels(text)
        objectives.check_layer('--channels ' + text, layer, end_points)
        num_channels = end_points[layer].shape[-1].value
        for first, last in ranges or [(0, num_channels - 1)]:
            if last >= num_channels:
                raise InputError('--channels %s: no channel %d; %s has %d, 0 to %d'
                                 % (text, max(first, num_channels), layer, num_channels, num_channels - 1))
            panels.setdefault(layer, {}).update((Panel(layer, channel), None) for channel in range(first, last + 1))
    return [panel for of_layer in panels.values() for panel in of_layer]


def choose_layers(end_points):
    """Returns a Panel for every layer that has positions; of a layer before its ReLU and behind it, the latter."""
    return [Panel(name) for name, tensor in end_points.items() if tensor.shape.rank == 4
            and not (name.endswith(BEFORE_RELU) and name[:-len(BEFORE_RELU)] in end_points)]


def in_batches(panels, end_points, height, width):
    """Cuts panels into batches of neighbors; channels of two layers, or of two branches of one, never share one.

    Args:
      panels: list of Panel.
      end_points: dict from layer name to tensor.
      height, width: int, pixels of a picture.

    Returns:
      list of lists of Panel.
    """
    most = max(1, BATCH_PIXELS // (height * width))
    groups = itertools.groupby(panels, lambda panel: panel.channel is not None and part(panel, end_points))
    batches = []
    for group in (list(group) for _, group in groups):
        count = math.ceil(len(group) / most)
        batches += [group[len(group) * number // count:len(group) * (number + 1) // count] for number in range(count)]
    return batches


def part(panel, end_points):
    """Returns what must be computed of a panel's layer: (tensor, int number of its first channel)."""
    layer = end_points[panel.layer]
    return (layer, 0) if panel.channel is None else objectives.branch(layer, panel.channel)


def objective(panels, end_points, channels, tile_shape):
    """Computes for every picture of a batch the objective of its own panel.

    Args:
      panels: list of Panel, a batch.
      end_points: dict from layer name to tensor, of the batch's pictures.
      channels: int32 [batch], the panels' channels, where they are of channels.
      tile_shape: int32 [2], the pictures' height and width in pixels.

    Returns:
      float32 [batch].
    """
    if panels[0].channel is None:
        return objectives.of_each_layer([panel.layer for panel in panels], end_points, tile_shape)
    activations, first = part(panels[0], end_points)
    return objectives.of_each_channel(activations, channels - first, tile_shape)


class Journal(Stoppable):
    """What a sheet leaves on the disk on its way: panels that are done, the state to resume from; the progress bar.

    A context manager, within which Ctrl-C ends the work after a step with all kept.

    Attributes:
      batch: int, the number of the first batch that is not done.
      saved_state: dict of that batch's state to go on from, or None.
      seconds_resumed: float, what the run had taken, as far as its state knows, before it was resumed.

    Args:
      run_dir: Path, the run's folder with its run.json.
      batches: list of Batch.
      quiet: bool, no progress.
    """

    def __init__(self, run_dir, batches, quiet=False):
        self.run_dir, self.folder, self.batches = run_dir, run_dir / PICTURES, batches
        self.folder.mkdir(exist_ok=True)
        self.panels = runs.read_record(run_dir).get('panels', [])
        self.batch = next((number for number in range(len(batches)) if self._panels_before(number) == len(self.panels)),
                          len(batches))
        state = runs.load_arrays(run_dir / STATE) if (run_dir / STATE).exists() else None
        self.saved_state, done = None, self._steps_before(self.batch)
        if state and int(state.pop('batch')) == self.batch:
            octave, step = int(state['octave']), int(state['step'])
            self.saved_state = dict(state, octave=octave, step=step)
            done += sum(earlier.steps for earlier in batches[self.batch].octaves[:octave]) + step
        self.values = self.saved_state and self.saved_state['values']
        self.progress = Progress(self._steps_before(len(batches)), done, quiet=quiet)
        self.log = runs.MetricsLog(run_dir / 'metrics.csv', METRICS, done)
        self.saved = self.began = time.time()
        self.seconds_resumed = self.log.rows[-1]['seconds'] if self.log.rows else 0.0

    def _panels_before(self, batch):
        return sum(len(panels) for panels, _ in self.batches[:batch])

    def _steps_before(self, batch):
        return sum(octave.steps for _, octaves in self.batches[:batch] for octave in octaves)

    def report(self, state):
        """Takes note of a step of the batch; ends the work, with all kept, where the user asked for that."""
        panels, octaves = self.batches[self.batch]
        self.values = state.values
        octave, objective = octaves[state.octave], state.values[state.octave, 1].mean()
        self.progress.update({'%d to %d of' % (len(self.panels) + 1, len(self.panels) + len(panels)):
                              '%d' % self._panels_before(len(self.batches)),
                              'octave': '%d/%d (%dx%d)' % (state.octave + 1, len(octaves), octave.width, octave.height),
                              'objective': objective})
        self.log.append(step=self.progress.done, batch=self.batch + 1, octave=state.octave + 1, height=octave.height,
                        width=octave.width, objective=objective,
                        seconds=round(self.seconds_resumed + time.time() - self.began, 3))
        stopping = self.stop.requested and self.progress.done < self.progress.total
        if stopping or time.time() - self.saved > SECONDS_BETWEEN_STATES:
            runs.save_arrays(self.run_dir / STATE, batch=self.batch, **state._asdict())
            self.saved = time.time()
        if stopping:
            raise cli.Interrupted(f'after {self.progress.done} of {self.progress.total} steps; the {len(self.panels)} '
                                  f'pictures that are done are in {self.folder}')

    def batch_done(self, pictures):
        """Keeps the pictures of a batch, float32 [height, width, 3] in [0, 255] for each panel."""
        values = self.values  # float64 [num_octaves, 2, num_panels]
        for number, (panel, picture) in enumerate(zip(self.batches[self.batch].panels, pictures)):
            name = panel.file_name(len(self.panels) + 1)
            images.save_image(self.folder / name, picture)
            before, last = values[-1, :, number]
            self.panels.append({'layer': panel.layer, 'channel': panel.channel, 'file': name,
                                'objective_before': before, 'objective_last': last,
                                'silent': not values[..., number].any()})
        runs.write_record(self.run_dir, panels=self.panels)
        self.batch, self.saved_state = self.batch + 1, None


def draw_sheets(run_dir, title, content=None):
    """Draws the panels, read from their files, as labeled sheets.

    Args:
      run_dir: Path, the run's folder.
      title: str.
      content: float32 [height, width, 3], the picture that the layers were shown, which comes first; None for channels.

    Returns:
      list of Paths: sheet.png, or sheet_1.png and so on where one does not hold all.
    """
    panels = runs.read_record(run_dir)['panels']
    rows = _rows_of_channels(panels) if content is None else _rows_of_layers(panels)
    side = max(128, SHEET_WIDTH // max(len(row) for _, row in rows) - GAP)
    drawn = [(heading, [_show(run_dir, panel, content, side) for panel in row]) for heading, row in rows]
    most = max(1, SHEET_HEIGHT // (side + 40)) if content is None else len(drawn)  # rows on a sheet
    count = math.ceil(len(drawn) / most)
    paths = []
    for number in range(count):
        paths.append(run_dir / ('sheet.png' if count == 1 else 'sheet_%d.png' % (number + 1)))
        plotting.plot_rows(paths[-1], drawn[number * most:(number + 1) * most], title, GAP)
    return paths


def _rows_of_channels(panels):
    """Begins a row with every layer, headed by its name; returns a list of (heading, list of panels)."""
    layers = [(layer, list(group)) for layer, group in itertools.groupby(panels, lambda panel: panel['layer'])]
    columns = min(CHANNEL_COLUMNS, max(len(group) for _, group in layers))
    if len(layers) == 1:
        columns = min(CHANNEL_COLUMNS, math.ceil(math.sqrt(len(panels))))
        columns = next((more for more in range(columns, CHANNEL_COLUMNS + 1) if len(panels) % more == 0), columns)
    return [('' if start else layer, group[start:start + columns])
            for layer, group in layers for start in range(0, len(group), columns)]


def _rows_of_layers(panels):
    """Keeps the layers of a module, which share the beginning of their names, in a row where they fit into one."""
    rows = [('', [None])]  # the picture itself
    for _, group in itertools.groupby(panels, lambda panel: panel['layer'].split('_')[0]):
        group = list(group)
        if len(rows[-1][1]) + len(group) > LAYER_COLUMNS:
            rows.append(('', []))
        for panel in group:
            if len(rows[-1][1]) == LAYER_COLUMNS:
                rows.append(('', []))
            rows[-1][1].append(panel)
    return rows


def _show(run_dir, panel, content, side):
    """Returns (picture, caption) of a panel; of None, those of the picture that the layers were shown."""
    picture = content if panel is None else images.load_image(run_dir / PICTURES / panel['file'])
    if max(picture.shape[:2]) > side:
        picture = images.resize_image(picture, *images.fit_size(*picture.shape[:2], longer_side=side))
    if panel is None:
        return picture, 'the picture'
    if panel['channel'] is not None:
        name = str(panel['channel'])
    else:
        name = panel['layer']
    return picture, name + (' (silent)' if panel['silent'] else '')
