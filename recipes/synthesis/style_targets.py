"""What style transfer compares an image with: Gram matrices of the styles, activations of the content."""
import numpy as np

from synthesis import tiles
from synthesis.regions import areas, tile_masks
from synthesis.tiled_loss import sum_over_tiles, tile_feeds


def compute_targets(sess, graph, content_image, style_images, blend=None, make_tiles=tiles.make_tiles, guide=None):
    """Computes what an image is compared with, once per scale.

    Args:
      sess, graph: tf.Session on a style_transfer.StyleGraph.
      content_image: float32 [height, width, 3], of the scale's size.
      style_images: list of float32 [any height, any width, 3].
      blend: list of the styles' weights; None for equal ones.
      make_tiles: function of (height, width) to a list of tiles.Tile.
      guide: regions.Regions, which styles go where, in place of `blend`; None for all of them everywhere.

    Returns:
      (feed dict of the style targets, list with a feed dict of the content targets, and of masks, for each tile).
    """
    weights = guide.weights if guide else np.array(blend or [1] * len(style_images), float)[:, np.newaxis]
    targets, counted = [0.0] * len(graph.grams), np.zeros(len(graph.grams))
    for index, (image, shares) in enumerate(zip(style_images, weights / weights.sum(axis=0))):
        size = image.shape[:2]
        masks = guide and guide.style_masks(index, size, graph.masks)
        grams = sum_over_tiles(sess, list(graph.grams.values()), _feeds(graph, image, masks, make_tiles(*size)))
        for number, ((_, region), gram, area) in enumerate(zip(graph.grams, grams, areas(graph.grams, size, masks))):
            if area:
                targets[number] += shares[region] * gram / area
                counted[number] += shares[region]
            else:  # vanished at this layer: what other styles the region has stand in
                targets[number] += np.zeros_like(gram)
    size = content_image.shape[:2]
    masks = guide and guide.content_masks(size, graph.masks)
    feeds = _feeds(graph, content_image, masks, make_tiles(*size))
    features = [sess.run(graph.features, feed) for feed in feeds]
    style_targets = {placeholder: graph.as_target(target / (count or 1.0)) for placeholder, target, count in zip(
        graph.style_targets.values(), targets, counted)}
    if guide:
        style_targets[graph.areas] = areas(graph.grams, size, masks) * (counted > 0)
    return style_targets, [{**{graph.content_targets[layer]: values for layer, values in of_tile.items()}, **of_masks}
                           for of_tile, of_masks in zip(features, tile_masks(graph.masks, masks, make_tiles(*size)))]


def _feeds(graph, image, masks, image_tiles):
    """Returns the feed dicts that show the graph an image and its masks in tiles."""
    return [{**feed, **of_masks} for feed, of_masks in zip(tile_feeds(graph, image, image_tiles),
                                                           tile_masks(graph.masks, masks, image_tiles))]
