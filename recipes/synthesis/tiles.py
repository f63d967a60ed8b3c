"""Covers an image with tiles, every pixel once, so that memory does not grow with the image.

The network is shown a tile's crop: the tile's interior and around it a halo as wide as the receptive field, so that
what it computes for the interior equals what it would have computed for the whole image. Cuts lie on the network's grid
(the stride of its deepest layer): a crop that starts off the grid would be pooled in other pairs than the whole image.
"""
from typing import NamedTuple, Tuple


class Tile(NamedTuple):
    """A rectangle of the image and the larger one that the network is shown, each (slice of rows, slice of columns)."""

    interior: Tuple[slice, slice]
    crop: Tuple[slice, slice]  # its gradient is added with `gradient[tile.crop] += crop_gradient`

    @property
    def interior_in_crop(self):
        """Slices that cut the interior from the crop."""
        return tuple(slice(inner.start - outer.start, inner.stop - outer.start)
                     for inner, outer in zip(self.interior, self.crop))

    @property
    def interior_bounds(self):
        """The interior's (top, left, bottom, right) within the crop."""
        rows, columns = self.interior_in_crop
        return rows.start, columns.start, rows.stop, columns.stop


def make_tiles(height, width, tile_size=None, grid=16, halo=0):
    """Covers an image with tiles whose interiors hold every pixel exactly once.

    The interiors are as equal as the grid allows, so that no thin strip is left at the end. A crop ends either a full
    halo beyond its interior or at the image's own border: a network's padding meets only true borders.

    Args:
      height, width: pixels of the image, at least 1.
      tile_size: longest side of an interior in pixels, at least `grid`, rounded down to the grid; None for one tile.
      grid: interiors and crops start at multiples of this many pixels: 16 for VGG down to its fifth block, 32 for
        Inception.
      halo: pixels around an interior that its values depend on; rounded up to the grid.

    Returns:
      list of Tile, from the top left by rows.

    Raises:
      ValueError: a side, the grid or the tile size is too small.
    """
    if min(height, width, grid) < 1 or tile_size is not None and tile_size < grid or halo < 0:
        raise ValueError(f'no tiles of {tile_size} px (grid {grid}, halo {halo}) for an image of {width} x {height}')
    tile_size = tile_size or round_up(max(height, width), grid)
    return [Tile(interior=(rows, columns), crop=(crop_rows, crop_columns))
            for rows, crop_rows in _spans(height, tile_size, grid, halo)
            for columns, crop_columns in _spans(width, tile_size, grid, halo)]


def _spans(size, tile_size, grid, halo):
    """Returns (slice of the interior, of the crop) of each tile along one axis."""
    tile_size -= tile_size % grid
    halo = round_up(halo, grid)
    num_tiles = -(-size // tile_size)
    step = round_up(-(-size // num_tiles), grid)
    cuts = [*range(0, size, step), size]
    return [(slice(start, stop), slice(max(start - halo, 0), min(stop + halo, size)))
            for start, stop in zip(cuts, cuts[1:])]


def round_up(pixels, grid):
    """Returns the smallest multiple of `grid` that is not below `pixels`."""
    return -(-pixels // grid) * grid
