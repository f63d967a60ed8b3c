"""How much memory there is, how much an optimization on a VGG network takes, and which tiles fit."""
import re
import sys
from pathlib import Path
from typing import NamedTuple, Optional

import psutil

from common import parallel, runs, session
from common.errors import UnavailableError
from networks import vgg
from synthesis import tiles
from synthesis.tiled_loss import num_positions

TILE_SIZES = (1536, 1024, 768, 512, 384, 256, 128)  # pixels; larger ones repeat less work in their halos
USABLE = 0.8  # of what is free
# The files of a control group's limit, of what it takes, and the name of what it can give back of that: files read.
CGROUP_FILES = {'': ('memory.max', 'memory.current', 'inactive_file'),
                'memory': ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')}
# Fitted to measured peaks: TensorFlow itself in bytes, copies of every activation (with what the allocator does not
# give back from scale to scale) and of the weights, vectors of the image's size. TensorFlow 2 is larger, and copies a
# graph with its constants more often before the first step.
FIXED, WEIGHT_COPIES = {'tf1': 3.3e8, 'tf2': 6.6e8}, {'tf1': 4.0, 'tf2': 26.0}
ACTIVATION_COPIES = 2.75
VECTORS = {'lbfgs': 28, 'adam': 12}


class Tiling(NamedTuple):
    """Tiles that fit into memory."""

    tile_size: Optional[int]  # pixels; None for no tiles
    halo: int  # pixels
    bytes_needed: int
    reason: str  # a line that says so

    def make_tiles(self, height, width):
        """Covers an image with these tiles; returns a list of tiles.Tile."""
        return tiles.make_tiles(height, width, self.tile_size, halo=self.halo)


def choose_tiles(size, network, weights, layers, optimizer, tile_size=None, run_dir=None, masked=()):
    """Chooses no tiles where memory suffices, else the largest tiles for which it does.

    Args:
      size: (height, width) of the largest image.
      network: 'vgg16' or 'vgg19'.
      weights: dict from the name of a convolution that is used to (kernel, bias).
      layers: names of the layers that the loss uses.
      optimizer: 'lbfgs' or 'adam'.
      tile_size: pixels, the one to use; None to choose.
      run_dir: Path of a run that is resumed, which keeps the tiles that it started with; None for a new one.
      masked: names of layers copied once more for their Gram matrices, a mask or a constant beside them: each as often.

    Returns:
      Tiling; in several processes that of the first, since tiles change the last digits.

    Raises:
      UnavailableError: memory does not suffice even for the smallest tiles.
    """
    # How far to each side an interior's activations depend on pixels: the receptive field less the position's own.
    halo = max((vgg.halo(layer, network) - vgg.stride(layer, network)) // 2 for layer in layers)
    free, longer_side = available() // parallel.sharers(), max(size)
    choices = [tile_size] if tile_size else [None, *(pixels for pixels in TILE_SIZES if pixels < longer_side)]
    begun = runs.read_record(run_dir) if run_dir else {}
    for tile_size in [begun['tile_size']] if 'tile_size' in begun else choices:
        needed = estimate(size, weights, optimizer, halo, tile_size, masked)
        how = f'tiles of {tile_size} px' if tile_size and tile_size < longer_side else 'no tiles'
        if needed <= free * USABLE:
            return parallel.from_first(Tiling(
                tile_size=tile_size, halo=halo, bytes_needed=needed,
                reason=f'memory: about {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free: {how}'))
    raise UnavailableError(f'an image of {longer_side} px needs about {needed / 1e9:.1f} GB of memory with {how}, and '
                           f'{free / 1e9:.1f} GB are free; choose a smaller --size')


def estimate(size, weights, optimizer='lbfgs', halo=0, tile_size=None, masked=()):
    """Estimates the bytes that an optimization takes above what loading the weights took; see `choose_tiles`."""
    crop = [min(side, tile_size + 2 * tiles.round_up(halo, 16)) if tile_size else side for side in size]
    sizes = {layer: num_positions(crop, vgg.stride(layer)) * bias.size for layer, (_, bias) in weights.items()}
    activations = sum(sizes.values()) + sum(sizes[layer] for layer in masked) / ACTIVATION_COPIES
    vectors = VECTORS[optimizer] * 3 * size[0] * size[1]
    kernels = sum(kernel.size for kernel, _ in weights.values())
    stack = session.stack()
    return int(FIXED[stack] + 4 * (ACTIVATION_COPIES * activations + vectors + WEIGHT_COPIES[stack] * kernels))


def available(cgroup=Path('/sys/fs/cgroup'), own=Path('/proc/self/cgroup')):
    """Returns the bytes that a process may still take: what the machine has free, or the least that a limit leaves.

    Args:
      cgroup: Path, where Linux tells of the limits of control groups, version 2 or 1.
      own: Path of the file that names this process's groups, lines of number:controllers:/path.
    """
    found = [psutil.virtual_memory().available]
    for line in ['0::/', '0:memory:/', *_read(own).splitlines()]:
        _, controllers, path = line.split(':', 2)
        kind = 'memory' if 'memory' in controllers.split(',') else controllers  # mounted with others, it has a link
        if kind in CGROUP_FILES:
            folder, (limit, usage, cache) = cgroup / kind, CGROUP_FILES[kind]
            group = folder / path.strip('/')
            for part in (group, *group.parents):  # each group is within the limits of those around it
                most, used = _read(part / limit), _read(part / usage)
                cached = re.search(rf'^{cache} (\d+)$', _read(part / 'memory.stat'), re.MULTILINE)
                if folder in (part, *part.parents) and most.isdigit() and used.isdigit():
                    found.append(max(int(most) - int(used) + int(cached.group(1) if cached else 0), 0))
    return min(found)


def _read(path):
    try:
        return path.read_text().strip()
    except OSError:
        return ''


def current():
    """Returns the bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


def peak():
    """Returns the most bytes of memory that this process has held at once."""
    if sys.platform == 'win32':
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
