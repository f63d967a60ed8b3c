"""A painting drawn by code: brush strokes that follow a flow field with whirls, as a style that needs no download."""
import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

# A night in oils: what the flow carries, from its dark troughs to its lit crests, and the lamps at the whirls' eyes.
PALETTE = np.array([(14, 20, 58), (22, 44, 104), (34, 82, 150), (64, 130, 184), (128, 178, 186), (222, 214, 160)])
LAMP = np.array([(250, 200, 70), (236, 140, 44), (255, 240, 190)], float)
OVERSAMPLING = 2  # strokes are drawn so many times larger: smooth edges
# Passes from underpainting to highlights: width and length of a stroke as parts of the shorter side, layers of paint.
PASSES = ((0.040, 0.20, 2.5), (0.018, 0.16, 2.5), (0.008, 0.10, 2.0))


def paint(height, width, seed=0):
    """Paints whirls in a night sky.

    Args:
      height, width: Pixels.
      seed: Another seed, another painting.

    Returns:
      float32 [height, width, 3], RGB in [0, 255].
    """
    random = np.random.RandomState(seed)
    height, width = height * OVERSAMPLING, width * OVERSAMPLING
    potential, glow = _potential(height, width, random)
    # Along the contours of the potential: the field turns around its hills and hollows and has no sinks.
    down, across = np.gradient(ndimage.gaussian_filter(potential, 2))
    angle = np.arctan2(-across, down)
    colors = _colors(potential, glow)
    canvas = Image.fromarray(np.clip(colors, 0, 255).astype(np.uint8))  # the ground between strokes
    for thickness, length, density in PASSES:
        _stroke(canvas, angle, colors, thickness * min(height, width), length * min(height, width), density, random)
    painting = canvas.resize((width // OVERSAMPLING, height // OVERSAMPLING), Image.Resampling.LANCZOS)
    return np.asarray(painting, np.float32)


def _potential(height, width, random):
    """Returns the height whose contours the strokes follow, and how near a whirl's lit eye is: [height, width]."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    unit = min(height, width)
    noise = random.randn(height // 16 + 1, width // 16 + 1)
    smooth = ndimage.gaussian_filter(noise, unit / 16 / 5, mode='reflect')
    smooth = ndimage.zoom(smooth / smooth.std(), (height / smooth.shape[0], width / smooth.shape[1]), order=1)
    potential = 0.35 * smooth[:height, :width] + 1.2 * rows / unit
    glow = np.zeros_like(rows)
    # One whirl per cell of a coarse grid, somewhere in its cell, so that they neither crowd nor leave holes.
    for row in np.arange(0.22, height / unit, 0.5):
        for column in np.arange(0.2, width / unit, 0.48):
            y, x = (row + random.uniform(-.1, .1)) * unit, (column + random.uniform(-.1, .1)) * unit
            radius = random.uniform(0.09, 0.2) * unit
            distance = np.hypot(rows - y, columns - x) / radius
            potential += random.choice([-1, 1]) * random.uniform(0.7, 1.4) * np.exp(-distance ** 2)
            glow = np.maximum(glow, np.exp(-(distance / random.uniform(0.35, 0.6)) ** 2))
    return potential, glow


def _colors(potential, glow):
    """Returns the color of a stroke that begins at a point: float [height, width, 3]."""
    bands = 0.5 + 0.5 * np.sin(potential * 9)  # crests and troughs along the flow
    place = np.clip(bands * 0.85 + 0.1 * (potential - potential.mean()), 0, 1) * (len(PALETTE) - 1)
    below = np.minimum(place.astype(int), len(PALETTE) - 2)
    part = (place - below)[..., np.newaxis]
    sky = PALETTE[below] * (1 - part) + PALETTE[below + 1] * part
    ring = np.clip(glow * 2, 0, 1)[..., np.newaxis]
    lamp = np.where((bands > 0.55)[..., np.newaxis], LAMP[0], LAMP[1]) * (1 - glow[..., np.newaxis] ** 4) \
        + LAMP[2] * glow[..., np.newaxis] ** 4
    return sky * (1 - ring) + lamp * ring


def _stroke(canvas, angle, colors, thickness, length, density, random):
    """Draws one pass of strokes onto the canvas: each follows the field, and has bristles of slightly other colors."""
    height, width = angle.shape
    draw = ImageDraw.Draw(canvas)
    step = max(thickness / 2, 2)
    points = max(int(length / step), 4)
    for _ in range(int(density * height * width / (thickness * length))):
        start = random.uniform(-0.04, 1.04) * height, random.uniform(-0.04, 1.04) * width  # over the edge, too
        color = _at(colors, *start) + random.randn() * 12 + random.randn(3) * 7
        ends = [_follow(angle, *start, step * way, points // 2) for way in (-1, 1)]
        _bristles(draw, ends[0][:0:-1] + ends[1], color, thickness, random)


def _follow(angle, y, x, step, points):
    path = []
    for _ in range(points):
        path.append((x, y))
        towards = _at(angle, y, x)
        y, x = y + step * math.sin(towards), x + step * math.cos(towards)
    return path


def _at(field, y, x):
    """Returns a field's value at a point; beyond the edge, the edge's."""
    return field[min(max(int(y), 0), len(field) - 1), min(max(int(x), 0), field.shape[1] - 1)]


def _bristles(draw, path, color, thickness, random):
    """Draws a stroke as a few parallel lines, lit on one side."""
    path = np.array(path)
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.hypot(*along.T)[:, np.newaxis], 1e-6)
    across = along[:, ::-1] * [-1, 1]
    count = max(int(thickness / 5), 2)
    for bristle in range(count):
        offset = (bristle + 0.5) / count - 0.5
        light = 22 * offset + random.randn() * 9
        line = path + across * offset * thickness * 0.9
        start = random.randint(0, 2)
        end = len(line) - random.randint(0, 2)
        shade = tuple(np.clip(color + light, 0, 255).astype(int))
        draw.line([tuple(point) for point in line[start:end]], fill=shade, width=max(int(thickness / count) + 1, 1))
