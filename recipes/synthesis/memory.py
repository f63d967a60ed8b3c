"""How much memory there is, how much this process has taken, and which tiles fit into it."""
import sys
from pathlib import Path

import psutil

from common.errors import UnavailableError

try:
    import resource
except ImportError:  # Windows
    resource = None

TILE_SIZES = (1536, 1024, 768, 512, 384, 256, 128)  # pixels; larger ones repeat less work in their halos
USABLE = 0.8  # of what is free
CGROUP_FILES = (('memory.max', 'memory.current'), ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes'))


def available(cgroup=Path('/sys/fs/cgroup')):
    """Returns the bytes that a process may still take: what the machine has free, or a container's limit leaves.

    Args:
      cgroup: Path where Linux tells of this container's limit, version 2 or 1.
    """
    found = [psutil.virtual_memory().available]
    for limit, usage in CGROUP_FILES:
        limit, usage = _read(cgroup / limit).strip(), _read(cgroup / usage).strip()
        if limit.isdigit() and usage.isdigit():
            found.append(max(int(limit) - int(usage), 0))
    return min(found)


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ''


def current():
    """Returns the bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


def peak():
    """Returns the most bytes of memory that this process has held at once."""
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def choose_tile_size(longer_side, estimate, only=None):
    """Chooses the tile size: no tiles where memory serves, else the largest tiles that it serves.

    Args:
      longer_side: Of the picture, in pixels.
      estimate: Function of a tile size, None for no tiles, to the bytes needed.
      only: List of the tile sizes to choose from; None for all.

    Returns:
      (tile size or None, the bytes needed, str that says all this).

    Raises:
      UnavailableError: Memory does not serve, not for the smallest tiles either.
    """
    free = available()
    for tile_size in only or [None, *(size for size in TILE_SIZES if size < longer_side)]:
        need = estimate(tile_size=tile_size)
        tiled = f'tiles of {tile_size} px' if tile_size and tile_size < longer_side else 'no tiles'
        if need <= free * USABLE:
            return tile_size, need, (f'about {need / 1e9:.1f} GB of memory will be needed, {free / 1e9:.1f} GB free: '
                                     f'{tiled}')
    raise UnavailableError(f'a picture of {longer_side} px needs about {need / 1e9:.1f} GB of memory with {tiled}, and '
                           f'{free / 1e9:.1f} GB are free; ask for a smaller --size')
