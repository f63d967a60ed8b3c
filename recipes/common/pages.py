"""How the pictures of common.plotting are made up: style, text that fits, images and captions at pixel positions."""
import math
import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from common import images as pictures
from common import shared_folders

DPI = 120
WIDTH = 1000        # pixels of a page, about what a README shows
MARGIN = 16         # pixels
TITLE_SIZE = 12     # points, like the sizes below
LABEL_SIZE = 10
CAPTION_SIZE = 9
INK = '#222222'
GUIDE = '#e4e4e4'   # grid lines and frames
COLORS = ('#1f6fb4', '#e1701a', '#2b8a57', '#b03a8c', '#7a6a53', '#4b4fc0', '#c23b3b', '#0f8b9d')
SMALL_PICTURE = 64  # up to this many pixels a side, a picture is enlarged to be seen


class Page:
    """Pictures and lines of text at pixel positions, on a page that grows with them.

    Positions are counted in pixels to the right of the margin and down from below the title.
    """

    def __init__(self, width, title=None):
        self.width, self.height = width, 0
        self.title = wrap(title, width, TITLE_SIZE * 1.1) if title else ''
        self.drawings = []

    def put(self, image, left, top):
        """Places a picture, [height, width, 3] in [0, 255], pixel for pixel."""
        pixels = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        self.drawings.append(lambda figure, x, y: figure.figimage(
            pixels, x(left), y(top) - len(pixels), origin='upper', resize=False))
        self.width = max(self.width, left + pixels.shape[1])
        self.height = max(self.height, top + pixels.shape[0])

    def write(self, text, left, top, size, centered=False):
        """Places lines of text in `size` points, from `left` on or centered about it."""
        self.drawings.append(lambda figure, x, y: figure.text(
            x(left) / figure.bbox.width, y(top) / figure.bbox.height, plain(text), fontsize=size, color=INK,
            ha='center' if centered else 'left', va='top', linespacing=1.15))
        self.height = max(self.height, top + line_height(size) * (text.count('\n') + 1))

    def put_color_bar(self, colormap, largest, left, top, height):
        """Places the key to a color map that runs from -largest to largest."""
        def draw(figure, x, y):
            axes = figure.add_axes([x(left) / figure.bbox.width, y(top + height) / figure.bbox.height,
                                    14 / figure.bbox.width, height / figure.bbox.height])
            bar = figure.colorbar(ScalarMappable(Normalize(-largest, largest), colormap), cax=axes,
                                  ticks=[-largest, 0, largest])
            bar.set_ticklabels([number(float(f'{value:.2g}')) for value in (-largest, 0, largest)])
            bar.outline.set_visible(False)
            axes.tick_params(labelsize=CAPTION_SIZE, colors=INK, length=0)
        self.drawings.append(draw)
        self.width = max(self.width, left + 76)
        self.height = max(self.height, top + height)

    def draw(self):
        """Returns the matplotlib Figure."""
        above = MARGIN + (line_height(TITLE_SIZE) * (self.title.count('\n') + 1) + 8 if self.title else 0)
        height = above + self.height + MARGIN
        figure = new_figure(self.width + 2 * MARGIN, height)
        for draw in self.drawings:
            draw(figure, lambda left: MARGIN + left, lambda top: height - above - top)
        figure.text(MARGIN / figure.bbox.width, 1 - MARGIN / height, plain(self.title), fontsize=TITLE_SIZE,
                    fontweight='bold', color=INK, va='top')
        return figure


def new_figure(width, height, **options):
    """Makes a matplotlib Figure of this many pixels."""
    # A hundredth of a pixel more: dividing and multiplying by DPI must not end just below the whole number.
    return Figure(figsize=((width + 0.01) / DPI, (height + 0.01) / DPI), dpi=DPI, facecolor='white', **options)


def new_axes(width, height):
    """Makes a Figure of this many pixels with one plot in it; labels and titles find their room by themselves."""
    figure = new_figure(width, height, constrained_layout={'w_pad': MARGIN / DPI, 'h_pad': MARGIN / DPI})
    return figure, figure.add_subplot()


def label(axes, title, xlabel, ylabel, width, pad=10):
    """Writes a plot's title, `pad` points above it in lines of about `width` pixels, and what its axes mean."""
    axes.set_title(plain(wrap(title, width, TITLE_SIZE * 1.1)), loc='left', fontsize=TITLE_SIZE, fontweight='bold',
                   color=INK, pad=pad)
    axes.set_xlabel(plain(xlabel), fontsize=LABEL_SIZE, color=INK)
    axes.set_ylabel(plain(ylabel), fontsize=LABEL_SIZE, color=INK)
    axes.tick_params(which='both', labelsize=CAPTION_SIZE, colors=INK, length=0)


def save(path, figure):
    """Draws a Figure and writes it in the format of the path's extension, whole or not at all."""
    if not shared_folders.is_unseen(path):
        pictures.save_image(path, render(figure))


def render(figure):
    """Draws a Figure; returns uint8 [height, width, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def plain(text):
    """Keeps matplotlib from stumbling over a file's name: a dollar sign starts a formula, other bytes are no text."""
    return str(text).encode(errors='replace').decode().replace('$', r'\$')


def number(value):
    """Writes a number briefly for a reader: 0.25, −3, 25,000, 4×10⁷."""
    if 1e4 <= abs(value) < 1e6:
        return format(value, ',.0f').replace('-', '−')
    mantissa, _, exponent = (f'{value:.4g}').partition('e')
    if exponent:
        mantissa += '×10' + str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))
    return mantissa.replace('-', '−')


def line_height(size):
    """Returns the pixels from one line of text to the next, for a size in points."""
    return int(size * DPI / 72 * 1.3)


def wrap(caption, width, size):
    """Breaks a caption into lines of at most about `width` pixels, where it can between words or after '_'."""
    characters = max(4, int(width / (size * DPI / 72 * 0.55)))
    # a vertical tab is a place to break that shows nothing; a number stays with its percent sign
    lines = str(caption).replace('_', '_\v').replace(' %', '\u00a0%').split('\n')
    return '\n'.join(textwrap.fill(line, characters, replace_whitespace=False) for line in lines).replace('\v', '')


def to_rgb(image):
    """Gives a picture, [height, width] or [height, width, 3], three channels: float32 [height, width, 3]."""
    image = np.asarray(image, np.float32)
    return np.repeat(image[:, :, np.newaxis], 3, axis=2) if image.ndim == 2 else image


def fit(image, side, largest_factor=12):
    """Brings a picture to about `side` pixels, small ones by repeating pixels, large ones by scaling down.

    Args:
      image: [height, width] or [height, width, 3].
      side: pixels of the longer side.
      largest_factor: how much a small picture is enlarged at most.

    Returns:
      float32 [height, width, 3].
    """
    image = to_rgb(image)
    longer = max(image.shape[:2])
    if longer <= SMALL_PICTURE:
        factor = min(max(1, side // longer), largest_factor)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    return pictures.fit(image, side)


def mosaic(tiles, columns, gap):
    """Puts tiles of one size, [height, width, 3], into rows of `columns`, `gap` white pixels apart."""
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    joined = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.float32)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        joined[top:top + height, left:left + width] = tile
    return joined
