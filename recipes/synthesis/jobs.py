"""Which photographs are painted in which styles: files, folders, every pair, and what cannot be painted."""
import collections
import hashlib
import itertools
from pathlib import Path
from typing import NamedTuple

from common import images
from common.errors import InputError
from synthesis import flow_field
from synthesis.sizes import SMALLEST_SIDE

PAINTING_SIZE = (640, 800)  # (height, width) of the painting drawn by code


class Job(NamedTuple):
    """One picture to paint."""

    name: str  # of the result, without extension
    content: Path
    styles: tuple  # of Path; None stands for the painting drawn by code
    size: tuple  # (height, width)


def find_jobs(contents, styles, size, style_scale=1.0, blend=None, upscale=False, stretch=False):
    """Pairs photographs with paintings and looks at every picture.

    Args:
      contents: List of Path, files or folders.
      styles: List of Path, files or folders; None: the painting drawn by code.
      size: Longer side of the results in pixels.
      style_scale: Longer side of the styles, in the content's.
      blend: None to paint every photograph in each style; else every photograph is painted in all at once: their
        shares, or [] for equal ones.
      upscale: Whether a picture may grow to its size.
      stretch: Whether styles take the content's shape.

    Returns:
      (list of `Job`, list of str: why the others are left out).

    Raises:
      InputError: Nothing is left to paint, or shares and styles do not match.
    """
    contents = images.find_images(contents, '--content')
    styles = images.find_images(styles, '--style') if styles else [None]
    if blend and (len(blend) != len(styles) or not sum(blend)):
        raise InputError(f'--style-blend {" ".join(f"{share:g}" for share in blend)}: expected a share for each of the '
                         f'{len(styles)} styles, one of them above 0')
    jobs, mistakes, shapes = [], [], {}
    for content in contents:
        for style_set in [(style,) for style in styles] if blend is None else [tuple(styles)]:
            try:
                final = _fitting_size(content, '--content', size, upscale, shapes)
                for style in style_set:
                    _fitting_size(style, '--style', size if stretch else round(style_scale * max(final)),
                                  upscale or stretch, shapes)
            except InputError as error:
                mistakes.append(str(error))
                continue
            jobs.append(Job(_free_name(content, style_set, jobs), content, style_set, final))
    if not jobs:
        raise InputError(mistakes[0])
    return jobs, list(collections.OrderedDict.fromkeys(mistakes))


def _fitting_size(path, option, longer_side, upscale, shapes):
    """Returns the (height, width) that a picture will have; `shapes` remembers what was read."""
    if path not in shapes:
        try:
            shapes[path] = load_picture(path).shape[:2] if path else PAINTING_SIZE
        except InputError as error:
            shapes[path] = error
    if isinstance(shapes[path], InputError):
        raise shapes[path]
    height, width = images.fit_size(*shapes[path], longer_side, upscale)
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(f'{option} {path}: {width} x {height} pixels at the size asked for; the shorter side has to '
                         f'be {SMALLEST_SIDE} at least')
    return height, width


def _free_name(content, styles, jobs):
    """Names a result after its pictures; a second one of the same name gets a number."""
    name = '_'.join([content.stem, '+'.join(style.stem if style else 'flow_field' for style in styles)])
    taken = {job.name for job in jobs}
    numbered = (f'{name}-{number}' for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def load_picture(path):
    """Returns float32 [height, width, 3] in [0, 255]; for None the painting drawn by code."""
    return images.load_image(path) if path else flow_field.paint(*PAINTING_SIZE)


def files(jobs):
    """Returns the sorted Paths of all pictures that go in."""
    return sorted({path for job in jobs for path in (job.content, *job.styles) if path})


def fingerprints(jobs):
    """Returns the SHA-256 of every picture that goes in, by its path."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(jobs)}
