"""synthesis/laplacian.py: the pyramid's exactness, and equal bands."""
import numpy as np
import pytest

from synthesis import laplacian


@pytest.mark.parametrize('shape', [(64, 64), (3, 57, 101), (3, 5, 1), (3, 1, 1), (2, 3), (2, 4, 33, 32)])
@pytest.mark.parametrize('num_levels', [0, 1, 4, 9])
def test_merge_undoes_split(shape, num_levels):
    image = np.random.RandomState(0).uniform(-255, 255, shape).astype(np.float32)
    merged = laplacian.merge(laplacian.split(image, num_levels))
    assert merged.dtype == np.float32 and merged.shape == shape
    assert np.abs(merged - image).max() < 1e-6 * np.abs(image).max()


def test_a_band_holds_its_frequencies():
    columns = np.arange(256, dtype=np.float32)
    strongest = []
    for period in (3, 16, 100):
        image = np.broadcast_to(np.sin(2 * np.pi * columns / period), (64, 256))
        levels = laplacian.split(image.astype(np.float32), 4)
        strongest.append(int(np.argmax([np.square(level).mean() for level in levels])))
    assert strongest == [0, 2, 4]


def test_flat_is_in_the_last_level_alone():
    *bands, rest = laplacian.split(np.full([3, 40, 50], 7, np.float32), 3)
    assert [level.shape for level in bands] == [(3, 40, 50), (3, 20, 25), (3, 10, 13)]
    assert all(np.abs(band).max() < 1e-5 for band in bands)
    np.testing.assert_allclose(rest, 7, rtol=1e-6)


def test_normalized_bands_are_equally_strong():
    random = np.random.RandomState(1)
    gradient = random.normal(size=[128, 128, 3]).astype(np.float32)
    gradient += 900 * np.kron(random.normal(size=[2, 2, 3]), np.ones([64, 64, 1])).astype(np.float32)

    def strengths(image):
        return [np.sqrt(np.square(level).mean()) for level in laplacian.split(np.moveaxis(image, -1, 0), 4)]

    before, after = strengths(gradient), strengths(laplacian.normalize(gradient, 4))
    assert max(before) / min(before) > 10 and max(after) / min(after) < 2


def test_normalizing_leaves_zeros_and_no_levels_alone():
    gradient = np.random.RandomState(2).normal(size=[16, 16, 3]).astype(np.float32)
    assert laplacian.normalize(gradient, 0) is gradient
    assert not laplacian.normalize(np.zeros([16, 16, 3], np.float32), 3).any()


def test_a_batch_is_treated_picture_by_picture():
    batch = np.random.RandomState(0).normal(size=[3, 37, 50, 3]).astype(np.float32) * [[[[1]]], [[[1e-3]]], [[[0]]]]
    batch = batch.astype(np.float32)
    together = laplacian.normalize(batch, 3)
    for one, of_batch in zip(batch, together):
        np.testing.assert_allclose(of_batch, laplacian.normalize(one, 3), rtol=1e-5, atol=1e-6)
    assert together[0].std() == pytest.approx(together[1].std(), rel=0.2) and not together[2].any()
