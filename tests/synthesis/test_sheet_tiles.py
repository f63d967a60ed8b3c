"""synthesis/sheet_tiles.py: which pictures are meant, and how they are cut into batches."""
from collections import OrderedDict

import pytest

from common.errors import InputError
from common.session import tf
from synthesis import sheet_tiles


def end_points(**num_channels):
    return OrderedDict((name, tf.placeholder(tf.float32, [None, None, None, count]))
                       for name, count in num_channels.items())


def chosen(points, **options):
    return [(tile.heading, tile.channel) for tile in sheet_tiles.choose(points, **options)]


def classifier():
    """A network's end: logits of three classes, and a softmax over them."""
    logits = tf.nn.bias_add(tf.matmul(tf.placeholder(tf.float32, [None, 2]), tf.ones([2, 3])), tf.zeros([3]))
    return {'conv': tf.placeholder(tf.float32, [None, None, None, 2]), 'logits': logits,
            'softmax': tf.nn.softmax(logits)}


@pytest.mark.parametrize('texts, expected', [
    (['mixed4c:0-3'], [('mixed4c', 0), ('mixed4c', 1), ('mixed4c', 2), ('mixed4c', 3)]),
    (['mixed4c:1,5,2-3'], [('mixed4c', 1), ('mixed4c', 5), ('mixed4c', 2), ('mixed4c', 3)]),
    ([' mixed4c : 1 , 3 - 4 '], [('mixed4c', 1), ('mixed4c', 3), ('mixed4c', 4)]),
    (['mixed4c:5', 'conv:0', 'mixed4c:4-5'], [('mixed4c', 5), ('mixed4c', 4), ('conv', 0)]),
    (['conv'], [('conv', 0), ('conv', 1)]),
])
def test_channels_as_they_are_written(texts, expected):
    assert chosen(end_points(conv=2, mixed4c=6), channels=texts) == expected


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
        chosen(end_points(mixed4c=6), channels=[text])
    assert said in str(error.value) and '--channels ' + text in str(error.value)


def test_classes_by_name_and_number_are_those_before_the_softmax():
    points, labels = classifier(), ['background', 'tabby, tabby cat', 'hen', 'kite']
    tiles = sheet_tiles.choose(points, labels, classes=['tabby cat', '2'])
    assert [(tile.heading, tile.caption, tile.channel) for tile in tiles] == [('logits', 'tabby', 0),
                                                                             ('logits', 'kite', 2)]
    with pytest.raises(InputError) as error:
        sheet_tiles.choose(points, labels, classes=['taby'])
    assert str(error.value) == "--classes taby: no class 'taby'; did you mean 'tabby' or 'tabby cat'?"
    with pytest.raises(InputError) as error:
        sheet_tiles.choose(end_points(conv=2), labels, classes=['hen'])
    assert 'this network has no layer of classes' in str(error.value)


def test_a_sum_of_objectives():
    tile, = sheet_tiles.choose(end_points(a=4, b=4), sums=['a:1*0.5 + b:2@0.5,0.5'])
    assert [(term.layer, term.channel, term.weight, term.position) for term in tile.terms] == [
        ('a', 1, 0.5, None), ('b', 2, 1.0, (0.5, 0.5))]
    with pytest.raises(InputError) as error:
        sheet_tiles.choose(end_points(a=4), sums=['a:1 + c:2'])
    assert "--objective c:2: no layer 'c'" in str(error.value)


def test_every_layer_behind_its_activation_and_no_branches():
    def convolution(name, count):
        before = tf.placeholder(tf.float32, [None, None, None, count])
        return [(name + '_pre_relu', before), (name, tf.nn.relu(before))]
    points = OrderedDict(convolution('conv', 5) + convolution('module_1x1', 2) + convolution('module_3x3', 3))
    points['module'] = tf.concat([points['module_1x1'], points['module_3x3']], axis=3)
    points['pool'] = tf.nn.max_pool2d(points['module'], 2, 2, 'SAME')
    assert sheet_tiles.overview(points) == ['conv', 'module']
    assert chosen(points, per_layer=3) == [('conv', 0), ('conv', 2), ('conv', 4),
                                           ('module', 0), ('module', 2), ('module', 4)]
    assert chosen(points, per_layer=9)[:5] == [('conv', channel) for channel in range(5)]


def test_neurons_and_copies():
    tiles = sheet_tiles.choose(end_points(a=4), channels=['a:2-3'], neurons=True, copies=2)
    assert [(tile.channel, tile.copy) for tile in tiles] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert all(tile.terms[0].position == (0.5, 0.5) for tile in tiles)
    assert len({tile.file_name() for tile in tiles}) == 4


def test_batches_hold_every_tile_once_in_order_and_no_two_layers_channels():
    layers = end_points(a=30, b=3)
    tiles = sheet_tiles.choose(layers, channels=['a', 'b'])
    batches = sheet_tiles.in_batches(tiles, layers, 128, 128)
    assert sum(batches, []) == tiles
    assert [len(batch) for batch in batches] == [10, 10, 10, 3]  # as equal as they can be, 12 at most
    assert [len(batch) for batch in sheet_tiles.in_batches(tiles, layers, 1000, 1000)] == [1] * 33


def test_copies_stay_together():
    layers = end_points(a=5)
    tiles = sheet_tiles.choose(layers, channels=['a'], copies=5)
    batches = sheet_tiles.in_batches(tiles, layers, 128, 128, copies=5)
    assert sum(batches, []) == tiles and [len(batch) for batch in batches] == [5, 10, 10]
    with pytest.raises(InputError) as error:
        sheet_tiles.in_batches(tiles, layers, 1024, 1024, copies=5)
    assert '5 pictures of 1024 x 1024 pixels at once take more memory' in str(error.value)


def test_channels_of_two_branches_of_a_module_do_not_share_a_batch():
    layers = {'module': tf.concat(list(end_points(one=4, three=2).values()), axis=3)}
    tiles = sheet_tiles.choose(layers, channels=['module:2-5'])
    assert sheet_tiles.in_batches(tiles, layers, 128, 128) == [tiles[:2], tiles[2:]]
    numbers = [sheet_tiles.number_in_source(tile.terms[0], layers) for tile in tiles]
    assert numbers == [2, 3, 0, 1]  # within their branches


def test_from_one_objective_to_another():
    layers = end_points(one=4, three=2)
    tiles = sheet_tiles.choose(layers, interpolated=['one:1', 'three:0*2'])
    assert [tile.caption for tile in tiles] == ['0 %', '25 %', '50 %', '75 %', '100 %']
    assert {tile.heading for tile in tiles} == {'one:1 to three:0*2'}
    weights = [[term.weight for term in tile.terms] for tile in tiles]
    assert weights == [[1, 0], [0.75, 0.5], [0.5, 1], [0.25, 1.5], [0, 2]]
    assert tiles[1].file_name() == 'one-1-to-three-0-2_25.png'
    with pytest.raises(InputError, match="--interpolate one:9: no channel 9; one has the channels 0 to 3"):
        sheet_tiles.choose(layers, interpolated=['one:1', 'one:9'])
