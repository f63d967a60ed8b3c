import numpy as np
import pytest

from synthesis import tiles


@pytest.mark.parametrize('size', [(1, 1), (16, 48), (100, 37), (512, 509), (1024, 575)])
@pytest.mark.parametrize('tile_size, grid, halo', [(16, 16, 0), (64, 16, 70), (100, 32, 32), (512, 16, 156)])
def test_every_pixel_lies_in_one_interior_and_every_cut_on_the_grid(size, tile_size, grid, halo):
    seen = np.zeros(size, int)
    for tile in tiles.make_tiles(*size, tile_size, grid=grid, halo=halo):
        seen[tile.interior] += 1
        assert max(part.stop - part.start for part in tile.interior) <= tile_size
        for part in (*tile.interior, *tile.crop):
            assert part.start % grid == 0
    assert (seen == 1).all()


def test_a_crop_reaches_a_full_halo_or_the_border():
    for tile in tiles.make_tiles(200, 330, 64, grid=16, halo=30):
        assert tile.crop[0].start == max(tile.interior[0].start - 32, 0)
        assert tile.crop[1].stop == min(tile.interior[1].stop + 32, 330)


def test_the_interior_is_found_again_within_the_crop():
    image = np.arange(200 * 150).reshape(200, 150)
    for tile in tiles.make_tiles(200, 150, 48, halo=20):
        crop = image[tile.crop]
        np.testing.assert_array_equal(crop[tile.interior_in_crop], image[tile.interior])
        top, left, bottom, right = tile.interior_bounds
        np.testing.assert_array_equal(crop[top:bottom, left:right], image[tile.interior])


def test_gradients_of_interiors_and_of_crops_come_together():
    image = np.random.RandomState(0).rand(90, 70)
    by_interior, by_crop = np.zeros_like(image), np.zeros_like(image)
    for tile in tiles.make_tiles(90, 70, 32, halo=16):
        inside = np.zeros_like(image[tile.crop])
        inside[tile.interior_in_crop] = image[tile.interior]
        by_interior[tile.interior] = inside[tile.interior_in_crop]
        by_crop[tile.crop] += inside
    np.testing.assert_array_equal(by_interior, image)
    np.testing.assert_array_equal(by_crop, image)


def test_tiles_are_about_equal_and_no_thin_strip_is_left():
    assert [tile.interior[0] for tile in tiles.make_tiles(528, 16, 512)] == [slice(0, 272), slice(272, 528)]


@pytest.mark.parametrize('tile_size', [512, None])
def test_an_image_below_the_tile_size_is_one_tile_and_its_own_crop(tile_size):
    tile, = tiles.make_tiles(50, 60, tile_size, halo=156)
    assert tile.interior == tile.crop == (slice(0, 50), slice(0, 60))


@pytest.mark.parametrize('arguments', [dict(tile_size=8), dict(tile_size=0), dict(tile_size=16, halo=-1)])
def test_impossible_tiles_are_refused(arguments):
    with pytest.raises(ValueError, match='no tiles of'):
        tiles.make_tiles(64, 64, **arguments)
