"""What style transfer is asked to paint: which images in which styles, under which names, by which layers."""
import itertools
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np
from matplotlib import cbook

from common import cli, files, images
from common.errors import InputError
from networks import vgg
from synthesis import flow_field
from synthesis.sizes import SMALLEST_SIDE

NOISE = 20  # gray levels either way around ImageNet's mean
PAINTING_SIZE = (640, 800)  # (height, width) of the painting drawn by code


class Job(NamedTuple):
    """One image to paint."""

    name: str  # of the result, without extension
    content: Path
    styles: tuple  # of Path; None stands for the painting drawn by code
    size: Tuple[int, int]  # (height, width) of the result


def add_options(parser):
    """Adds the options that name the images."""
    add = parser.add_argument_group('input and output').add_argument
    add('--content', nargs='+', type=Path, metavar='FILE',
        help='photographs: files or folders (default: a portrait that comes with matplotlib)')
    add('--style', nargs='+', type=Path, metavar='FILE',
        help='paintings: files or folders, each applied to every photograph (default: one drawn by code)')
    add('--output', type=Path, metavar='FILE', help="the result, in addition to the one in the run's folder")
    add('--size', type=cli.whole_number(SMALLEST_SIDE), default=512, help='longer side, pixels')
    add('--upscale', action='store_true', help='enlarge images that are smaller than --size')
    add('--style-scale', type=cli.real_number(0.05, 10), default=1.0, metavar='S',
        help='longer side of the style, relative to the content; smaller: finer strokes')
    add('--stretch-style', action='store_true', help="stretch the style to the content's shape")
    add('--style-blend', nargs='*', type=cli.real_number(0), metavar='WEIGHT',
        help='blend all styles into one; without numbers, equally')
    add('--save-every', type=cli.whole_number(1), metavar='N', help='save every N-th intermediate image')


def find_jobs(contents, styles, size, style_scale=1.0, blend=None, upscale=False, stretch=False, opened=None):
    """Pairs content images with style images and reads every one of them.

    Args:
      contents: list of Path, files or folders; None for a portrait that comes with matplotlib.
      styles: list of Path, files or folders; None for a painting drawn by code.
      size: longer side of the results in pixels.
      style_scale: longer side of the styles, relative to the content's.
      blend: None to paint every content image in each style; to paint it in all at once, list of the styles' weights,
        [] for equal ones.
      upscale: whether an image may be enlarged to its size.
      stretch: whether styles take the content's shape.
      opened: film.Film that is to be painted instead of `contents`; None for pictures.

    Returns:
      (list of Job, list of str: why the others are skipped).

    Raises:
      InputError: nothing is left to paint, or weights and styles do not match.
    """
    portrait = Path(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))  # US Navy, public domain
    shapes = {opened.path: (opened.height, opened.width)} if opened else {}
    contents = list(shapes) or (images.find_images(contents, '--content') if contents else [portrait])
    styles = find_styles(styles)
    if blend and (len(blend) != len(styles) or not sum(blend)):
        raise InputError(f'--style-blend {" ".join(f"{weight:g}" for weight in blend)}: expected a weight for each of '
                         f'the {len(styles)} styles, at least one of them above 0')
    jobs, skipped = [], list(opened.problems) if opened else []
    for content in contents:
        for style_set in [(style,) for style in styles] if blend is None else [tuple(styles)]:
            try:
                final = _fitting_size(content, '--content', size, upscale, shapes)
                for style in style_set:
                    _fitting_size(style, '--style', size if stretch else round(style_scale * max(final)),
                                  upscale or stretch, shapes)
            except InputError as error:
                skipped.append(str(error))
                continue
            jobs.append(Job(name=_free_name(content, style_set, jobs), content=content, styles=style_set, size=final))
    if not jobs:
        raise InputError(skipped[-1])
    return jobs, list(dict.fromkeys(skipped))


def find_styles(paths):
    """Lists the style images that files and folders stand for; [None], the painting drawn by code, without any."""
    return images.find_images(paths, '--style') if paths else [None]


def _fitting_size(path, option, longer_side, upscale, shapes):
    """Returns the (height, width) that an image will have; `shapes` remembers what was read."""
    if path not in shapes:
        try:
            shapes[path] = load_image(path).shape[:2] if path else PAINTING_SIZE
        except InputError as error:
            shapes[path] = error
    if isinstance(shapes[path], InputError):
        raise shapes[path]
    height, width = images.fit_size(*shapes[path], longer_side, upscale)
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(f'{option} {path or "(drawn by code)"}: {width} x {height} pixels at the requested size; the '
                         f'shorter side must have at least {SMALLEST_SIDE}')
    return height, width


def _free_name(content, styles, jobs):
    """Names a result after its images; a second one of the same name gets a number."""
    name = files.shorten('_'.join([files.shorten(content.stem, 90),
                                   '+'.join(style.stem if style else 'flow_field' for style in styles)]), 180)
    taken = {job.name for job in jobs}
    numbered = (f'{name}-{number}' for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def load_image(path):
    """Returns float32 [height, width, 3] in [0, 255]; for None the painting drawn by code."""
    return images.load_image(path) if path else flow_field.paint(*PAINTING_SIZE)


def load_start(name, content_image=None, style_images=(None,)):
    """Returns what --init stands for: the content image, the first of the style images, or an image file."""
    known = {'content': content_image, 'noise': content_image, 'style': style_images[0]}
    return known[name] if name in known else images.load_image(name)


def starting_image(size, base, noise_ratio=0.0, seed=0):
    """Makes the image that the optimization starts from.

    Args:
      size: (height, width).
      base: float32 [any height, any width, 3]; scaled to fill the size, its middle is taken.
      noise_ratio: fraction of noise, 0 to 1.
      seed: of the noise.

    Returns:
      float32 [height, width, 3].
    """
    mean = np.array(vgg.MEAN_RGB, np.float32)
    noise = np.random.RandomState(seed).uniform(-NOISE, NOISE, [*size, 3]).astype(np.float32)
    return mean + np.float32(noise_ratio) * noise + np.float32(1 - noise_ratio) * (images.fill(base, *size) - mean)


def make_start(name, noise_ratio, seed, size, content_image, style_images):
    """Makes the image that --init and --noise-ratio stand for; see load_start and starting_image."""
    base = load_start(name, content_image, style_images)
    return starting_image(size, base, 1.0 if name == 'noise' else noise_ratio, seed)


def input_files(jobs, others=()):
    """Returns the sorted Paths of all files that are read; of `others`, those that are not None."""
    return sorted({*filter(None, others), *(path for job in jobs for path in (job.content, *job.styles)
                                            if path and not path.is_dir())})


def fingerprints(jobs, others=()):
    """Returns the SHA-256 of every image that is read, by its path."""
    return {str(path): files.digest(path) for path in input_files(jobs, others)}


def check_output(path, jobs, others=(), opened=None):
    """Finds out, before the work, whether the result can be written where the user wants it, over none of the inputs.

    Args:
      path: Path that --output names, or None.
      jobs: list of Job.
      others: list of what else is read, of Path or None.
      opened: film.Film that is painted, for which film.check_output has looked at the path; None for pictures.

    Raises:
      InputError: it cannot be.
    """
    if path and not opened:
        if path.is_dir() or not path.suffix:
            kind, example = ('a folder', path / 'result.png') if path.is_dir() else ('no extension', f'{path}.png')
            raise InputError(f'--output {path}: {kind}; expected an image file such as {example}')
        images.check_output(path)
        if len(jobs) > 1:
            raise InputError(f"--output {path}: one file for {len(jobs)} images; leave it out: they are saved in the "
                             "run's folder")
    files.check_no_input(path, input_files(jobs, others))


def note_small(jobs, size):
    """Returns a list of at most one line, which says which images are not enlarged to the size asked for."""
    small = [job for job in {job.content: job for job in jobs}.values() if max(job.size) < size]
    if not small:
        return []
    height, width = small[0].size
    which = f'{small[0].content.name} ({width} x {height} pixels) is' if len(small) == 1 else f'{len(small)} images are'
    return [f'{which} smaller than --size {size} and not enlarged; --upscale enlarges']


def parse_layers(texts, network=None, normalize=True):
    """Reads layers and their weights.

    Args:
      texts: list of 'conv1_1' or 'conv1_1:0.5'.
      network: 'vgg16', 'vgg19', or None where either may be used.
      normalize: whether the weights are scaled to sum to 1.

    Returns:
      dict from layer name to weight.

    Raises:
      InputError: no such layer, or a weight that is no number above 0.
    """
    weights = {}
    for text in texts:
        layer, _, weight = text.partition(':')
        vgg.check_layer(layer, network or 'vgg19')
        try:
            weights[layer] = float(weight or 1)
        except ValueError:
            weights[layer] = 0
        if not 0 < weights[layer] < float('inf'):
            raise InputError(f'{text}: the weight of a layer is a number above 0, as in {layer}:0.5')
    total = sum(weights.values()) if normalize else 1
    return {layer: weight / total for layer, weight in weights.items()}
