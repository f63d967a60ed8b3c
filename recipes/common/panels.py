"""Figures of several small panels: matrices with their numbers, images, frames that point out a part of them."""
import numpy as np
from matplotlib.patches import Rectangle

from common import pages
from common.pages import CAPTION_SIZE, COLORS, INK, LABEL_SIZE


def new_panels(rows, columns, width=pages.WIDTH, height=300, heights=None):
    """Makes a Figure of rows and columns of plots without axes.

    Args:
      rows, columns: int.
      width, height: pixels of the figure.
      heights: the rows' relative heights; None for equal ones.

    Returns:
      (matplotlib Figure, list of its Axes, row by row).
    """
    figure = pages.new_figure(width, height, constrained_layout={'w_pad': 0.08, 'h_pad': 0.08})
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={'height_ratios': heights}).ravel().tolist()
    for one in axes:
        one.set_axis_off()
    return figure, axes


def draw_matrix(axes, matrix, title='', frame=None, offset=0, colormap='Blues'):
    """Writes a matrix's numbers into cells, darker for larger ones.

    Args:
      axes: matplotlib Axes.
      matrix: float [height, width].
      title: str.
      frame: (top, left, height, width) of the framed cells, or None.
      offset: int, rows and columns at the border that are padding, and muted.
      colormap: str, matplotlib's name.
    """
    matrix = np.asarray(matrix)
    height, width = matrix.shape
    largest = float(np.abs(matrix).max()) or 1.0
    axes.imshow(matrix, colormap, vmin=-0.2 * largest, vmax=2.2 * largest)
    for (row, column), value in np.ndenumerate(matrix):
        inside = offset <= row < height - offset and offset <= column < width - offset
        axes.text(column, row, f'{value:g}'.replace('-', '−'), ha='center', va='center', fontsize=CAPTION_SIZE,
                  color=INK if inside else '#aaaaaa')
    if frame:
        top, left, *size = frame
        axes.add_patch(make_frame(top, left, *size))
    axes.set_title(title, fontsize=LABEL_SIZE, color=INK)


def make_frame(top, left, height, width, color=COLORS[1]):
    """Returns the frame around some cells or pixels of a plot."""
    return Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=color, linewidth=2.2)


def draw_image(axes, image, title='', colormap='gray', largest=None):
    """Draws an image pixel by pixel.

    Args:
      axes: matplotlib Axes.
      image: [height, width, 3] in [0, 255], or [height, width] of any values.
      title: str.
      colormap: str, matplotlib's name, for [height, width]; the colors of 'RdBu_r' have 0 in their middle.
      largest: float, the value of the last color; None for the image's largest.
    """
    image = np.asarray(image)
    largest = largest or float(np.abs(image).max()) or 1.0
    limits = dict(cmap=colormap, vmin=-largest if colormap == 'RdBu_r' else min(0, image.min()), vmax=largest)
    axes.imshow(np.clip(image / 255, 0, 1) if image.ndim == 3 else image, interpolation='nearest', **limits)
    axes.set_title(title, fontsize=LABEL_SIZE, color=INK)
