"""Which pictures a contact sheet shows: channels, classes, sums of objectives, some channels of every layer; batches.

A tile is one picture, made for one objective: a sum of terms, most often a single channel. Tiles whose terms are
computed from the same tensors share a graph, and go through it in batches.
"""
import contextlib
import itertools
import math
import re
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from common.errors import InputError
from networks import classifiers
from synthesis import objectives

FORMS = 'LAYER:CHANNELS with CHANNELS such as 0-35 or 1,5,9-12, or LAYER for all that it has'
BATCH_PIXELS = 12 * 128 ** 2        # of all pictures in a batch: larger ones are no faster on a CPU
MOST_BATCH_PIXELS = 2 ** 22         # where pictures have to be in one batch: about 4 GB in a network's lower layers
CENTER = 0.5, 0.5
INTERPOLATED = 5                    # pictures from one objective to another, both included
ACTIVATIONS = 'Relu', 'Relu6', 'LeakyRelu', 'Elu', 'Selu', 'Softplus', 'Tanh', 'Sigmoid', 'ConcatV2'


class SheetTile(NamedTuple):
    """One picture of a sheet."""
    heading: str                # of its row: the layer
    caption: str
    terms: Tuple[Any, ...]      # of objectives.Objective, resolved
    copy: int = 0               # which of several pictures for the same objective
    channel: Optional[int] = None

    def file_name(self):
        """Names the tile's own file."""
        words = re.sub(r'[^\w.-]+', '-', '_'.join(filter(None, (self.heading, self.caption)))).strip('-')[:100]
        return words + (f'_{self.copy + 1}' if self.copy else '') + '.png'


# ---- Which tiles ----

def choose(end_points, labels=None, channels=(), classes=(), sums=(), per_layer=None, neurons=False, copies=1,
           interpolated=()):
    """Finds everything that was asked for in a network.

    Args:
      end_points: dict from layer name to tensor.
      labels: list of str, the classes' names, or None.
      channels: sequence of str, each in one of FORMS.
      classes: sequence of str: names, or numbers.
      sums: sequence of str: objectives, with + between them.
      per_layer: int, channels of every layer, spread over all that it has; None for none.
      neurons: bool, the unit at the center of each channel instead of the channel everywhere.
      copies: int, pictures for each objective.
      interpolated: two of str, objectives: INTERPOLATED pictures lead from one to the other; or nothing.

    Returns:
      list of SheetTile, a layer's together, each once; copies stand side by side.

    Raises:
      InputError: there is no such layer, channel or class.
    """
    position = CENTER if neurons else None
    found = [_channel_tile(layer, channel, position) for text in channels
             for layer, channel in find_channels(text, end_points)]
    found += [_class_tile(name, end_points, labels) for name in classes]
    found += [_sum_tile(text, end_points, labels) for text in sums]
    found += _interpolated_tiles(interpolated, end_points, labels)
    if per_layer:
        for layer in overview(end_points):
            count = end_points[layer].shape.as_list()[-1]
            spread = sorted(set(np.linspace(0, count - 1, per_layer).astype(int).tolist()))
            found += [_channel_tile(layer, channel, position) for channel in spread]
    headings = list(dict.fromkeys(tile.heading for tile in found))
    found = sorted(dict.fromkeys(found), key=lambda tile: headings.index(tile.heading))
    return [tile._replace(copy=copy) for tile in found for copy in range(copies)]


def _channel_tile(layer, channel, position):
    term = objectives.Objective(text=f'{layer}:{channel}', layer=layer, channel=channel, position=position, weight=1.0)
    return SheetTile(heading=layer, caption=str(channel), terms=(term,), channel=channel)


def _sum_tile(text, end_points, labels):
    terms = tuple(objectives.resolve(objectives.parse(part.strip()), end_points, labels) for part in text.split('+'))
    for term in terms:
        if term.position and term.channel is None:
            raise InputError(f'--objective {text}: a position needs a channel')
    return SheetTile(heading='', caption=text, terms=terms)


def check_interpolated(texts):
    """Raises InputError where --interpolate is given what is no objective."""
    with _as_option('--objective', '--interpolate'):
        for text in texts:
            objectives.parse(text)


@contextlib.contextmanager
def _as_option(name, asked):
    """Has an InputError about one option name the one that was asked for."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(name, asked, 1))


def _interpolated_tiles(texts, end_points, labels):
    with _as_option('--objective', '--interpolate'):
        terms = [objectives.resolve(objectives.parse(text), end_points, labels) for text in texts]
    ways = np.linspace(0, 1, INTERPOLATED) if terms else ()
    return [SheetTile(heading=' to '.join(texts), caption=f'{100 * way:.0f} %',
                      terms=tuple(term._replace(weight=term.weight * amount) for term, amount
                                  in zip(terms, (1 - way, way)))) for way in ways]


def find_class(name, end_points, labels):
    """Finds a class.

    Args:
      name: str, its name, or its number.
      end_points: dict from layer name to tensor.
      labels: list of str, the classes' names, or None.

    Returns:
      objectives.Objective, its logit.

    Raises:
      InputError: the network has no classes, or not this one.
    """
    layer = find_logits(end_points)
    asked = objectives.Objective(text=f'{layer}:{name}', layer=layer, channel=int(name) if name.isdigit() else name,
                                 position=None, weight=1.0)
    with _as_option(f'--objective {layer}:{name}', f'--classes {name}'):
        return objectives.resolve(asked, end_points, labels)


def _class_tile(name, end_points, labels):
    term = find_class(name, end_points, labels)
    return SheetTile(heading=term.layer, caption=class_name(term.channel, end_points[term.layer], labels),
                     terms=(term,), channel=term.channel)


def class_name(number, logits, labels):
    """Returns the first name of a class by its number; the number, where there are no labels for it."""
    labels = classifiers.labels_of_channels(labels or [], logits.shape.as_list()[-1])
    return labels[number].split(',')[0] if number < len(labels) else str(number)


def find_logits(end_points):
    """Returns the name of the layer before the last softmax, or of the last one without positions.

    Raises:
      InputError: there is none.
    """
    flat = [name for name, tensor in end_points.items() if tensor.shape.rank == 2]
    softmaxes = [name for name in flat if end_points[name].op.type == 'Softmax']
    before = [name for name in flat for last in softmaxes[-1:]
              if end_points[name] is _source(end_points[last].op.inputs[0])]
    if not flat:
        raise InputError('--classes: this network has no layer of classes, only layers with positions; see '
                         '--list-layers')
    return (before or [name for name in flat if name not in softmaxes] or flat)[-1]


def _source(tensor):
    """Follows a tensor back through operations that only pass it on."""
    while tensor.op.type in ('Identity', 'Reshape', 'Squeeze') and tensor.op.inputs[0].shape.rank == 2:
        tensor = tensor.op.inputs[0]
    return tensor


def overview(end_points):
    """Lists the layers that --all-layers shows, from the lowest to the highest.

    These have positions, and what is behind their activation function; the branches of a module, whose names begin with
    the module's, are left out, and poolings. Of a network without any such, the convolutions.
    """
    with_positions = [name for name, tensor in end_points.items() if tensor.shape.rank == 4]
    for types in ACTIVATIONS, ('BiasAdd', 'Conv2D', 'AddV2', 'Add', 'Mul'):
        found = [name for name in with_positions if end_points[name].op.type in types]
        if found:
            break
    return [name for name in found if not any(name.startswith(other + '_') for other in found)]


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


def find_channels(text, end_points):
    """Returns the list of (layer, channel) that a text in one of FORMS stands for; raises InputError as `choose`."""
    layer, ranges = parse_channels(text)
    objectives.check_layer('--channels ' + text, layer, end_points)
    num_channels = end_points[layer].shape.as_list()[-1]
    for first, last in ranges or ():
        if last >= num_channels:
            raise InputError(f'--channels {text}: no channel {max(first, num_channels)}; {layer} has '
                             f'{num_channels}, 0 to {num_channels - 1}')
    return [(layer, channel) for first, last in ranges or [(0, num_channels - 1)] for channel in range(first, last + 1)]


# ---- Batches ----

def sources(tile, end_points):
    """Returns what a tile's terms are computed from: tuple of (tensor, kind, whether at one position).

    The kind is 'channel', 'mean' or 'square', as objectives.parse tells them apart; of a channel in a module of
    branches the tensor is its branch, so that the others need not be computed.
    """
    return tuple((objectives.branch(end_points[term.layer], term.channel)[0], 'channel', bool(term.position))
                 if isinstance(term.channel, int) else
                 (end_points[term.layer], term.channel or 'square', False) for term in tile.terms)


def number_in_source(term, end_points):
    """Returns the number of a term's channel within what `sources` gives for it: int, 0 where it is no channel."""
    if not isinstance(term.channel, int):
        return 0
    return term.channel - objectives.branch(end_points[term.layer], term.channel)[1]


def in_batches(tiles, end_points, height, width, copies=1):
    """Cuts tiles into batches of neighbors with the same sources; copies of one stay together.

    Args:
      tiles: list of SheetTile.
      end_points: dict from layer name to tensor.
      height, width: int, pixels of a picture.
      copies: int, pictures for each objective.

    Returns:
      list of lists of SheetTile.

    Raises:
      InputError: the copies are too large for one batch.
    """
    if copies * height * width > MOST_BATCH_PIXELS:
        raise InputError(f'{copies} pictures of {width} x {height} pixels at once take more memory than most machines '
                         'have; choose a smaller --size' + (' or --diversity' if copies > 1 else ''))
    most = max(1, BATCH_PIXELS // (copies * height * width))
    batches = []
    for _, group in itertools.groupby(tiles, lambda tile: sources(tile, end_points)):
        group = list(group)
        sets = len(group) // copies
        count = math.ceil(sets / most)
        batches += [group[copies * (sets * number // count):copies * (sets * (number + 1) // count)]
                    for number in range(count)]
    return batches
