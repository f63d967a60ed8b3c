"""Losses of style transfer that look at pixels, not at activations: what is smooth, what keeps the drawing.

Both are sums over positions, which can be added up tile by tile; see tiled_loss.
"""
from common.session import tf

POOLS = (1, 2, 4, 8, 16)  # pixels: what divides the grid that tiles lie on


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
