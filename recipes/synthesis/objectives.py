"""What gradient ascent maximizes: objectives over a network's layers, and how they are written.

`mixed4c` is a layer (the mean square of its activations), `mixed4c:12` a channel of it, `mixed4c:12@0.5,0.5` one neuron
of that channel, `mixed4c:mean` the mean of all its channels, `softmax2_pre_activation:tabby` a class; `*0.5` at the end
of any is its weight. Several are added. An objective sees the network only as a dict from layer name to tensor.
"""
import math
import sys
from typing import Any, NamedTuple, Optional, Tuple, Union

import numpy as np

from common.errors import InputError, did_you_mean
from common.session import tf
from networks import classifiers

FORMS = 'LAYER, LAYER:CHANNEL, LAYER:CHANNEL@Y,X, LAYER:CLASS NAME or LAYER:mean, with *WEIGHT or without'
GUIDE_SIZE = 512    # pixels of a guide's longer side, at most: larger things than a tile are never seen


class Objective(NamedTuple):
    """One term of what is maximized, as it was written."""
    text: str
    layer: str
    channel: Union[int, str, None]        # a number, 'mean', the name of a class, or None for the whole layer
    position: Optional[Tuple[float, float]]   # (y, x) in fractions of the image, (0, 0) its top left
    weight: float


class ObjectiveGraph(NamedTuple):
    """The graph of one tile of an image: placeholders in, the objective and its gradient out."""
    images: Any             # float32 [1, height, width, 3]
    positions: Any          # int32 [num_objectives, 2], pixels from the tile's top left
    guides: Any             # {layer: float32 [num_positions, channels]}; empty without a guide
    objective: Any          # float32 scalar, summed over pixels
    gradient: Any           # float32 [1, height, width, 3]
    terms: Any              # list of the Objectives that were added up
    end_points: Any         # {layer: tensor}


def parse(text):
    """Reads an objective as a person writes it.

    Args:
      text: str in one of FORMS.

    Returns:
      Objective, not yet looked up in a network: see `resolve`.

    Raises:
      InputError: names the part that is wrong.
    """
    rest, star, weight = text.partition('*')
    rest, at, position = rest.partition('@')
    layer, colon, channel = (part.strip() for part in rest.partition(':'))
    if not layer:
        raise _malformed(text, f'the layer before {colon or at or star!r} is missing')
    if colon and not channel:
        raise _malformed(text, "the channel after ':' is missing")
    if channel.lstrip('+-').isdigit():
        channel = int(channel)
    if at and not isinstance(channel, int):
        raise _malformed(text, f"a position needs a channel's number before it, as in {layer}:12@0.5,0.5")
    return Objective(text=text, layer=layer, channel=None if channel == '' else channel,
                     position=_parse_position(text, position) if at else None,
                     weight=_parse_weight(text, weight) if star else 1.0)


def _malformed(text, problem):
    return InputError(f'--objective {text}: {problem}; expected {FORMS}')


def _parse_position(text, position):
    try:
        y, x = (float(part) for part in position.split(','))
    except ValueError:
        raise _malformed(text, f'the position {position!r} is not two numbers Y,X')
    if not (0 <= y <= 1 and 0 <= x <= 1):
        raise _malformed(text, f'the position {position!r} is outside the image, which goes from 0,0 to 1,1')
    return y, x


def _parse_weight(text, weight):
    try:
        value = float(weight)
    except ValueError:
        raise _malformed(text, f'the weight {weight!r} is not a number')
    if not math.isfinite(value) or value == 0:
        raise _malformed(text, f'the weight {weight!r} is 0 or not finite')
    return value


def resolve(objective, end_points, labels=None):
    """Finds what an objective names in a network.

    Args:
      objective: Objective.
      end_points: dict from layer name to tensor with a known number of channels, the last axis.
      labels: list of str, the classes' names, or None.

    Returns:
      Objective whose channel is a number, 'mean' or None.

    Raises:
      InputError: there is no such layer, channel, class or position.
    """
    text, layer, channel, position, _ = objective
    check_layer('--objective ' + text, layer, end_points)
    num_channels = end_points[layer].shape.as_list()[-1]
    if isinstance(channel, str) and channel != 'mean':
        channel = _find_class(objective, end_points[layer].shape, labels)
    if isinstance(channel, int) and not 0 <= channel < num_channels:
        raise InputError(f'--objective {text}: no channel {channel}; {layer} has the channels 0 to {num_channels - 1}')
    if position and end_points[layer].shape.rank != 4:
        raise InputError(f'--objective {text}: {layer} has no positions; leave @{position[0]:g},{position[1]:g} out')
    return objective._replace(channel=channel)


def check_layer(asked, layer, end_points):
    """Raises InputError, with the nearest names, where there is no such layer; `asked` is the option with its value."""
    if layer not in end_points:
        hint = f'{did_you_mean(layer, end_points)} --list-layers shows all'.strip()
        raise InputError(f'{asked}: no layer {layer!r}; {hint}')


def _find_class(objective, shape, labels):
    """Finds the number of the class that an objective names.

    A label may hold several names, separated by commas; case does not matter.
    """
    text, layer, name, _, _ = objective
    num_channels = shape.as_list()[-1]
    if not labels:
        raise InputError(f'--objective {text}: the channel {name!r} is not a number, and no list of labels lies beside '
                         'the graph; give the class by its number, or a list with --labels FILE')
    if not classifiers.are_logits_of(shape, labels):
        everywhere = ' at every position' if shape.rank != 2 else ''
        raise InputError(f'--objective {text}: the channel {name!r} is not a number, and {layer} is no layer of '
                         f'classes: it has {num_channels} channels{everywhere}, for {len(labels)} labels')
    numbers = {}
    for number, label in enumerate(classifiers.labels_of_channels(labels, num_channels)):
        for synonym in [label] + label.split(','):
            numbers.setdefault(synonym.strip().lower(), number)
    if name.lower() not in numbers:
        nearest = did_you_mean(name.lower(), numbers)
        raise InputError(f'--objective {text}: no class {name!r}{"; " + nearest if nearest else " in the labels"}')
    return numbers[name.lower()]


def total(objectives, end_points, tile_shape, positions=None, guides=None):
    """Adds up objectives over one tile, so that a pixel counts the same in a large tile and in a small one.

    Every term is a sum over the layer's positions, times the pixels that a position stands for. The totals of all tiles
    of an image, added and divided by its pixels, are therefore the mean over the image.

    Args:
      objectives: sequence of resolved Objectives.
      end_points: dict from layer name to tensor, of a batch of one tile.
      tile_shape: int32 [2], the tile's height and width in pixels.
      positions: int32 [num_objectives, 2], in pixels from the tile's top left, where an objective with a position has
        it; outside of the tile it counts nothing.
      guides: dict from layer name to float32 [num_positions, channels]: what `guided` is to dream towards.

    Returns:
      float32 scalar.
    """
    terms = []
    for number, objective in enumerate(objectives):
        activations = end_points[objective.layer]
        if activations.shape.rank == 2:  # behind a pooling over all positions, or over windows of them: a row for each
            activations = activations[:, tf.newaxis, tf.newaxis, :]
        if objective.channel is None and guides:
            per_position = guided(activations, guides[objective.layer])
        else:
            per_position = _per_position(objective.channel, activations)
        if objective.position:
            per_position = only_at(per_position, positions[number], tile_shape)
        terms.append(objective.weight * tf.reduce_sum(per_position) * _pixels_per_position(per_position, tile_shape))
    return tf.add_n(terms)


def differentiate(objective, tile):
    """Adds the gradient of an objective with respect to the tile to the graph.

    Raises:
      InputError: an operation in between has none.
    """
    try:
        return tf.gradients(objective, tile)[0]
    except LookupError as error:
        raise InputError(f'TensorFlow has no gradient for an operation below the objective ({error})')


def branch(activations, channel):
    """Finds the branch of a layer that holds a channel, so that the others need not be computed.

    Args:
      activations: a layer's, float32 [..., num_channels].
      channel: int.

    Returns:
      (tensor, int): where the layer joins branches along their channels, as the modules of Inception do, the branch and
      the layer's number of its first channel; else the layer itself, and 0.
    """
    if activations.op.type == 'ConcatV2':
        *branches, axis = activations.op.inputs
        if tf.get_static_value(axis) in (-1, activations.shape.rank - 1):
            first = 0
            for part in branches:
                if channel < first + part.shape.as_list()[-1]:
                    return part, first
                first += part.shape.as_list()[-1]
    return activations, 0


def _per_position(channel, activations):
    """What an objective gives for every position: float32 [rows, height, width]."""
    if channel is None:
        return tf.reduce_mean(tf.square(activations), axis=-1)
    if channel == 'mean':
        return tf.reduce_mean(activations, axis=-1)
    holder, first = branch(activations, channel)
    return holder[..., channel - first]


def guided(activations, guide):
    """Compares each position with the position of the guide that it is most like already.

    Args:
      activations: float32 [1, height, width, channels], the dream's.
      guide: float32 [num_positions, channels], the guide's.

    Returns:
      float32 [1, height, width], the largest dot product with a position of the guide, divided by the channels. Its
      gradient with respect to the activations is that position.

    Source: the DeepDream notebook (Mordvintsev, Olah, Tyka 2015), 'Controlling dreams'.
    """
    shape = tf.shape(activations)
    num_channels = activations.shape.as_list()[-1]
    products = tf.matmul(tf.reshape(activations, [-1, num_channels]), guide, transpose_b=True)
    return tf.reshape(tf.reduce_max(products, axis=1), shape[:3]) / num_channels


def guide_features(sess, graph, guide):
    """Computes what a guide image shows to the objective's layers.

    Args:
      sess: tf.Session.
      graph: ObjectiveGraph.
      guide: float32 [height, width, 3], RGB in [0, 255]; None for no guide.

    Returns:
      {placeholder: float32 [num_positions, channels]}, to be fed with every tile.
    """
    if guide is None:
        return {}
    features = sess.run({layer: graph.end_points[layer] for layer in graph.guides}, {graph.images: guide[np.newaxis]})
    return {graph.guides[layer]: values.reshape(-1, values.shape[-1]) for layer, values in features.items()}


def only_at(per_position, position, tile_shape):
    """Sets to 0 all but the one position of a layer that lies at a pixel of the tile.

    Args:
      per_position: float32 [1, height, width].
      position: int32 [2], row and column in pixels, from the tile's top left; may lie outside.
      tile_shape: int32 [2], pixels.
    """
    cell = position * tf.shape(per_position)[1:] // tile_shape  # rounds down: negative outside, to the top and left
    row = tf.one_hot(cell[0], tf.shape(per_position)[1])        # all 0 outside
    column = tf.one_hot(cell[1], tf.shape(per_position)[2])
    return per_position * row[:, tf.newaxis] * column


def _pixels_per_position(per_position, tile_shape):
    """The layer's stride, squared. Strides are powers of two, and a side that is no multiple of it is rounded up."""
    pixels, positions = tf.cast(tf.reduce_prod(tile_shape), tf.float32), tf.cast(tf.size(per_position), tf.float32)
    if per_position.shape[1:].as_list() == [1, 1]:
        return pixels / positions  # the mean over all rows stands for the whole tile
    return 4. ** tf.round(tf.math.log(pixels / positions) / math.log(4))


def warn_if_inactive(values):
    """Tells why an image, or a whole film, has not changed, where the values of its objective are 0 throughout."""
    if not np.any(values):
        print('warning: the objective was 0 throughout, so nothing changed; a channel can be inactive after its ReLU: '
              'try the layer before it (..._pre_relu)', file=sys.stderr)
