"""A loss made of sums over positions, and its gradient, evaluated tile by tile.

Style and content losses depend on the picture through sums only: Gram matrices, squared differences. So a first pass
adds the sums up over the tiles' cores. The second has the whole sums and takes from each tile the gradient of the
whole loss with respect to the tile's crop: what the loss changes with a sum, times what the tile's part of that sum
changes with a pixel. A core's sums depend on pixels of the halo too; the crops overlap, and their gradients add up.
That is the chain rule, not an approximation: seams have nowhere to come from.
"""
import numpy as np


def sum_over_tiles(sess, fetches, feeds):
    """Runs the same tensors for every tile and adds up what comes.

    Args:
      sess: Session.
      fetches: List of tensors.
      feeds: List of feed dicts, one per tile.

    Returns:
      List of float64 arrays.
    """
    totals = [np.float64(0)] * len(fetches)
    for feed in feeds:
        totals = [total + part for total, part in zip(totals, sess.run(fetches, feed))]
    return totals


def make_evaluate(sess, graph, size, cover, fixed, fixed_per_tile):
    """Makes the function that an optimizer minimizes.

    Args:
      sess: Session on the graph.
      graph: Tensors: `image`, the placeholder of a crop; `size`, that of the whole picture's size; `core`, that of the
        core's bounds in the crop, None where there are no tiles; `sums`, what the core adds; `whole_sums`, the same for
        the whole picture, which can be fed; `losses`, a NamedTuple; `gradient`, with respect to the image.
      size: (height, width) of the picture.
      cover: List of `tiles.Tile`.
      fixed: Feed dict of what is the same in every run.
      fixed_per_tile: List of feed dicts of what a tile needs besides.

    Returns:
      Function of a picture, float32 [height * width * 3], to (losses as floats, float32 gradient of the same shape).
    """
    fixed = [{graph.size: size, **fixed, **of_tile} for of_tile in fixed_per_tile]
    if graph.core is not None:
        fixed = [{graph.core: tile.interior_bounds, **of_tile} for tile, of_tile in zip(cover, fixed)]

    def evaluate(x):
        picture = x.reshape(1, *size, 3)
        feeds = [{graph.image: picture[(slice(None), *tile.crop)], **of_tile} for tile, of_tile in zip(cover, fixed)]
        whole = dict(zip(graph.whole_sums, sum_over_tiles(sess, graph.sums, feeds))) if len(cover) > 1 else {}
        gradient = np.zeros(picture.shape, np.float32)
        for feed, tile in zip(feeds, cover):
            losses, of_crop = sess.run([graph.losses, graph.gradient], {**feed, **whole})
            gradient[(slice(None), *tile.crop)] += of_crop
        return type(graph.losses)(*map(float, losses)), gradient.ravel()

    return evaluate
