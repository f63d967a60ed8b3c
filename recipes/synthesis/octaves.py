"""Octaves: the sizes that an image is worked on at, from small to large, and the steps at each."""
import itertools
from typing import NamedTuple

import numpy as np

from common import cli, plotting
from common.errors import InputError
from common.session import tf


class Octave(NamedTuple):
    """One size, and how the image is changed at it."""
    height: int
    width: int
    steps: int
    step_size: float    # mean change of a pixel in a step, of 255


def add_options(group):
    """Adds the options that plan the octaves to a group of the recipe's."""
    group.add_argument('--octaves', type=cli.whole_number(1, 30), default=4, metavar='N',
                       help='maximum number of sizes')
    group.add_argument('--octave-scale', type=cli.real_number(1.05, 10), default=1.4, metavar='X',
                       help='factor from one size to the next')
    group.add_argument('--steps', type=_one_or_several(cli.whole_number(1)), default='10', metavar='N[,N...]',
                       help='steps in each octave: one number, or one per octave from small to large')
    group.add_argument('--step-size', type=_one_or_several(cli.real_number(1e-6)), default='1.5', metavar='X[,X...]',
                       help='mean change of a pixel in a step, of 255: one number, or one per octave')


def _one_or_several(kind):
    """Returns an argparse type: numbers separated by commas, as a list."""
    return lambda text: [kind(part) for part in text.split(',')]


def check_options(args):
    """Raises InputError where there are neither one number of steps, or step size, nor one per octave."""
    for option, values in ('--steps', args.steps), ('--step-size', args.step_size):
        if len(values) not in (1, args.octaves):
            raise InputError(f'{option} {",".join(f"{value:g}" for value in values)}: {len(values)} numbers for '
                             f'{args.octaves} octaves; give one, or one for each')


def plan(height, width, num_octaves, octave_scale, steps, step_sizes, smallest):
    """Plans the octaves of an image.

    Args:
      height, width: int, pixels of the full size, which is the last octave.
      num_octaves: int, how many at most.
      octave_scale: float above 1, from one octave to the next.
      steps, step_sizes: list of int and of float: one for all octaves, or one for each of num_octaves.
      smallest: int, pixels that no octave's shorter side falls below.

    Returns:
      list of Octave, from small to large.

    Raises:
      InputError: the image is too small for any.
    """
    sizes = [(height, width)]
    while len(sizes) < num_octaves:
        sizes.append(tuple(int(side / octave_scale) for side in sizes[-1]))
    of_each = zip(reversed(sizes), itertools.cycle(steps), itertools.cycle(step_sizes))
    planned = [Octave(height=size[0], width=size[1], steps=count, step_size=step_size)
               for size, count, step_size in of_each if min(size) >= smallest]
    if not planned:
        enough = -(-smallest * max(height, width) // min(height, width))
        raise InputError(f'{width} x {height} pixels are too few for any octave: the network needs {smallest} each '
                         f'way; enlarge the image with --size {enough}, or cut off what makes it so narrow')
    return planned


def total_steps(octaves):
    """Returns the number of steps in all octaves."""
    return sum(octave.steps for octave in octaves)


def scale_steps(octave, fraction):
    """Returns an Octave that goes a fraction of the way: in so many of the steps, and at least in one."""
    steps = max(1, round(octave.steps * fraction))
    return octave._replace(steps=steps, step_size=octave.step_size * (octave.steps * fraction / steps))


def drop_too_small(octaves, layers, gradient_of, path):
    """Leaves out the octaves that are too small for a layer behind a pooling of fixed size, as Inception's classes are.

    Args:
      octaves, layers: list of Octave, from small to large; list of the tensors that the objective is computed from.
      gradient_of: function of float32 [height, width, 3] and a (down, right) shift; its result is not used.
      path: Path of the image, for the message.

    Returns:
      list of Octave.

    Raises:
      InputError: all are too small.
    """
    if all(layer.shape.rank == 4 for layer in layers):  # it has positions, as many as it needs
        return octaves
    for number, octave in enumerate(octaves):
        try:
            gradient_of(np.zeros((octave.height, octave.width, 3), np.float32), (0, 0))
            return octaves[number:]
        except tf.errors.InvalidArgumentError as error:
            reason = str(error).splitlines()[0]
    raise InputError(f'--content {path}: {octave.width} x {octave.height} pixels are too few for this objective '
                     f'({reason}); enlarge the image with --size')


def plot_objective(path, rows):
    """Draws how the objective changed, a curve for each octave, from the rows of metrics.csv."""
    curves = {}
    for row in rows:
        steps, values = curves.setdefault(f'{row["width"]} x {row["height"]}', ([], []))
        steps.append(row['step'])
        values.append(row['objective'])
    plotting.plot_curves(path, curves, 'The objective in each octave', 'step', 'objective')
