"""synthesis/tiled_loss.py: total variation and the edges of the drawing."""
import numpy as np
import pytest

from common.session import tf
from synthesis import tiles
from synthesis.tiled_loss import POOLS, interior_of, laplacian, total_variation


def run(tensor):
    with tf.Session() as sess:
        return sess.run(tensor)


def random_image(height, width, seed):
    return np.random.RandomState(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)


def test_total_variation_of_known_pixels_and_its_sum_over_tiles():
    image = tf.constant(np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3))
    assert run(total_variation(image)) == 6 * 36 + 6 * 9
    picture = random_image(70, 50, 0)
    whole = run(total_variation(tf.constant(picture[np.newaxis])))
    parts = [run(total_variation(tf.constant(picture[tile.crop][np.newaxis]),
                                                tf.constant(tile.interior_bounds)))
             for tile in tiles.make_tiles(70, 50, 32, halo=16)]
    assert len(parts) == 6 and sum(parts) == pytest.approx(whole, rel=1e-5)


def test_a_point_and_a_slope():
    point = np.zeros((1, 3, 4, 3), np.float32)
    point[0, 1, 1] = 10, 20, 30
    edges = run(laplacian(tf.constant(point), 1))
    np.testing.assert_array_equal(edges[0, :, :, 0], [[0, -10, 0, 0], [-10, 40, -10, 0], [0, -10, 0, 0]])
    np.testing.assert_array_equal(edges[..., 1:], edges[..., :1] * [2, 3])
    slope = np.tile(np.arange(5, dtype=np.float32)[:, np.newaxis, np.newaxis], (1, 1, 5, 3))
    assert not run(laplacian(tf.constant(slope), 1))[:, 1:-1].any()  # but for the border, where it is folded


def test_squares_are_averaged_first_and_the_border_is_mirrored():
    image = np.zeros((1, 3, 4, 3), np.float32)
    image[0, :2, :2] = 8  # pooled: 8 0 / 0 0, the third row counted twice
    image[0, 2, 2:] = 4   # pooled: 8 0 / 0 4
    edges = run(laplacian(tf.constant(image), 2))
    np.testing.assert_array_equal(edges[0, :, :, 0], [[16, -12], [-12, 8]])


@pytest.mark.parametrize('pool', POOLS)
def test_tiles_have_the_edges_of_the_whole(pool):
    picture = random_image(101, 75, 1)
    whole = run(laplacian(tf.constant(picture[np.newaxis]), pool))[0]
    found = np.zeros_like(whole)
    for tile in tiles.make_tiles(101, 75, 32, halo=16):
        crop = tf.constant(picture[tile.crop][np.newaxis])
        rows, columns = (slice(part.start // pool, -(-part.stop // pool)) for part in tile.interior)
        found[rows, columns] = run(interior_of(laplacian(crop, pool), tf.constant(tile.interior_bounds), pool))[0]
    np.testing.assert_allclose(found, whole, atol=1e-3)
