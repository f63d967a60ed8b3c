"""The first layer of a feed-forward style network in tiles: a large picture's memory would be nine tenths its own."""
import numpy as np

from common import parallel, session
from common.errors import UnavailableError
from networks import style_networks
from synthesis import memory, tiles

LARGE, TILE_SIZE = 2048 ** 2, 512  # pixels of an image above which tiles are used; their side
# Fitted to the process's peaks at 0.8 to 27 megapixels: bytes at least and per pixel, of the whole image and in tiles.
WHOLE, IN_TILES = {'tf1': (3.6e8, 280), 'tf2': (6.2e8, 520)}, {'tf1': (3.6e8, 148), 'tf2': (12.4e8, 136)}


def check_memory(height, width):
    """Raises UnavailableError where an image of this size, in pixels, needs more memory than is free."""
    fixed, per_pixel = (IN_TILES if height * width > LARGE else WHOLE)[session.stack()]
    needed, free = fixed + per_pixel * height * width, memory.available() // parallel.sharers() + memory.current()
    if needed > free:
        raise UnavailableError(f'an image of {width} x {height} pixels needs about {needed / 1e9:.1f} GB of memory, '
                               f'and {free / 1e9:.1f} GB are free; choose a smaller --size')


def second_layer(sess, graph, image, style):
    """Computes what the second layer, of half the size, makes of an image; the others can then see the whole.

    The first layer has 32 channels at full size. It is computed twice: for its mean and variance over the whole image,
    which its normalization needs, then for the second layer. The result is the same but for rounding.

    Args:
      sess: tf.Session.
      graph: has the placeholders `images` and `style` and the `end_points` of style_networks.paint.
      image: float32 [height, width, 3] in [0, 255].
      style: float32 [length].

    Returns:
      feed dict, with which `whole` can be run.
    """
    first, second, moments = (graph.end_points[name] for name in ('contract.0', 'contract.1', 'moments'))
    cover = tiles.make_tiles(*image.shape[:2], TILE_SIZE, grid=style_networks.GRID, halo=style_networks.FIRST_HALO)
    feed = {graph.style: style}
    if moments:
        tile_moments = []
        for tile in cover:
            values = sess.run(first, {graph.images: image[tile.crop][np.newaxis]})[0][tile.interior_in_crop]
            tile_moments.append([values.shape[0] * values.shape[1], *(
                moment(values, axis=(0, 1), dtype=np.float64) for moment in (np.mean, np.var))])
        counts, means, variances = (np.array(column) for column in zip(*tile_moments))
        mean = np.average(means, axis=0, weights=counts)  # the variance of all is that within tiles and between them
        variance = np.average(variances + np.square(means - mean), axis=0, weights=counts)
        feed.update(zip(moments, (values.reshape(1, 1, 1, -1) for values in (mean, variance))))
    whole = np.empty([1, *((side + 1) // 2 for side in image.shape[:2]), int(second.shape[-1])], np.float32)
    for tile in cover:
        values = sess.run(second, {**feed, graph.images: image[tile.crop][np.newaxis]})
        whole[(0, *_halved(tile.interior))] = values[(0, *_halved(tile.interior_in_crop))]
    return {graph.style: style, second: whole}


def _halved(interior):
    return [slice(part.start // 2, (part.stop + 1) // 2) for part in interior]
