"""A loss made of sums over positions, and its gradient, evaluated tile by tile.

Style and content losses depend on the image through sums only: Gram matrices, squared differences. So a first pass adds
these up over the tiles' interiors. The second has the totals of the whole image, and takes from each tile the gradient
of the whole loss with respect to the tile's crop: the derivative of the loss with respect to a total, times that of
the tile's part of the total with respect to a pixel. An interior's sums depend on pixels of the halo too; the crops
overlap, and their gradients add up. That is the chain rule, not an approximation: there are no seams.
"""
import numpy as np

from common import cli
from common.session import tf

POOLS = (1, 2, 4, 8, 16)  # pixels, of `laplacian`: what divides the grid that tiles lie on


def num_positions(size, stride):
    """Returns how many positions a layer has in an image of (height, width): a float, or a tensor for tensors."""
    count = ((size[0] + (stride - 1)) // stride) * ((size[1] + (stride - 1)) // stride)  # an odd border is rounded up
    return float(count) if isinstance(count, int) else tf.cast(count, tf.float32)


def interior_of(activations, bounds, stride):
    """Cuts a tile's interior from the activations of its crop.

    Args:
      activations: float32 [1, height, width, channels].
      bounds: int32 [4], (top, left, bottom, right) in pixels of the crop; None where the crop is the whole image.
      stride: pixels from one position to the next.
    """
    if bounds is None:
        return activations
    top, left, bottom, right = tf.unstack((bounds + [0, 0, stride - 1, stride - 1]) // stride)
    return activations[:, top:bottom, left:right]


def sum_over_tiles(sess, fetches, feeds):
    """Runs the same tensors for every tile and adds up the results.

    Args:
      sess: tf.Session.
      fetches: list of tensors.
      feeds: list of feed dicts, one per tile.

    Returns:
      list of float64 arrays.
    """
    totals = [np.float64(0)] * len(fetches)
    for feed in feeds:
        cli.check_stop()
        totals = [total + part for total, part in zip(totals, sess.run(fetches, feed))]
    return totals


def tile_feeds(graph, image, image_tiles):
    """Returns the feed dicts that show a graph (see `make_evaluate`) an image, float32 [height, width, 3], in tiles."""
    return [{graph.image: image[tile.crop][np.newaxis],
             **({} if graph.interior is None else {graph.interior: tile.interior_bounds})} for tile in image_tiles]


def make_evaluate(sess, graph, size, image_tiles, feed, tile_targets):
    """Makes the function that an optimizer minimizes.

    Args:
      sess: tf.Session.
      graph: has the tensors `image`, placeholder of a crop; `size`, placeholder of the whole image's (height, width);
        `interior`, placeholder of the interior's bounds in the crop, None where there are no tiles; `tile_totals`, what
        the interior adds; `image_totals`, the same for the whole image, which can be fed; `losses`, a NamedTuple; and
        `gradient`, with respect to the crop.
      size: (height, width) of the image.
      image_tiles: list of tiles.Tile.
      feed: dict, fed in every run.
      tile_targets: list of dicts, fed besides with each tile.

    Returns:
      function of an image, float32 [height * width * 3], to (losses as floats, float32 gradient of the same shape).
    """
    def evaluate(x):
        image = x.reshape(*size, 3)
        feeds = [{graph.size: size, **feed, **crop, **targets}
                 for crop, targets in zip(tile_feeds(graph, image, image_tiles), tile_targets)]
        totals = {}
        if len(image_tiles) > 1:
            totals = dict(zip(graph.image_totals, sum_over_tiles(sess, graph.tile_totals, feeds)))
        gradient = np.zeros(image.shape, np.float32)
        for tile, tile_feed in zip(image_tiles, feeds):
            cli.check_stop()
            losses, crop_gradient = sess.run([graph.losses, graph.gradient], {**tile_feed, **totals})
            gradient[tile.crop] += crop_gradient[0]
        return type(graph.losses)(*map(float, losses)), gradient.ravel()

    return evaluate


# ---- Losses of style transfer that look at pixels, not at activations; both are sums over positions ----

def total_variation(image, interior=None):
    """Sums the squared differences between neighboring pixels, which noise makes large.

    Args:
      image: float32 [1, height, width, 3].
      interior: int32 [4], (top, left, bottom, right): only pairs whose upper or left pixel lies in it count.

    Source: Mahendran and Vedaldi 2014, arXiv 1412.0035, with the exponent 2.
    """
    down = across = image
    if interior is not None:
        top, left, bottom, right = tf.unstack(interior)
        down, across = image[:, top:bottom + 1, left:right], image[:, top:bottom, left:right + 1]
    return (tf.reduce_sum(tf.square(down[:, 1:] - down[:, :-1]))
            + tf.reduce_sum(tf.square(across[:, :, 1:] - across[:, :, :-1])))


def laplacian(image, pool):
    """Computes how far each pixel of a pooled image is from its neighbors: the lines of the drawing.

    Args:
      image: float32 [1, height, width, 3].
      pool: pixels of the squares that are averaged first, one of POOLS; beyond the edges the image is mirrored.

    Returns:
      float32 [1, height / pool, width / pool, 3], sizes rounded up: four times a pixel less its four neighbors.

    Source: Li, Xu, Nie and Chua 2017, Laplacian-Steered Neural Style Transfer, arXiv 1707.01253, eq. 5. There the three
      channels are added before they are compared; compared one by one, edges between colors of one brightness count.
    """
    height, width = tf.unstack(tf.shape(image)[1:3])
    pooled = tf.nn.avg_pool2d(tf.pad(image, [[0, 0], [0, -height % pool], [0, -width % pool], [0, 0]], 'SYMMETRIC'),
                              pool, pool, 'VALID')
    around = tf.pad(pooled, [[0, 0], [1, 1], [1, 1], [0, 0]], 'SYMMETRIC')
    return (4 * pooled - around[:, :-2, 1:-1] - around[:, 2:, 1:-1]
            - around[:, 1:-1, :-2] - around[:, 1:-1, 2:])
