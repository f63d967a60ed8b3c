"""common/record.py: what run.json may hold."""
from pathlib import Path

import pytest

from common import record
from common.errors import InputError

TILE = {'layer': 'mixed4c', 'caption': '3', 'file': 'mixed4c_0003.png', 'inactive': False}
RIGHT = {
    'recipe': 'deepdream', 'settings': {}, 'seconds': 3.5, 'stack': 'tf1', 'film': False, 'results': {},
    'objective': ['mixed4c'], 'classes': ['cat', 'dog'], 'data': {'training_images': 5}, 'tile_size': None,
    'pictures': [{'name': 'sky', 'seconds': 2, 'octaves': [{'objective_before': float('nan'), 'objective_last': -1}]}],
    'tiles': [TILE], 'anything': object()}


def test_what_recipes_write_passes():
    assert record.check_fields(Path('run.json'), RIGHT, record.FIELDS) is RIGHT


@pytest.mark.parametrize('name, value', [
    ('recipe', 3), ('settings', []), ('settings', None), ('seconds', -1), ('seconds', float('nan')), ('seconds', 'x'),
    ('seconds', 1e308), ('seconds', True), ('stack', 'tf3'), ('stack', []), ('film', 1), ('results', 'x'),
    ('objective', 'x'), ('objective', [1]), ('classes', ['cat']), ('classes', [1, 2]), ('data', 5),
    ('data', {'training_images': 'x'}), ('tile_size', 0), ('tile_size', 2.5), ('tile_size', 10 ** 20),
    ('pictures', {}), ('pictures', [None]), ('pictures', [{'name': '../../victim'}]), ('pictures', [{'name': '/x'}]),
    ('pictures', [{'seconds': None}]), ('pictures', [{'octaves': [{}]}]), ('pictures', [{'octaves': []}]),
    ('pictures', [{'style_loss_before': 'x'}]), ('pictures', [{'octaves': 1}]),
    ('tiles', [{}]), ('tiles', [dict(TILE, file='../x.png')]), ('tiles', [dict(TILE, caption=5)])])
def test_what_no_recipe_writes_is_named(name, value):
    with pytest.raises(InputError, match=f'run.json: damaged: {name} cannot be '):
        record.check_fields(Path('run.json'), dict(RIGHT, **{name: value}), record.FIELDS)
