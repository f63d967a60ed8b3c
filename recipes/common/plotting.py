"""Figures: curves, image grids, confusion matrix, filters, activations, sheets.

Every function writes one file, in the format of its extension (common.images.FORMATS), without pyplot and without
matplotlib's global settings. Images inside it are placed pixel by pixel, small ones enlarged by whole numbers without
smoothing, so that what is shown is what the network saw.
"""
import math

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.colors import PowerNorm

from common import images as pictures
from common import pages
from common.pages import CAPTION_SIZE, COLORS, GUIDE, INK, LABEL_SIZE, MARGIN, WIDTH

MAX_CHANNELS = 64   # of a layer's activations
BOX_COLOR = 214, 39, 40


def plot_curves(path, curves, title, xlabel, ylabel, log=False):
    """Draws one or more curves over a common x axis, which starts where the data starts.

    Args:
      path: where to write it.
      curves: {label: (x values, y values)}; values that are not finite leave a gap. One curve gets no legend.
      title, xlabel, ylabel: str.
      log: whether the y axis is logarithmic, where there is something positive to show on it.
    """
    pages.save(path, _draw_curves(curves, title, xlabel, ylabel, log))


def _draw_curves(curves, title, xlabel, ylabel, log):
    figure, axes = pages.new_axes(WIDTH, 540)
    for number, (label, (x_values, y_values)) in enumerate(curves.items()):
        few = len(x_values) <= 40
        axes.plot(x_values, y_values, label=pages.plain(label), color=COLORS[number % len(COLORS)],
                  linewidth=1.8 if few else 1.2, marker='o' if few else None, markersize=4)
    every_x = np.concatenate([np.asarray(x_values, float) for x_values, _ in curves.values()])
    every_y = np.concatenate([np.asarray(y_values, float) for _, y_values in curves.values()])
    if every_x.size:
        edge = 0.01 * np.ptp(every_x) or 1  # room for half a marker
        axes.set_xlim(every_x.min() - edge, every_x.max() + edge)
    whole = bool((every_x == np.rint(every_x)).all())
    axes.xaxis.set_major_locator(ticker.MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=whole))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: pages.number(value)))
    _set_y_axis(axes, every_y[np.isfinite(every_y)], log)
    axes.grid(True, color=GUIDE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines:
        axes.spines[side].set_visible(side == 'bottom')
        axes.spines[side].set_color('#999999')
    rows = math.ceil(len(curves) / 4) if len(curves) > 1 else 0
    columns = math.ceil(len(curves) / max(rows, 1))
    pages.label(axes, title, xlabel, ylabel, WIDTH - 80, pad=10 + 17 * rows)
    if rows:
        axes.legend(loc='lower left', bbox_to_anchor=(-0.01, 1), ncol=columns, frameon=False, fontsize=LABEL_SIZE,
                    borderaxespad=0.3, handlelength=1.5, labelcolor=INK)
    return figure


def _set_y_axis(axes, values, log):
    """Chooses the y axis's kind, and ticks and labels that suit what it spans."""
    plain_steps = ticker.MaxNLocator(nbins=8, steps=[1, 2, 5, 10])
    decades = 0.0
    if log and (values > 0).any():
        axes.set_yscale('log')
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        decades = math.log10(values.max() / values[values > 0].min())
    axes.yaxis.set_major_locator(ticker.LogLocator() if decades > 3 else
                                 ticker.LogLocator(subs=(1, 2, 5)) if decades > 0.7 else plain_steps)
    axes.yaxis.set_major_formatter(ticker.LogFormatterMathtext() if decades > 3 else
                                   ticker.FuncFormatter(lambda value, _: pages.number(value)))


def plot_image_grid(path, images, captions=None, columns=None, title=None):
    """Draws pictures in rows, each with its caption below.

    Args:
      path: where to write it.
      images: arrays [height, width] or [height, width, 3] in [0, 255], of any sizes.
      captions: str for each, or None.
      columns: how many in a row; by default about as many as rows.
      title: str or None.
    """
    images = list(images)
    if not images:  # a perfect network makes no mistakes
        page = pages.Page(400, title)
        page.write('none', 0, 0, LABEL_SIZE)
        pages.save(path, page.draw())
        return
    columns = columns or max(1, math.ceil(math.sqrt(len(images))))
    gap = 10 if captions else 4
    shown = [pages.fit(image, (WIDTH - 2 * MARGIN + gap) // columns - gap) for image in images]
    cell_width = max(image.shape[1] for image in shown)
    size = CAPTION_SIZE if cell_width >= 80 else 7
    captions = [pages.wrap(caption, cell_width + gap - 4, size) for caption in captions or [''] * len(shown)]
    page = pages.Page(columns * (cell_width + gap) - gap, title)
    for start in range(0, len(shown), columns):
        top = page.height + (gap if start else 0)
        bottom = top + max(image.shape[0] for image in shown[start:start + columns])
        for column, (image, caption) in enumerate(zip(shown[start:start + columns], captions[start:start + columns])):
            left = column * (cell_width + gap)
            page.put(image, left + (cell_width - image.shape[1]) // 2, top + (bottom - top - image.shape[0]) // 2)
            if caption:
                page.write(caption, left + cell_width / 2, bottom + 3, size, centered=True)
    pages.save(path, page.draw())


def with_boxes(image, boxes):
    """Draws boxes into a picture.

    Args:
      image: [height, width] or [height, width, 3] in [0, 255].
      boxes: int [num_boxes, 4], top, left, bottom and right.

    Returns:
      float32 [height, width, 3].
    """
    image = pages.to_rgb(image).copy()
    width = max(1, max(image.shape[:2]) // 150)  # seen when the picture is made smaller
    for top, left, bottom, right in boxes:
        inside = image[top:bottom, left:right].copy()
        image[max(0, top - width):bottom + width, max(0, left - width):right + width] = BOX_COLOR
        image[top:bottom, left:right] = inside
    return image


def plot_confusion_matrix(path, matrix, class_names, title):
    """Draws a confusion matrix with its counts, colored by the fraction of the true class, and the accuracy above.

    The one color scale goes by the square root, so that a few mistakes show beside thousands of correct answers.

    Args:
      path: where to write it.
      matrix: int [classes, classes], rows the true classes, columns the predicted ones.
      class_names: str for each class.
      title: str, which the accuracy is added to.
    """
    matrix = np.asarray(matrix)
    num_classes = len(matrix)
    classes = np.arange(num_classes)
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = 110 if num_classes <= 5 else 64 if num_classes <= 12 else 48  # pixels
    side = max(num_classes * cell, 360) + 110
    figure, axes = pages.new_axes(side + 110, side + 20)
    image = axes.imshow(fractions, 'Blues', norm=PowerNorm(0.5, 0, 1), interpolation='nearest')
    for row, column in np.argwhere((matrix > 0) | np.eye(num_classes, dtype=bool)):
        axes.text(column, row, str(matrix[row, column]), ha='center', va='center', fontsize=9 if cell >= 64 else 7,
                  color='white' if fractions[row, column] > 0.4 else INK, in_layout=False)
    names = [pages.plain(name) for name in class_names]
    slanted = max(len(name) for name in names) * 8 > cell
    axes.set_xticks(classes)
    axes.set_xticklabels(names, rotation=45 if slanted else 0, ha='right' if slanted else 'center',
                         rotation_mode='anchor')
    axes.set_yticks(classes)
    axes.set_yticklabels(names)
    axes.set_xticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which='minor', color=GUIDE, linewidth=1)
    axes.set_frame_on(False)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1], shrink=0.7, aspect=30)
    bar.ax.set_yticklabels(['0', '1 %', '10 %', '25 %', '50 %', '100 %'])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=CAPTION_SIZE, colors=INK, length=0)
    bar.set_label('of the true class', fontsize=CAPTION_SIZE, color=INK)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    pages.label(axes, f'{title}: {100 * accuracy:.2f} % of {matrix.sum():,} correct', 'predicted', 'true', side)
    pages.save(path, figure)


def plot_filters(path, filters, title):
    """Draws the filters of a first convolution, all in one range that is symmetric about 0.

    Args:
      path: where to write it.
      filters: float [height, width, in, out]; in is 1 (blue is negative, white 0, red positive) or 3 (RGB, gray is 0).
      title: str.
    """
    filters = np.asarray(filters, np.float32)
    height, width, channels, count = filters.shape
    if channels not in (1, 3):
        raise ValueError(f'filters over {channels} channels cannot be shown; 1 or 3 can')
    largest = float(np.abs(filters).max()) or 1.0
    if channels == 1:
        colors = 255 * matplotlib.colormaps['RdBu_r']((filters[:, :, 0] / largest + 1) / 2)[..., :3]
        tiles = np.moveaxis(colors, 2, 0)
    else:
        tiles = np.moveaxis(127.5 * (filters / largest + 1), 3, 0)
    columns = _even_columns(count, 16)
    mosaic = pages.mosaic([pages.fit(tile, 56, 56) for tile in tiles], columns, gap=6)
    page = pages.Page(max(mosaic.shape[1], 400), title)
    page.put(mosaic, 0, 0)
    if channels == 1:
        page.put_color_bar('RdBu_r', largest, mosaic.shape[1] + 24, 0, min(mosaic.shape[0], 240))
    else:
        page.write(f'Gray is 0; black and full color are ±{largest:.2g}.', 0, mosaic.shape[0] + 6, CAPTION_SIZE)
    pages.save(path, page.draw())


def plot_activations(path, image, layers, title):
    """Draws what each layer makes of one picture: a strip of its channels per layer, black 0 or least, bright most.

    Args:
      path: where to write it.
      image: the picture, [height, width] or [height, width, 3] in [0, 255].
      layers: {layer name: float [height, width, channels]}; the first MAX_CHANNELS channels of each are shown.
      title: str.
    """
    picture = pages.fit(image, 112)
    indent = picture.shape[1] + 28
    page = pages.Page(WIDTH, title)
    page.put(picture, 0, pages.line_height(LABEL_SIZE))
    page.write('input', 0, 0, LABEL_SIZE)
    top = 0
    for name, activations in layers.items():
        activations = np.asarray(activations, np.float32)
        shown = np.moveaxis(activations[:, :, :MAX_CHANNELS], 2, 0)
        least, most = min(0.0, float(shown.min())), float(shown.max())
        colors = 255 * matplotlib.colormaps['magma']((shown - least) / max(most - least, 1e-12))[..., :3]
        side = max(activations.shape[:2])  # doubled while it fits: pooling by 2 leaves maps the size they were
        side = side * 2 ** int(math.log2(64 / side)) if side <= 64 else 64
        mosaic = pages.mosaic([pages.fit(tile, side, side) for tile in colors], 16, gap=2)
        caption = f"{name}    {' × '.join(map(str, activations.shape))}"
        if activations.shape[2] > MAX_CHANNELS:
            caption += f' (the first {MAX_CHANNELS})'
        page.write(caption, indent, top, LABEL_SIZE)
        page.put(mosaic, indent, top + pages.line_height(LABEL_SIZE))
        top += pages.line_height(LABEL_SIZE) + mosaic.shape[0] + 14
    pages.save(path, page.draw())


def plot_sheet(path, images, captions):
    """Draws pictures side by side at the same height, captions below: content, style and result for instance.

    Args:
      path: where to write it.
      images: arrays [height, width] or [height, width, 3] in [0, 255], of any sizes.
      captions: str for each.
    """
    images = [pages.to_rgb(image) for image in images]
    gap = 10
    ratio = sum(image.shape[1] / image.shape[0] for image in images)
    widest = 1.5 * WIDTH - 2 * MARGIN - gap * (len(images) - 1)
    height = max(1, round(min(480, widest / ratio, max(image.shape[0] for image in images))))
    shown = [pictures.resize_image(image, height, max(1, round(image.shape[1] * height / image.shape[0])))
             for image in images]
    page = pages.Page(sum(image.shape[1] + gap for image in shown) - gap, None)
    left = 0
    for image, caption in zip(shown, captions):
        page.put(image, left, 0)
        page.write(pages.wrap(caption, image.shape[1], LABEL_SIZE), left + image.shape[1] / 2, height + 5, LABEL_SIZE,
                   centered=True)
        left += image.shape[1] + gap
    pages.save(path, page.draw())


def plot_rows(path, rows, title, gap=10):
    """Draws rows of pictures pixel for pixel, each with its caption below, a row with its heading above.

    Args:
      path: where to write it.
      rows: list of (heading, list of (image, caption)): str, '' for none; [height, width] or [height, width, 3] in
        [0, 255], of any sizes.
      title: str.
      gap: pixels between pictures.
    """
    cell_width = max(image.shape[1] for _, row in rows for image, _ in row)
    page = pages.Page(max(len(row) for _, row in rows) * (cell_width + gap) - gap, title)
    for heading, row in rows:
        top = page.height + (gap if page.height else 0)
        if heading:
            page.write(heading, 0, top, LABEL_SIZE)
            top += pages.line_height(LABEL_SIZE)
        below = top + max(image.shape[0] for image, _ in row) + 3
        for column, (image, caption) in enumerate(row):
            left = column * (cell_width + gap)
            page.put(pages.to_rgb(image), left + (cell_width - image.shape[1]) // 2, top)
            page.write(pages.wrap(caption, cell_width + gap, CAPTION_SIZE), left + cell_width / 2, below, CAPTION_SIZE,
                       centered=True)
    pages.save(path, page.draw())


def _even_columns(count, most):
    """Chooses how many tiles in a row, up to `most`: what fills the last row, and rather long rows than many."""
    full = [columns for columns in range(4, most + 1) if count % columns == 0]
    return max(full, default=min(count, most))
