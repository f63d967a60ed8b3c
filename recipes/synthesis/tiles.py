"""Cover a picture with tiles, every pixel once, so that memory stays flat while the picture grows.

A network sees a tile's crop: its core and around it a halo as wide as what the network's values there depend on. What
it computes for the core is then what it would have computed for the whole picture. Cuts lie on the network's grid (the
stride of its deepest layer), because a crop that starts off the grid would be pooled in other pairs than the whole
picture is.
"""
from typing import NamedTuple


class Tile(NamedTuple):
    """A rectangle of the picture (the core) and the larger one that the network is shown (the crop), in pixels."""

    top: int
    left: int
    height: int
    width: int
    crop_top: int
    crop_left: int
    crop_height: int
    crop_width: int

    @property
    def core(self):
        """Slices of rows and columns that cut the core from the picture: `picture[tile.core]`."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def crop(self):
        """Slices that cut the crop from the picture; a gradient goes back with `gradient[tile.crop] += of_the_crop`."""
        return (slice(self.crop_top, self.crop_top + self.crop_height),
                slice(self.crop_left, self.crop_left + self.crop_width))

    @property
    def core_in_crop(self):
        """Slices that cut the core from the crop."""
        top, left = self.top - self.crop_top, self.left - self.crop_left
        return slice(top, top + self.height), slice(left, left + self.width)

    @property
    def core_bounds(self):
        """The core's (top, left, bottom, right) within the crop."""
        rows, columns = self.core_in_crop
        return rows.start, columns.start, rows.stop, columns.stop


def cover(height, width, tile_size, grid=16, halo=0, shift=(0, 0)):
    """Covers a picture with tiles whose cores hold every pixel exactly once.

    The cores are as equal as the grid allows, so that no thin strip is left at the end. A crop ends either a full halo
    beyond its core or at the picture's own border: a network's padding meets only true borders.

    Args:
      height: Rows of the picture, at least 1.
      width: Columns of the picture, at least 1.
      tile_size: Longest side of a core in pixels, at least `grid`; rounded down to the grid.
      grid: Starts of cores and crops are multiples of this many pixels: 16 for VGG down to its fifth block, 32 for
        Inception.
      halo: Pixels around a core that its values depend on; rounded up to the grid.
      shift: Moves the cuts down and right by so many pixels, rounded down to the grid: varied from step to step, no
        seam stays in one place.

    Returns:
      List of `Tile`, from the top left by rows.

    Raises:
      ValueError: A side, the grid or the tile size is too small.
    """
    if min(height, width, grid) < 1 or tile_size < grid or halo < 0:
        raise ValueError(f'no tiles of {tile_size} px (grid {grid}, halo {halo}) for a picture of {width} x {height}')
    rows = _spans(height, tile_size, grid, halo, shift[0])
    columns = _spans(width, tile_size, grid, halo, shift[1])
    return [Tile(top, left, bottom - top, right - left,
                 crop_top, crop_left, crop_bottom - crop_top, crop_right - crop_left)
            for top, bottom, crop_top, crop_bottom in rows
            for left, right, crop_left, crop_right in columns]


def _spans(size, tile_size, grid, halo, shift):
    """Returns (start, stop, crop start, crop stop) of each tile along one axis."""
    tile_size -= tile_size % grid
    halo = round_up(halo, grid)
    num_tiles = -(-size // tile_size)
    step = round_up(-(-size // num_tiles), grid)
    first = shift % step // grid * grid or step
    cuts = [0, *range(first, size, step), size]
    return [(start, stop, max(start - halo, 0), min(stop + halo, size)) for start, stop in zip(cuts, cuts[1:])]


def round_up(pixels, grid):
    """Returns the smallest multiple of `grid` that is not below `pixels`."""
    return -(-pixels // grid) * grid
