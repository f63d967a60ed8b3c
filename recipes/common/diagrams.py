"""The diagrams of the ideas behind convolutional networks, and the page (HTML) that shows them; see concepts.py.

A diagram is a figure of several panels: matrices with their numbers, images, frames that point out a part of them.
"""
import html

import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

from common import files, pages
from common.pages import CAPTION_SIZE, COLORS, GUIDE, INK, LABEL_SIZE


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


# ---- The diagrams: a function for each idea, named as in concepts.py, of the values that it computed ----

def convolution(path, image, kernel, turned, valid, convolved, same):
    """Draws how each output cell of a 3×3 kernel over 5×5 cells comes about."""
    figure, axes = new_panels(3, 5, height=660)
    for (row, column), value in np.ndenumerate(valid):
        products = (image[row:row + 3, column:column + 3] * kernel).ravel()
        terms = ' + '.join(f'{product:g}' for product in products if product).replace('+ -', '− ')
        draw_matrix(axes[5 * row + column], image, f'{terms} = {value:g}', (row, column, 3, 3))
    draw_matrix(axes[3], kernel, 'kernel')
    draw_matrix(axes[4], turned, 'kernel, turned')
    draw_matrix(axes[8], valid, 'VALID', colormap='Oranges')
    draw_matrix(axes[9], convolved, 'VALID, turned kernel', colormap='Oranges')
    draw_matrix(axes[13], same, 'SAME', (1, 1, 3, 3), colormap='Oranges')
    draw_matrix(axes[14], np.pad(image, 1, 'constant'), 'what SAME sees', offset=1)
    pages.save(path, figure)


def sliding_kernel(path, padded, output, size=3):
    """Draws an animation, a frame for each cell of the output; returns the number of frames."""
    shown = []
    for row, column in np.ndindex(*output.shape):
        figure, axes = new_panels(1, 2, 520, 300)
        so_far = np.where(np.arange(output.size).reshape(output.shape) <= len(shown), output, 0)
        draw_matrix(axes[0], padded, 'input, padded', (row, column, size, size), size // 2)
        draw_matrix(axes[1], so_far, 'output', (row, column, 1, 1), colormap='Oranges')
        shown.append(Image.fromarray(pages.render(figure)).quantize(32))
    with files.replacing(path) as beside:
        shown[0].save(str(beside), 'GIF', save_all=True, append_images=shown[1:], duration=400, loop=0)
    return len(shown)


def stride_and_dilation(path, image, strided, spread, dilated, counts):
    """Draws both, and {(size, kernel, stride): list of how many cells of a row each position of SAME sees}."""
    figure, axes = new_panels(2, 4, height=460)
    draw_matrix(axes[0], image, 'input', (0, 0, 3, 3))
    draw_matrix(axes[1], strided, 'stride 2', colormap='Oranges')
    draw_matrix(axes[2], spread, 'kernel, dilation 2')
    draw_matrix(axes[3], dilated, 'dilation 2', colormap='Oranges')
    for one, ((size, kernel, stride), count) in zip(axes[4:], counts.items()):
        draw_matrix(one, [count], f'{size} ones, kernel {kernel},\nstride {stride}, SAME', colormap='Oranges')
    pages.save(path, figure)


def output_sizes(path, table, size, kernels, columns, framed):
    """Draws the table of positions by kernel size and (stride, padding)."""
    figure, (axes,) = new_panels(1, 1, height=360)
    draw_matrix(axes, table, f'positions, for n = {size}', (*framed, 1, 1), 0, 'Greens')
    axes.set_axis_on()
    axes.set_xticks(range(len(columns)))
    axes.set_xticklabels([f's = {stride}\np = {padding}' for stride, padding in columns], fontsize=CAPTION_SIZE)
    axes.set_yticks(range(len(kernels)))
    axes.set_yticklabels([f'k = {kernel}' for kernel in kernels], fontsize=CAPTION_SIZE)
    axes.tick_params(length=0)
    pages.save(path, figure)


def layouts(path, image, in_memory):
    """Draws {name of a layout: values in their order in memory}, and the two channels of the image."""
    figure, axes = new_panels(3, 1, height=330)
    for one, (name, values) in zip(axes, in_memory.items()):
        draw_matrix(one, values[np.newaxis], f'{name}: the order in memory')
    draw_matrix(axes[2], np.hstack(np.moveaxis(image, 2, 0)), 'the two channels as images of 2×3 pixels',
                (0, 0, *image.shape[:2]))
    pages.save(path, figure)


def shared_weights(path, digits, maps):
    """Draws {title: digit} and beside each the feature maps of it, {name: a map for each digit}."""
    figure, axes = new_panels(2, 3, height=420)
    for row, (title, image) in enumerate(digits.items()):
        draw_image(axes[3 * row], 255 - image, title)
        for column, (name, pair) in enumerate(maps.items(), 1):
            draw_image(axes[3 * row + column], pair[row], name, 'RdBu_r')
    pages.save(path, figure)


def pooling(path, patch, largest, mean, changes):
    """Draws both kinds of pooling, and {size of pooling: change by each number of pixels moved}."""
    figure, axes = new_panels(1, 4, height=300)
    draw_matrix(axes[0], patch, 'patch', (0, 0, 2, 2))
    draw_matrix(axes[1], largest, 'max pooling', (0, 0, 1, 1), colormap='Oranges')
    draw_matrix(axes[2], mean, 'average pooling', (0, 0, 1, 1), colormap='Oranges')
    axes[3].set_axis_on()
    for color, (size, values) in zip(COLORS, changes.items()):
        axes[3].plot(range(len(values)), values, color=color, marker='o', markersize=3,
                     label='no pooling' if size == 1 else f'{size}×{size}')
    axes[3].set_ylim(0, 2.2)
    axes[3].set_title('change by pixels moved', fontsize=LABEL_SIZE, color=INK)
    axes[3].legend(frameon=False, fontsize=CAPTION_SIZE, ncol=2, loc='upper left', columnspacing=1, handlelength=1)
    pages.save(path, figure)


def receptive_fields(path, square, fields):
    """Draws the last layer's field of each network on a square photograph; {network: [(layer, field, jump)]}."""
    figure, axes = new_panels(1, 2, height=520)
    draw_image(axes[0], square)
    row, place, side = 0, '{:<10} {:>5} {:>6}'.format, len(square)
    for color, (network, layers) in zip(COLORS, fields.items()):
        field = layers[-1][1]
        lines = [f'{network:<15} ' + place('layer', 'r', 'jump') if row == 0 else network]
        lines += [' ' * 16 + place(*layer) for layer in (layers[2:-1:3] + layers[-1:])]
        axes[1].text(0, 1 - row / 32, '\n'.join(lines), family='monospace', fontsize=8, va='top', color=color)
        row += len(lines) + 1
        axes[0].add_patch(make_frame((side - field) / 2, (side - field) / 2, field, field, color))
    axes[0].set_xlim(-0.5, side - 0.5)
    axes[0].set_ylim(side - 0.5, -0.5)
    pages.save(path, figure)


def effective_field(path, profiles, gradient, frame, title):
    """Draws {number of layers: gradient of one unit}, and a measured gradient with the theoretical field's frame."""
    figure, axes = new_panels(1, 3, height=330)
    draw_matrix(axes[0], profiles[2], 'gradient through\ntwo layers of 3×3 ones')
    axes[1].set_axis_on()
    for color, (depth, profile) in zip(COLORS, profiles.items()):
        label = f'{depth} layers' if depth > 1 else '1 layer'
        axes[1].plot(range(-depth, depth + 1), profile[depth] / profile[depth].max(), color=color, label=label)
    axes[1].legend(frameon=False, fontsize=CAPTION_SIZE)
    axes[1].set_title('relative to the peak', fontsize=LABEL_SIZE, color=INK)
    draw_image(axes[2], gradient, title, 'magma')
    axes[2].add_patch(make_frame(*frame))
    pages.save(path, figure)


def kernels_and_filters(path, kernels, results, filters):
    """Draws what each kernel, by name, makes of a photograph, and the filters of a trained network's first layer."""
    figure, axes = new_panels(3, 2, height=780, heights=[3, 3, 1])
    for one, (name, image) in zip(axes, results.items()):
        edges = 'edges' in name
        draw_image(one, image if edges else np.clip(image, 0, 255), name, 'RdBu_r' if edges else 'gray')
    largest = np.abs(filters).max()
    tiles = [pages.fit(np.squeeze(127.5 * (one / largest + 1)), 40) for one in np.moveaxis(filters, 3, 0)]
    draw_image(axes[4], pages.mosaic(tiles, 8, 4), "a trained network's first filters; gray is 0")
    text = '\n\n'.join(f'{name}: {np.round(kernel, 2).tolist()}' for name, kernel in kernels.items())
    axes[5].text(0, 1, text, fontsize=CAPTION_SIZE, va='top', color=INK)
    pages.save(path, figure)


def sound(path, seconds, wave, energy, extent):
    """Draws a sound wave, and the energy of each filter's answer over time; extent: (first, last second, Hz, Hz)."""
    figure, axes = new_panels(2, 1, height=420)
    axes[0].plot(seconds, wave, color=COLORS[0], linewidth=1)
    axes[0].set_title('the first quarter of a second of the chirp', fontsize=LABEL_SIZE, color=INK)
    axes[1].set_axis_on()
    axes[1].imshow(energy.T, 'magma', aspect='auto', origin='lower', extent=extent)
    pages.label(axes[1], 'which filter answers when', 'seconds', 'Hz', 600)
    pages.save(path, figure)


def clip(path, bar, kernel, answers):
    """Draws frames of a clip, a kernel of time and width, and what both kernels answer to it and its mirror image."""
    figure, axes = new_panels(2, 4, height=400)
    for one, frame in zip(axes, (0, 2, 4)):
        draw_image(one, 255 * (1 - bar[frame]), f'frame {frame + 1}')
    draw_matrix(axes[3], kernel, 'kernel “to the right”:\ntime down, width across')
    for one, answer, name in zip(axes[4::2], answers, ('the bar moves right', 'the bar moves left')):
        draw_image(one, answer[2, :, :, 0], f'{name}:\n“to the right” gives {answer[..., 0].max():g}', 'magma', 3)
    for one, answer in zip(axes[5::2], answers):
        draw_image(one, answer[2, :, :, 1], f'\n“to the left” gives {answer[..., 1].max():g}', 'magma', 3)
    pages.save(path, figure)


# ---- The page ----

def write_page(path, title, ideas):
    """Writes a page of sections: [(name of a picture beside it, text, {name: numbers})]."""
    parts = []
    for picture, text, numbers in ideas:
        heading = picture.partition('.')[0].replace('_', ' ').capitalize()
        rows = ''.join(f'<tr><td>{html.escape(str(key))}</td><td>{html.escape(spell(value))}</td></tr>'
                       for key, value in numbers.items())
        parts.append(f'<h2>{heading}</h2>\n<p>{html.escape(" ".join(text.split()))}</p>\n'
                     f'<img src="{picture}" alt="{heading}">\n<table>{rows}</table>\n')
    text = (f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
            '<style>body{font:16px sans-serif;max-width:1040px;margin:2em auto}td{padding:0 1em 0 0;'
            f'border-top:1px solid {GUIDE}}}img{{max-width:100%}}</style>\n<h1>{title}</h1>\n'
            + ''.join(parts) + '</html>\n')
    with files.replacing(path) as beside:
        beside.write_text(text, encoding='utf-8')


def spell(value):
    """Writes numbers for the page: those of a matrix row by row."""
    if isinstance(value, dict):
        return ', '.join(f'{key} {spell(one)}' for key, one in value.items())
    if np.ndim(value):
        return ('; ' if np.ndim(value) > 1 else ' ').join(map(spell, value))
    return value if isinstance(value, str) else pages.number(value)
