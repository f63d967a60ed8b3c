"""synthesis/regions.py: masks and color-coded maps, brought down to a network's layers."""
import numpy as np
import pytest
from PIL import Image

from common import images
from common.errors import InputError
from synthesis import regions, tiles

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save_map(path, left, right, size=(48, 64), **options):
    """Saves a map of two colors side by side; returns its path."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[:, :size[1] // 2], pixels[:, size[1] // 2:] = left, right
    Image.fromarray(pixels).save(str(path), **options)
    return path


def of_mask(mask):
    return regions.Regions(content=mask, styles=(None,) * mask.shape[-1], weights=np.eye(mask.shape[-1]), name='mask')


# Masks at the layers.

def test_a_position_has_the_mean_of_its_pixels_and_borders_that_of_what_is_there():
    mask = np.zeros((3, 5, 1), np.float32)
    mask[0, 0] = mask[0, 1] = mask[1, 0] = mask[2, 2] = mask[2, 4] = 1
    found = regions.layer_masks(mask, ['conv1_1', 'conv2_1'])
    np.testing.assert_array_equal(found['conv1_1'], mask)
    np.testing.assert_array_equal(found['conv2_1'][..., 0], [[0.75, 0, 0], [0, 0.5, 1]])


def test_white_everywhere_is_exactly_1_at_every_size_and_layer():
    mask = of_mask(np.ones((37, 53, 1), np.float32))
    for masks in mask.content_masks((101, 75), ['conv1_1', 'conv5_1']), mask.style_masks(0, (61, 90), ['conv3_1']):
        assert all((found == 1).all() for found in masks.values())
    assert (mask.painted((44, 44)) == 1).all()


def test_a_region_that_fills_half_of_no_position_vanishes():
    mask = np.zeros((32, 32, 2), np.float32)
    mask[:4, :4, 0], mask[:16, :16, 1] = 1, 0.2
    found = regions.layer_masks(mask, ['conv1_1', 'conv3_1', 'conv4_1'])
    keys = [(layer, region) for layer in found for region in range(2)]
    np.testing.assert_allclose(regions.areas(keys, (32, 32), found), [16, 0.2 * 256, 1, 0.2 * 16, 0, 0.2 * 4],
                               rtol=1e-6)
    np.testing.assert_array_equal(regions.areas([('conv1_1', 0), ('conv5_1', 0)], (32, 33), None), [1056, 6])


@pytest.mark.parametrize('layer', ['conv1_1', 'conv2_2', 'conv5_1'])
def test_tiles_have_the_masks_of_the_whole(layer):
    masks = regions.layer_masks(np.random.RandomState(0).rand(101, 75, 2).astype(np.float32), [layer])
    feeds = regions.tile_masks({layer: 'placeholder'}, masks, tiles.make_tiles(101, 75, 32, halo=16))
    parts = [feed['placeholder'][0] for feed in feeds]
    whole = np.concatenate([np.concatenate(parts[start:start + 3], axis=1) for start in range(0, len(parts), 3)])
    assert len(parts) == 12 and (whole == masks[layer]).all()
    assert regions.tile_masks({}, None, tiles.make_tiles(101, 75, 32)) == [{}] * 12


def test_outside_the_regions_nothing_moves():
    mask = np.zeros((1, 3, 1), np.float32)
    mask[0, 1:, 0] = 1, 0.25
    guide, content = of_mask(mask), np.full((1, 3, 3), 40, np.float32)
    evaluate, start = guide.limit(lambda x: ((1.0,), x + 1), np.zeros((1, 3, 3), np.float32), content)
    np.testing.assert_array_equal(start[0, :, 0], [40, 0, 0])
    np.testing.assert_array_equal(evaluate(start.ravel())[1].reshape(3, 3)[:, 0], [0, 1, 1])
    np.testing.assert_array_equal(guide.restore(content + 100, content)[0, :, 0], [40, 140, 65])


# What is read.

def test_masks_are_gray_and_of_one_size(tmp_path):
    images.save_image(tmp_path / 'a.png', np.full((40, 60, 3), 255.0))
    images.save_image(tmp_path / 'b.png', np.full((20, 30, 3), 51.0))
    guide = regions.read([tmp_path / 'a.png', tmp_path / 'b.png'], None, None, ['x', 'y'])
    assert guide.content.shape == (40, 60, 2) and guide.styles == (None, None)
    assert (guide.content[..., 0] == 1).all() and np.allclose(guide.content[..., 1], 0.2)
    assert len(guide.notes) == 1 and 'b.png (30 x 20 pixels) is scaled to the size of' in guide.notes[0]
    np.testing.assert_array_equal(guide.weights, np.eye(2))


def test_maps_are_matched_by_color(tmp_path):
    content = save_map(tmp_path / 'content.png', RED, BLUE)
    first, second = save_map(tmp_path / '1.png', BLUE, GREEN, (30, 20)), save_map(tmp_path / '2.png', BLUE, RED)
    guide = regions.read(None, content, [first, second], ['x', 'y'], [1, 3])
    assert guide.count == 2  # blue, red: in the palette's order
    np.testing.assert_array_equal(guide.weights, [[1, 0], [3, 3]])
    np.testing.assert_array_equal(guide.content[0, [0, -1]], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(guide.styles[0][0, [0, -1]], [[1, 0], [0, 0]])
    assert guide.notes == ()


def test_a_color_without_style_stays_as_it_is(tmp_path):
    guide = regions.from_maps(save_map(tmp_path / 'c.png', RED, BLUE), [save_map(tmp_path / 's.png', RED, GREEN)])
    assert guide.count == 1 and guide.painted((48, 64))[0, [0, -1], 0].tolist() == [1, 0]
    assert 'no style has the color #0000ff; what is there stays as it is' in guide.notes[0]


def test_colors_are_scaled_to_their_nearest_and_near_colors_are_told_apart(tmp_path):
    guide = regions.from_maps(save_map(tmp_path / 'c.png', (1, 1, 1), (2, 2, 2), (3, 5)),
                              [save_map(tmp_path / 's.png', (1, 1, 1), (2, 2, 2))])
    masks = guide.content_masks((7, 10), ['conv1_1'])['conv1_1']
    assert set(masks.ravel()) == {0, 1} and (masks.sum(axis=-1) == 1).all()
    assert masks[0, :, 0].tolist() == [1] * 4 + [0] * 6


def test_a_jpegs_colors_are_gathered(tmp_path):
    content = save_map(tmp_path / 'content.jpg', (250, 20, 10), (20, 40, 230), (61, 83), quality=30)
    assert len(np.unique(images.load_image(content).reshape(-1, 3), axis=0)) > 10
    guide = regions.from_maps(content, [save_map(tmp_path / 's.png', (20, 40, 230), (250, 20, 10))])
    assert guide.count == 2 and guide.notes == ()
    where = guide.content[..., 0].mean(axis=0)  # blue, if it is the palette's first
    where = where if where[-1] else 1 - where
    assert (where[:38] == 0).all() and (where[45:] == 1).all()


@pytest.mark.parametrize('options, message', [
    (dict(masks=['a.png']), r'--mask: 1 file for 2 styles; expected one for each'),
    (dict(masks=['a.png'] * 3), r'--mask: 3 files for 2 styles'),
    (dict(masks=['a.png', 'black.png']), 'black.png: black everywhere'),
    (dict(masks=['a.png', 'missing.png']), 'missing.png: no such file'),
    (dict(masks=['a.png'] * 2, blend=[1, 2]), '--mask and the weights of --style-blend'),
    (dict(masks=['a.png'] * 2, content_map='a.png'), '--mask and --content-map: masks or maps, not both'),
    (dict(content_map='a.png'), 'give both'),
    (dict(style_maps=['a.png'] * 2), 'give both'),
    (dict(content_map='a.png', style_maps=['a.png']), '--style-map: 1 file for 2 styles'),
    (dict(content_map='a.png', style_maps=['a.png', 'black.png']),
     r'black.png: none of its colors \(#000000\) is in .*a.png \(#0000ff, #ff0000\)'),
    (dict(content_map='many.png', style_maps=['many.png'] * 2), 'many.png: 20 regions; expected at most 16')])
def test_what_does_not_go_together(tmp_path, options, message):
    save_map(tmp_path / 'a.png', RED, BLUE)
    save_map(tmp_path / 'black.png', (0, 0, 0), (0, 0, 0))
    images.save_image(tmp_path / 'many.png', np.repeat(np.arange(20.0)[np.newaxis, :, np.newaxis], 3, axis=-1))
    asked = dict(masks=None, content_map=None, style_maps=None, blend=None)
    for name, value in options.items():
        asked[name] = ([tmp_path / file for file in value] if name in ('masks', 'style_maps')
                       else tmp_path / value if name == 'content_map' else value)
    with pytest.raises(InputError, match=message):
        regions.read(styles=['x', 'y'], **asked)
