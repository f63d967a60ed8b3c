"""synthesis/contact_sheets.py: which tiles are meant, how they are cut into batches and laid out."""
from collections import OrderedDict

import numpy as np
import pytest

from common import images, runs
from common.errors import InputError
from common.session import tf
from synthesis import contact_sheets, objectives
from synthesis.contact_sheets import SheetTile


def end_points(**num_channels):
    return OrderedDict((name, tf.placeholder(tf.float32, [None, None, None, count]))
                       for name, count in num_channels.items())


# Which tiles


@pytest.mark.parametrize('texts, expected', [
    (['mixed4c:0-3'], [('mixed4c', 0), ('mixed4c', 1), ('mixed4c', 2), ('mixed4c', 3)]),
    (['mixed4c:1,5,2-3'], [('mixed4c', 1), ('mixed4c', 5), ('mixed4c', 2), ('mixed4c', 3)]),
    ([' mixed4c : 1 , 3 - 4 '], [('mixed4c', 1), ('mixed4c', 3), ('mixed4c', 4)]),
    (['mixed4c:5', 'conv:0', 'mixed4c:4-5'], [('mixed4c', 5), ('mixed4c', 4), ('conv', 0)]),
    (['conv'], [('conv', 0), ('conv', 1)]),
])
def test_channels_as_they_are_written(texts, expected):
    assert contact_sheets.choose_channels(texts, end_points(conv=2, mixed4c=6)) == expected


@pytest.mark.parametrize('text, said', [
    (':1', 'the layer is missing'),
    ('mixed4c:', "'' is neither a channel nor a range"),
    ('mixed4c:1,', "'' is neither a channel nor a range"),
    ('mixed4c:a-b', "'a-b' is neither a channel nor a range"),
    ('mixed4c:-3', "'-3' is neither a channel nor a range"),
    ('mixed4c:1-2-3', "'1-2-3' is neither a channel nor a range"),
    ('mixed4c:5-2', 'the range 5-2 ends before it begins; write 2-5'),
    ('mixed4c:0-6', 'no channel 6; mixed4c has 6, 0 to 5'),
    ('mixed4c:7-9', 'no channel 7; mixed4c has 6, 0 to 5'),
    ('mixed4x:0', "no layer 'mixed4x'; did you mean 'mixed4c'"),
])
def test_what_is_wrong_with_a_spec(text, said):
    with pytest.raises(InputError) as error:
        contact_sheets.choose_channels([text], end_points(mixed4c=6))
    assert said in str(error.value) and '--channels ' + text in str(error.value)


def test_every_layer_once():
    points = end_points(conv_pre_relu=2, conv=2, pool=2, lonely_pre_relu=3)
    points['logits'] = tf.placeholder(tf.float32, [None, 10])
    assert contact_sheets.choose_layers(points) == [('conv', None), ('pool', None), ('lonely_pre_relu', None)]


# Batches


def test_batches_hold_every_tile_once_in_order_and_no_two_layers_channels():
    tiles = [SheetTile('a', channel) for channel in range(30)] + [SheetTile('b', channel) for channel in range(3)]
    layers = end_points(a=30, b=3)
    batches = contact_sheets.in_batches(tiles, layers, 128, 128)
    assert sum(batches, []) == tiles
    assert [len(batch) for batch in batches] == [10, 10, 10, 3]  # as equal as they can be, 12 at most
    assert [len(batch) for batch in contact_sheets.in_batches(tiles, layers, 1000, 1000)] == [1] * 33


def test_channels_of_two_branches_of_a_module_do_not_share_a_batch():
    layers = {'module': tf.concat(list(end_points(one=4, three=2).values()), axis=3)}
    tiles = [SheetTile('module', channel) for channel in range(2, 6)]
    batches = contact_sheets.in_batches(tiles, layers, 128, 128)
    assert batches == [tiles[:2], tiles[2:]]
    assert [contact_sheets.part(batch[0], layers)[1] for batch in batches] == [0, 4]


def test_layers_share_batches():
    tiles = [SheetTile(f'layer{number}') for number in range(5)]
    assert [len(batch) for batch in contact_sheets.in_batches(tiles, {}, 192, 256)] == [2, 3]


# Each picture's own objective


@pytest.mark.parametrize('size, shape', [((32, 48), [3, 8, 12, 4]), ((30, 41), [3, 8, 11, 4]), ((32, 48), [3, 4]),
                                         ((32, 48), [6, 4])], ids=['layer', 'odd size', 'classes', 'windows'])
def test_a_batch_of_channels_is_what_each_is_alone(size, shape):
    values = np.random.RandomState(0).normal(size=shape).astype(np.float32)
    layer = tf.placeholder(tf.float32, [None] * (len(shape) - 1) + [4])
    tile_shape, channels = tf.constant(size), tf.placeholder(tf.int32, [None])
    batched = contact_sheets.batch_objective([SheetTile('a', 0)], {'a': layer}, channels, tile_shape)
    single = [objectives.total([objectives.parse(f'a:{channel}')], {'a': layer}, tile_shape) for channel in range(4)]
    rows = len(values) // 3
    with tf.Session() as sess:
        together = sess.run(batched, {layer: values, channels: [3, 0, 3]})
        alone = [sess.run(single[channel], {layer: values[rows * number:rows * (number + 1)]})
                 for number, channel in enumerate([3, 0, 3])]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_batch_of_a_branch_is_what_each_channel_of_the_module_is():
    random, tile_shape = np.random.RandomState(0), tf.constant([32, 32])
    branches = [tf.constant(random.normal(size=[2, 8, 8, maps]), tf.float32) for maps in (3, 5)]
    module = tf.concat(branches, axis=-1)
    tiles = [SheetTile('m', 6), SheetTile('m', 3)]
    together = contact_sheets.batch_objective(tiles, {'m': module}, tf.constant([6, 3]), tile_shape)
    expected = tf.reduce_sum(tf.stack([module[0, ..., 6], module[1, ..., 3]]), axis=[1, 2]) * 4 ** 2
    with tf.Session() as sess:
        np.testing.assert_allclose(*sess.run([together, expected]), rtol=1e-5)


def test_a_batch_of_layers_is_what_each_is_alone():
    random, tile_shape = np.random.RandomState(0), tf.constant([32, 32])
    layers = {'low': tf.constant(random.normal(size=[2, 16, 16, 3]), tf.float32),
              'high': tf.constant(random.normal(size=[2, 4, 4, 5]), tf.float32)}
    together = contact_sheets.batch_objective([SheetTile('low'), SheetTile('high')], layers, None, tile_shape)
    alone = [objectives.total([objectives.parse(name)], {name: layer[number:number + 1]}, tile_shape)
             for number, (name, layer) in enumerate(layers.items())]
    with tf.Session() as sess:
        np.testing.assert_array_equal(*sess.run([together, alone]))


# The sheet


@pytest.fixture
def run_of(tmp_path):
    """Returns a function of tiles that makes the folder of a run in which they are done, each of another gray."""
    def make(tiles, inactive=(), size=(64, 64)):
        records = []
        (tmp_path / contact_sheets.TILES).mkdir()
        for number, tile in enumerate(tiles):
            name = tile.file_name(number + 1)
            images.save_image(tmp_path / contact_sheets.TILES / name, np.full((*size, 3), 10 + number, np.float32))
            records.append({'layer': tile.layer, 'channel': tile.channel, 'file': name, 'inactive': number in inactive})
        runs.write_record(tmp_path, recipe='deepdream', tiles=records)
        return tmp_path
    return make


def places(path, count):
    """Returns (row, column) of the top left pixel of the grays 10, 11, ... of a sheet; None where there is none."""
    sheet = images.load_image(path)
    found = [np.argwhere((sheet == 10 + number).all(axis=-1)) for number in range(count)]
    return [tuple(where[0]) if len(where) >= 64 * 64 else None for where in found]


def test_a_sheet_of_channels_is_square_and_shows_them_in_order(run_of):
    path, = contact_sheets.draw_sheets(run_of([SheetTile('mixed4c', channel) for channel in range(9)]), 'Nine channels')
    corners = places(path, 9)
    assert corners == sorted(corners) and len({row for row, _ in corners}) == len({left for _, left in corners}) == 3


def test_every_layers_channels_begin_a_row(run_of):
    tiles = [SheetTile('a', 0), SheetTile('a', 1), SheetTile('a', 2), SheetTile('b', 0), SheetTile('b', 1)]
    path, = contact_sheets.draw_sheets(run_of(tiles), 'Two layers')
    corners = places(path, 5)
    assert [left for _, left in corners] == [*[left for _, left in corners[:3]], *[left for _, left in corners[:2]]]
    assert corners[2][0] < corners[3][0]


def test_many_channels_take_several_sheets(run_of):
    tiles = [SheetTile('a', channel) for channel in range(100)]
    paths = contact_sheets.draw_sheets(run_of(tiles), 'A hundred')
    assert [path.name for path in paths] == ['sheet_1.png', 'sheet_2.png']
    on_first, on_second = places(paths[0], 100), places(paths[1], 100)
    assert all((first is None) != (second is None) for first, second in zip(on_first, on_second))
    assert max(images.load_image(path).shape[0] for path in paths) < 2000


def test_layers_follow_the_picture_and_modules_stay_together(run_of):
    layers = ['conv1', 'pool1', *(f'mixed3a_{number}' for number in range(7)), 'top']
    tiles = [SheetTile(layer) for layer in layers]
    path, = contact_sheets.draw_sheets(run_of(tiles), 'Layers', np.full([64, 64, 3], 200, np.float32))
    corners = places(path, 10)
    sheet = images.load_image(path)
    picture = tuple(np.argwhere((sheet == 200).all(axis=-1))[0])
    assert picture[0] == corners[0][0] == corners[1][0] and picture[1] < corners[0][1] < corners[1][1]
    assert len({row for row, _ in corners[2:9]}) == 1 and corners[2][0] > corners[1][0] and corners[2][1] == picture[1]
    assert corners[9][0] == corners[2][0]


def test_names_below_narrow_pictures_do_not_run_into_each_other(run_of):
    run_dir = run_of([SheetTile(f'mixed4c_3x3_bottleneck_{number}') for number in range(4)], size=(128, 64))
    path, = contact_sheets.draw_sheets(run_dir, 'Layers', np.full([128, 64, 3], 200, np.float32))
    sheet = images.load_image(path)
    for row, left in places(path, 4)[:3]:
        below = sheet[row + 128:, left:left + 64 + 10]
        assert below.min() < 100 and below[:, 64 + 4:64 + 6].min() > 200


def test_a_inactive_tile_is_marked(run_of):
    run_dir = run_of([SheetTile('mixed4c', 0), SheetTile('mixed4c', 1)])
    active = images.load_image(contact_sheets.draw_sheets(run_dir, 'Two')[0])
    records = runs.read_record(run_dir)['tiles']
    runs.write_record(run_dir, tiles=[records[0], dict(records[1], inactive=True)])
    marked = images.load_image(contact_sheets.draw_sheets(run_dir, 'Two')[0])
    marked = marked[:len(active)]  # the mark may take a line of its own
    changed = np.argwhere((active != marked).any(axis=-1))
    assert len(changed) and changed[:, 1].min() > active.shape[1] // 2
