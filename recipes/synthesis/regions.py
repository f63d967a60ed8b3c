"""A style for each region: masks or color-coded maps of the photograph and the paintings, brought down to each layer.

A region's Gram matrix counts each position by how much of it belongs to the region: `mask * features` transposed times
`features`, divided by the sum of the mask instead of the number of positions. Regions whose masks add up to 1 share the
picture's positions between them; one that is white everywhere has the Gram matrix of the whole picture.

Source: Gatys, Ecker, Bethge, Hertzmann, Shechtman 2017, Controlling Perceptual Factors in Neural Style Transfer, arXiv
  1611.07865, section 4, guided Gram matrices. There a guidance channel T is squared; our mask is the square.
"""
from pathlib import Path
from typing import Any, NamedTuple, Tuple

import numpy as np
from PIL import Image
from scipy import ndimage

from common import cli, images
from common.errors import InputError
from networks import vgg
from synthesis import color
from synthesis.tiled_loss import num_positions

MOST_REGIONS = 16
LOSSY = {'.jpg', '.jpeg', '.jpe', '.jfif', '.webp'}  # such a file's colors are gathered
FEW_COLORS = 64  # a file with more colors has smooth edges: they are gathered, too
DISTANCE = 60.0  # gray levels between two colors (root of the sum of squares) up to which they are gathered into one
SMALLEST_PART = 0.002  # of a map's pixels: fewer make no color of their own
FLAT = 32  # gray levels between a pixel and its neighbors up to which it is inside an area of its color


class Regions(NamedTuple):
    """Which styles go where."""
    content: Any  # float32 [height, width, regions] in [0, 1]: how much of each pixel belongs to which region
    styles: Tuple  # for each style the same of its own picture; None where all of it is every region's
    weights: Any  # float64 [styles, regions]: how much each style counts in each region; 0: it is not that region's
    name: Path  # of the file whose size `content` has
    of_colors: bool = False  # whether a pixel belongs to one region or another, not in part
    notes: Tuple = ()  # lines about what was made to fit

    @property
    def count(self):
        """How many regions there are."""
        return self.content.shape[-1]

    def content_masks(self, size, layers):
        """Returns the photograph's masks at (height, width), at each layer; see `layer_masks`."""
        return layer_masks(self._resize(self.content, size), layers)

    def style_masks(self, index, size, layers):
        """Returns the same of a style image of (height, width)."""
        own = self.styles[index]
        mask = np.ones([*size, self.count], np.float32) if own is None else self._resize(own, size)
        return layer_masks(mask, layers)

    def notes_for(self, jobs):
        """Returns the notes, and one about each size of the jobs' results that the masks do not have."""
        own = self.content.shape[:2]
        return [*self.notes, *(_note_size(self.name, own, size, 'the result')
                               for size in dict.fromkeys(job.size for job in jobs) if size != own)]

    def painted(self, size):
        """Tells how much of each pixel of a picture of (height, width) is any region's: float32 [height, width, 1]."""
        return self._resize(self.content, size).max(axis=-1, keepdims=True)

    def limit(self, evaluate, start, content):
        """Keeps an optimization to the regions.

        Args:
          evaluate: function of a float32 [height * width * 3] to (losses, gradient).
          start, content: float32 [height, width, 3]: where it starts, and what is to be seen outside the regions.

        Returns:
          (the same function, its gradient 0 outside the regions; the start with the content there).
        """
        inside = self.painted(start.shape[:2]) > 0
        within = np.broadcast_to(inside, start.shape).ravel()

        def evaluate_within(x):
            losses, gradient = evaluate(x)
            return losses, gradient * within
        return evaluate_within, np.where(inside, start, content)

    def restore(self, image, content):
        """Returns a painted image, float32 [height, width, 3], with the content outside the regions, or in part."""
        painted = self.painted(image.shape[:2])
        return painted * image + (1 - painted) * images.resize_image(content, *image.shape[:2])

    def _resize(self, mask, size):
        if not self.of_colors:
            return scale(mask, *size)
        rows, columns = ((np.arange(new) + 0.5) * old / new for new, old in zip(size, mask.shape))
        return mask[rows.astype(int)][:, columns.astype(int)]


def scale(mask, height, width):
    """Scales float32 [any height, any width, regions], without the waves that a sharper filter leaves at edges."""
    return images.resize_image(mask, height, width, Image.Resampling.BILINEAR)


# ---- What the graph is given ----

def layer_masks(mask, layers):
    """Brings masks down to layers: the mean over what a position has of the image.

    A region that fills not even half of any position, though it fills pixels, has vanished: its mask there is 0.

    Args:
      mask: float32 [height, width, regions].
      layers: names of layers.

    Returns:
      dict from layer to float32 [height / stride, width / stride, regions], sizes rounded up.
    """
    found = {}
    for layer in layers:
        stride = vgg.stride(layer)
        blocks = mask
        for axis, side in enumerate(mask.shape[:2]):
            starts = np.arange(0, side, stride)
            counts = np.diff([*starts, side]).astype(np.float32)
            blocks = np.add.reduceat(blocks, starts, axis=axis) / counts.reshape([-1, 1, 1] if axis == 0 else [-1, 1])
        vanished = blocks.max(axis=(0, 1)) < 0.5 * mask.max(axis=(0, 1))
        found[layer] = blocks * ~vanished
    return found


def tile_masks(placeholders, masks, image_tiles):
    """Returns for each tile the feed dict of its interior's masks, from those of `layer_masks`; empty without masks."""
    return [{placeholder: masks[layer][tuple(slice(part.start // vgg.stride(layer), -(-part.stop // vgg.stride(layer)))
                                             for part in tile.interior)][np.newaxis]
             for layer, placeholder in placeholders.items()} for tile in image_tiles]


def areas(keys, size, masks):
    """Computes by what the sums of Gram matrices are divided.

    Args:
      keys: list of (layer, number of a region).
      size: (height, width) of the image.
      masks: dict from `layer_masks`; None where there are no regions.

    Returns:
      float64 [keys], positions; 0 for a region that has vanished.
    """
    return np.array([num_positions(size, vgg.stride(layer)) if masks is None
                     else masks[layer][..., region].sum(dtype=np.float64) for layer, region in keys])


# ---- What the user names ----

def add_options(parser):
    """Adds the options that name masks and maps to the recipe's."""
    add = parser.add_argument_group('regions').add_argument
    add('--mask', nargs='+', type=Path, metavar='FILE',
        help='where in the photograph each of the styles goes: white, gray for in part, black for not at all')
    add('--content-map', type=Path, metavar='FILE', help='the photograph in areas of color, each with a style')
    add('--style-map', nargs='+', type=Path, metavar='FILE',
        help="each style's picture in the same colors: what of it goes where")


def read(masks, content_map, style_maps, styles, blend=None):
    """Reads the masks or maps that the options name.

    Args:
      masks: list of Path, one per style, or None.
      content_map: Path, or None.
      style_maps: list of Path, one per style, or None.
      styles: list of what the styles are called.
      blend: list of the styles' weights, [] or None for equal ones.

    Returns:
      Regions; None if none of the options is given, or the only region is everywhere.

    Raises:
      InputError: options that do not go together, or files that do not.
    """
    if masks and (content_map or style_maps):
        raise InputError(f'--mask and --{"content" if content_map else "style"}-map: masks or maps, not both')
    if bool(content_map) != bool(style_maps):
        raise InputError('--content-map and --style-map: the colors of one are looked up in the other; give both')
    if not (masks or content_map):
        return None
    option, paths = ('--mask', masks) if masks else ('--style-map', style_maps)
    if len(paths) != len(styles):
        raise InputError(f'{option}: {cli.plural(len(paths), "file")} for {cli.plural(len(styles), "style")}; expected '
                         'one for each')
    if masks and blend:
        raise InputError('--mask and the weights of --style-blend: the masks say how much of each style goes where; '
                         'leave the weights out')
    found = from_masks(masks) if masks else from_maps(content_map, style_maps, blend)
    whole = all(mask is None or (mask == 1).all() for mask in (found.content, *found.styles))
    return None if whole and len(styles) == 1 else found  # without a mask the last bits come out the same, too


def from_masks(paths):
    """Makes a region of each grayscale mask: all of the style of the same number, where it is white."""
    found = [images.to_gray(images.load_image(path)) / np.float32(255) for path in paths]
    for path, mask in zip(paths, found):
        if mask.max() < 0.5 / 255:
            raise InputError(f'--mask {path}: black everywhere, so that its style goes nowhere; white is painted')
    content = np.concatenate([scale(mask[..., np.newaxis], *found[0].shape) for mask in found], axis=-1)
    notes = [_note_size(path, mask.shape, found[0].shape, paths[0]) for path, mask in zip(paths, found)
             if mask.shape != found[0].shape]
    return Regions(content=content, styles=(None,) * len(paths), weights=np.eye(len(paths)), name=paths[0],
                   notes=tuple(notes))


def _note_size(name, own, other, of):
    return f'{name} ({own[1]} x {own[0]} pixels) is scaled to the size of {of} ({other[1]} x {other[0]})'


def from_maps(content_path, style_paths, blend=None):
    """Makes a region of each color that the photograph's map and at least one of the styles' have."""
    paths = [content_path, *style_paths]
    labels, palette = label(paths)
    present = [np.isin(np.arange(len(palette)), labels[path]) for path in paths]
    weights = np.array(blend or [1] * len(style_paths), float)[:, np.newaxis] * np.array(present[1:])
    shared = np.flatnonzero(present[0] & (weights.sum(axis=0) > 0))
    for path, colors in zip(style_paths, present[1:]):
        if not (colors & present[0]).any():
            raise InputError(f'--style-map {path}: none of its colors ({_names(palette[colors])}) is in {content_path} '
                             f'({_names(palette[present[0]])})')
    if len(shared) > MOST_REGIONS:
        raise InputError(f'--content-map {content_path}: {len(shared)} regions; expected at most {MOST_REGIONS}')
    alone = present[0].copy()
    alone[shared] = False
    notes = [f'{content_path}: no style has the color {_names(palette[alone])}; what is there stays as it is']
    masks = [(labels[path][..., np.newaxis] == shared).astype(np.float32) for path in paths]
    return Regions(content=masks[0], styles=tuple(masks[1:]), weights=weights[:, shared], name=content_path,
                   of_colors=True, notes=tuple(notes if alone.any() else []))


def label(paths):
    """Reads color-coded maps together.

    Colors are taken as they are where all files have few and none is a JPEG; else the most frequent color gathers what
    is near it, then the most frequent of what is left, and so on.

    Args:
      paths: list of Path.

    Returns:
      (dict from path to int [height, width], numbers of colors; uint8 [colors, 3]).
    """
    pixels = {path: images.load_image(path).round().astype(np.uint8) for path in paths}
    colors = {path: np.unique(found.reshape(-1, 3), axis=0) for path, found in pixels.items()}
    if any(path.suffix.lower() in LOSSY or len(found) > FEW_COLORS for path, found in colors.items()):
        palette = _gather(list(pixels.values()))
    else:
        palette = np.unique(np.concatenate(list(colors.values())), axis=0)
    return {path: nearest(found, palette) for path, found in pixels.items()}, palette


def _gather(pictures):
    """Returns the palette of compressed maps, uint8 [colors, 3]; what is not flat is an edge between two colors."""
    flat = [picture[(ndimage.maximum_filter(picture, (3, 3, 1)) - ndimage.minimum_filter(picture, (3, 3, 1))).max(-1)
                    <= FLAT] for picture in pictures]
    flat = [kept if len(kept) else picture.reshape(-1, 3) for kept, picture in zip(flat, pictures)]
    coarse, which = np.unique(np.concatenate(flat) // 8, axis=0, return_inverse=True)  # a blurred color is frequent
    parts = np.bincount(which.ravel(), weights=np.concatenate([np.full(len(kept), 1 / len(kept)) for kept in flat]))
    coarse, found = coarse * 8.0 + 3.5, []
    while parts.max() > SMALLEST_PART:
        near = np.linalg.norm(coarse - coarse[parts.argmax()], axis=1) <= DISTANCE
        found.append(np.average(coarse[near], axis=0, weights=parts[near] + 1e-12))
        parts = np.where(near, 0, parts)
    return np.array(found).round().astype(np.uint8)


def nearest(pixels, palette):
    """Returns the number of the color nearest to each pixel: uint8 [height, width, 3] to int [height, width]."""
    least, number = np.full(pixels.shape[:2], np.inf, np.float32), np.zeros(pixels.shape[:2], int)
    for index, value in enumerate(palette.astype(np.float32)):
        distance = np.square(pixels - value).sum(axis=-1)
        number[distance < least] = index
        least = np.minimum(distance, least)
    return number


def _names(palette):
    return ', '.join(f'#{bytes(color.tolist()).hex()}' for color in palette[:6]) + ', ...' * (len(palette) > 6)


def finish(image, content, preserve_color='no', guide=None):
    """Returns a painted image, float32 [height, width, 3], as it is to be saved: with the photograph's colors, say."""
    image = color.restore(image, content, preserve_color)
    return guide.restore(image, content) if guide else image
