"""What fast style transfer is asked to paint: numbered styles and blends, paintings, learned styles by their names.

And what a style is learned with: the painting, photographs and crops of them.
"""
import re
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np
from matplotlib import cbook

from common import cli, film, images, plotting
from common.errors import InputError
from networks import style_networks
from synthesis import color, frames, large_pictures, sizes

NUM_STYLES = 26  # that have numbers
SUFFIX = '.style.npz'  # of a learned style's file, after the painting's name
SMOOTH = 0.7  # of a film, if nothing else is asked for
MOST_DRAWS = 100  # of a crop until it shows something
SHEET_SIZE = 220  # pixels of the longer side of a picture on a sheet


class Style(NamedTuple):
    """A style that is asked for: a weighted sum."""
    name: str
    parts: Tuple  # of (weight, number of a style or Path)


class Job(NamedTuple):
    """A photograph to paint in a style."""
    name: str
    content: Path
    style: Style
    size: Tuple[int, int]  # (height, width)


def add_options(parser):
    """Adds the options that name photographs and styles."""
    add = parser.add_argument_group('input and output').add_argument
    add('--content', nargs='+', type=Path, metavar='FILE',
        help='photographs: files or folders; or a video (default: a portrait that comes with matplotlib)')
    add('--style', nargs='+', type=Path, metavar='STYLE',
        help='paintings: files or folders, each applied to every photograph; or learned styles: names or files')
    add('--style-number', nargs='+', metavar='N',
        help='of the 26 styles: 7; several; or a blend, 7:0.5,12:0.5 (default: a sheet of all)')
    add('--style-blend', nargs='*', type=cli.real_number(0), metavar='WEIGHT',
        help='blend all of --style into one; without numbers, equally')
    add('--output', type=Path, metavar='FILE', help="the result, in addition to the one in the run's folder")
    add('--size', type=cli.whole_number(sizes.SMALLEST_SIDE), metavar='PIXELS',
        help="longer side (default: the photograph's own)")
    add('--upscale', action='store_true', help='enlarge images that are smaller than --size')
    add('--export', action='store_true', help='write a SavedModel that paints in this style')
    add = parser.add_argument_group('look').add_argument
    add('--style-scale', type=cli.real_number(0.25, 4), default=1.0, metavar='S',
        help='size at which the network sees a painting; smaller: finer strokes')
    add('--strength', type=cli.real_number(0, 2), default=1.0, metavar='X',
        help="of a painting's style; 0: the photograph's own")
    add('--preserve-color', choices=('no', 'luminance', 'histogram'), default='no',
        help="keep the photograph's colors: paint luminance only, or match a painting's colors to it first")
    add = parser.add_argument_group('films').add_argument
    add('--smooth', type=cli.real_number(0, 1), metavar='X',
        help=f'fraction of the previous frame that is blended in, warped with optical flow (default: {SMOOTH})')
    add('--frames', type=cli.whole_number(1), metavar='N', help='number of frames (default: all)')
    add('--fps', type=cli.real_number(0.1, 240), metavar='N', help="frames per second (default: the video's own)")


def find_styles(numbers, paths, blend, runs_dir):
    """Finds which styles are asked for.

    Args:
      numbers: list of str such as '7' or '7:0.5,12:0.5', or None.
      paths: list of Path: paintings, folders of them, learned styles or their paintings' names; or None.
      blend: list of the paths' weights to blend them all into one, [] for equal ones; or None.
      runs_dir: Path, the folder of the runs in which learned styles are looked for by name.

    Returns:
      (list of Style; str, the kind of network that paints them).

    Raises:
      InputError: a number out of range, a weight that is not above 0, styles of both networks.
    """
    styles = [_numbered(text) for text in numbers or ()]
    found = []
    for path in paths or ():
        learned = None if path.exists() else _learned(path, runs_dir)
        if not (path.suffix or path.exists() or learned):
            raise InputError(f'--style {path}: no such file or folder, nor a style that was learned, in {runs_dir}')
        found += [learned] if learned else [path] if path.name.endswith('.npz') else images.find_images(path, '--style')
    learned = [path for path in found if path.name.endswith('.npz')]
    if found and (len(learned) < len(found) and (learned or styles)):
        raise InputError('--style: paintings are painted by another network than numbered and learned styles; give '
                         'each a command of its own, or --learn the painting')
    if blend is not None and not found:
        raise InputError('--style-blend needs the styles to blend: --style FILE ...; numbers are blended as in '
                         '--style-number 7:0.5,12:0.5')
    if blend and (len(blend) != len(found) or not sum(blend)):
        raise InputError(f'--style-blend {" ".join(f"{weight:g}" for weight in blend)}: expected a weight for each of '
                         f'the {len(found)} styles, at least one of them above 0')
    names = [re.sub(re.escape(SUFFIX) + '$', '', path.name) if path in learned else path.stem for path in found]
    if blend is not None:
        weights = np.array(blend or [1] * len(found), float)
        styles.append(Style(name='+'.join(names), parts=tuple(zip((weights / weights.sum()).tolist(), found))))
    else:
        styles += [Style(name=name, parts=((1.0, path),)) for name, path in zip(names, found)]
    if not styles:
        styles = [_numbered(str(number)) for number in range(NUM_STYLES)]
    return styles, 'any painting' if len(learned) < len(found) else 'multistyle'


def _numbered(text):
    parts = []
    for part in text.split(','):
        number, _, weight = part.partition(':')
        try:
            number, weight = int(number), float(weight or 1)
        except ValueError:
            number, weight = -1, 0.0
        if not 0 <= number < NUM_STYLES:
            raise InputError(f'--style-number {text}: expected numbers from 0 to {NUM_STYLES - 1}, such as 7 or '
                             '7:0.5,12:0.5')
        if not 0 < weight < float('inf'):
            raise InputError(f'--style-number {text}: expected weights above 0, as in 7:0.5,12:0.5')
        parts.append((weight, number))
    total = sum(weight for weight, _ in parts)
    name = 'style' + '+'.join(f'{number:02d}' for _, number in parts)
    return Style(name=name, parts=tuple((weight / total, number) for weight, number in parts))


def _learned(path, runs_dir):
    """Returns the Path of the last style that was learned from a painting of this name; None without one."""
    found = sorted(runs_dir.glob(f'2*/{path.name}{SUFFIX}')) if path.name == str(path) else []
    return found[-1] if found else None


def plan_jobs(contents, styles, size=None, upscale=False):
    """Pairs photographs with styles; returns (list of Job, list of str: why others are skipped)."""
    planned, skipped = [], []
    for path in contents:
        try:
            height, width = images.load_image(path).shape[:2]
            height, width = images.fit_size(height, width, size or max(height, width), upscale)
            if min(height, width) < sizes.SMALLEST_SIDE:
                raise InputError(f'--content {path}: {width} x {height} pixels at the requested size; the shorter side '
                                 f'must have at least {sizes.SMALLEST_SIDE}')
        except InputError as error:
            skipped.append(str(error))
            continue
        number = sum(job.content.stem == path.stem for job in planned) // len(styles)
        stem = f'{path.stem}-{number + 1}' if number else path.stem
        planned += [Job(name=f'{stem}_{style.name}', content=path, style=style, size=(height, width))
                    for style in styles]
    if not planned:
        raise InputError(skipped[0])
    return planned, skipped


def find_photographs(args, asked, kind):
    """Finds what is to be painted, before the network is loaded.

    Returns:
      (list of Job; a film's frames.VideoSource, or None; list of str: why other images are skipped).
    """
    if kind == 'multistyle' and (args.strength != 1 or args.preserve_color == 'histogram'):
        option = '--strength' if args.strength != 1 else '--preserve-color histogram'
        raise InputError(f'{option} needs a painting: --style FILE')
    if args.export and len(asked) > 1:
        raise InputError(f'--export: a SavedModel paints in one style, and {len(asked)} are asked for')
    path = (args.content or [None])[0]
    of_films = [name for name in ('smooth', 'frames', 'fps') if getattr(args, name) is not None]
    is_film = path and (film.is_video(path) or path.is_dir() and of_films)
    if is_film:
        if len(args.content) > 1 or len(asked) > 1:
            raise InputError(f'--content {path}: a film is painted alone, in a single style; name it with '
                             '--style-number 7, say')
        frames.check_output(args)
        opened = film.open_film(path, args.fps, args.frames)
        size = args.size if args.upscale else min(args.size or 10 ** 6, max(opened.height, opened.width))
        large_pictures.check_memory(*images.fit_size(opened.height, opened.width, size, upscale=True))
        return [], frames.VideoSource(opened, SMOOTH if args.smooth is None else args.smooth, size), opened.problems
    if of_films:
        raise InputError(f'--{of_films[0]} needs a video or a folder of frames: --content FILE')
    portrait = Path(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))  # US Navy, public domain
    contents = images.find_images(args.content, '--content') if args.content else [portrait]
    todo, skipped = plan_jobs(contents, asked, args.size, args.upscale)
    large_pictures.check_memory(*max((job.size for job in todo), key=np.prod))
    if args.output and len({job.content for job in todo}) > 1:
        raise InputError(f'--output {args.output}: one file for {len(todo)} images; leave it out: they are saved in '
                         "the run's folder")
    if args.output:
        images.check_output(args.output)
    return todo, None, skipped


def read(styles, network):
    """Reads what styles are made of, to know before the work what cannot be.

    Args:
      styles: list of Style.
      network: style_networks.StyleNetwork.

    Returns:
      dict from a number or Path to its vector, float32 [length], or, of a painting, to float32 [height, width, 3].

    Raises:
      InputError: a file of another kind.
    """
    found = {}
    for part in {part for style in styles for _, part in style.parts}:
        if isinstance(part, int):
            found[part] = network.styles[part]
        elif network.kind == 'multistyle':
            found[part] = style_networks.load_style(part, network)
        else:
            found[part] = load_painting(part, '--style')
    return found


def load_painting(path, option, longer_side=None):
    """Reads a painting, float32 [height, width, 3], scaled down if asked to; InputError where no style is in it."""
    painting = images.load_image(path)
    if longer_side:
        painting = images.fit(painting, longer_side)
    height, width = painting.shape[:2]
    if min(height, width) < sizes.SMALLEST_SIDE:
        raise InputError(f'{option} {path}: {width} x {height} pixels{" as it is seen" if longer_side else ""}; the '
                         f'shorter side must have at least {sizes.SMALLEST_SIDE}')
    if color.is_plain(painting):
        raise InputError(f'{option} {path}: a picture of one color; there is no style in it')
    return painting


def load_photographs(paths):
    """Reads photographs to learn with, a list of float32 [height, width, 3]; InputError where one shows nothing."""
    photographs = [images.load_image(path) for path in paths]
    for path, photograph in zip(paths, photographs):
        if color.is_plain(photograph):
            raise InputError(f'--photos {path}: a picture of one color; nothing can be learned with it')
    return photographs


def draw_crop(photographs, size, random):
    """Draws a square crop, mirrored or not, of one of photographs, whose shorter side is one to two times the crop's.

    One that shows nothing, such as overexposed sky, is drawn again: of the noise that each normalization would make of
    it, the gradient is not finite.

    Args:
      photographs: list of float32 [height, width, 3].
      size: pixels, its side.
      random: np.random.RandomState.
    """
    for _ in range(MOST_DRAWS):
        photograph = photographs[random.randint(len(photographs))]
        height, width = photograph.shape[:2]
        scale = random.uniform(1, 2) * size / min(height, width)
        photograph = images.resize_image(photograph, *(max(size, round(scale * side)) for side in (height, width)))
        top, left = (random.randint(side - size + 1) for side in photograph.shape[:2])
        crop = photograph[top:top + size, left:left + size]
        crop = crop[:, ::-1] if random.randint(2) else crop
        if not color.is_plain(crop):
            break
    return crop


def vector(style, found, predict, photograph=None, strength=1.0, match_colors=False):
    """Computes the vector with which a photograph is painted.

    Args:
      style: Style.
      found: from `read`.
      predict: function of a painting, float32 [height, width, 3], to its vector.
      photograph: float32 [height, width, 3], needed by the two others.
      strength: 1 for the painting's style, 0 for the photograph's own, between or beyond for what lies there.
      match_colors: whether paintings are seen in the photograph's colors.

    Returns:
      float32 [length].
    """
    def seen(part):
        image = found[part]
        if image.ndim == 1:
            return image
        return predict(color.match_histogram(image, photograph) if match_colors else image)
    result = sum(np.float32(weight) * seen(part) for weight, part in style.parts)
    if strength != 1:
        own = predict(photograph)
        result = own + np.float32(strength) * (result - own)
    return result.astype(np.float32)


def draw_sheet(run_dir, todo, output=None):
    """Draws a sheet for each photograph that was painted in several styles: they have no names but their looks.

    Args:
      run_dir: Path, the folder of the pictures.
      todo: list of Job; those whose picture is missing are left out.
      output: Path where the user wants the sheet as well, if it shows all; or None.
    """
    for path in {job.content: None for job in todo}:
        done = [job for job in todo if job.content == path and (run_dir / f'{job.name}.png').exists()]
        if len(done) > 1:
            shown = [images.load_image(image) for image in (path, *(run_dir / f'{job.name}.png' for job in done))]
            sheet = run_dir / f'{path.stem}_sheet.png'
            plotting.plot_image_grid(sheet, [images.fit(image, SHEET_SIZE) for image in shown],
                                     ['photograph', *(job.style.name for job in done)])
            if output and len(done) == len(todo):
                images.save_image(output, images.load_image(sheet))
