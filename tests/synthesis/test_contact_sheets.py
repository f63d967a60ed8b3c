"""synthesis/contact_sheets.py: how pictures are laid out."""
import numpy as np
import pytest

from common import images, runs
from synthesis import contact_sheets


@pytest.fixture
def run_of(tmp_path):
    """Returns a function of (layer, channel) that makes the folder of a run, each picture of another gray."""
    def make(tiles, inactive=(), size=(64, 64)):
        records = []
        for number, (layer, channel) in enumerate(tiles):
            name = f'{layer}_{channel}.png'
            images.save_image(tmp_path / contact_sheets.PICTURES / name, np.full((*size, 3), 10 + number, np.float32))
            records.append({'layer': layer, 'channel': channel, 'caption': str(channel), 'file': name,
                            'inactive': number in inactive})
        runs.write_record(tmp_path, recipe='feature_visualization', tiles=records)
        return tmp_path
    return make


def places(path, count):
    """Returns (row, column) of the top left pixel of the grays 10, 11, ... of a sheet; None where there is none."""
    sheet = images.load_image(path)
    grays = np.where((sheet == sheet[..., :1]).all(axis=-1), sheet[..., 0], -1)
    found = [np.argwhere(grays == 10 + number) for number in range(count)]
    return [tuple(where[0]) if len(where) >= 64 * 64 else None for where in found]


def test_a_sheet_of_channels_is_square_and_shows_them_in_order(run_of):
    path, = contact_sheets.draw_sheets(run_of([('mixed4c', channel) for channel in range(9)]), 'Nine channels')
    corners = places(path, 9)
    assert corners == sorted(corners) and len({row for row, _ in corners}) == len({left for _, left in corners}) == 3


def test_every_layers_channels_begin_a_row(run_of):
    path, = contact_sheets.draw_sheets(run_of([('a', 0), ('a', 1), ('a', 2), ('b', 0), ('b', 1)]), 'Two layers')
    corners = places(path, 5)
    assert [left for _, left in corners] == [*[left for _, left in corners[:3]], *[left for _, left in corners[:2]]]
    assert corners[2][0] < corners[3][0]


def test_many_channels_take_several_sheets(run_of):
    paths = contact_sheets.draw_sheets(run_of([('a', channel) for channel in range(110)]), 'A hundred and ten')
    assert [path.name for path in paths] == ['sheet_1.png', 'sheet_2.png']
    on_first, on_second = places(paths[0], 110), places(paths[1], 110)
    assert all((first is None) != (second is None) for first, second in zip(on_first, on_second))
    assert max(images.load_image(path).shape[0] for path in paths) < 2000


def test_small_pictures_are_enlarged_pixel_by_pixel_and_large_ones_shrunk():
    small = np.arange(28 * 28 * 3, dtype=np.float32).reshape(28, 28, 3)
    shown, caption = contact_sheets.show(small, 100, '3')
    assert shown.shape == (84, 84, 3) and caption == '3'
    np.testing.assert_array_equal(shown[1::3, 1::3], small)
    assert contact_sheets.show(np.zeros([300, 150, 3]), 100, '3')[0].shape == (100, 50, 3)
    assert contact_sheets.show(np.zeros([90, 90, 3]), 100, '3')[0].shape == (90, 90, 3)


def test_an_inactive_channel_is_marked(run_of):
    run_dir = run_of([('mixed4c', 0), ('mixed4c', 1)])
    active = images.load_image(contact_sheets.draw_sheets(run_dir, 'Two')[0])
    records = runs.read_record(run_dir)['tiles']
    runs.write_record(run_dir, tiles=[records[0], dict(records[1], inactive=True)])
    marked = images.load_image(contact_sheets.draw_sheets(run_dir, 'Two')[0])
    marked = marked[:len(active)]  # the mark may take a line of its own
    changed = np.argwhere((active != marked).any(axis=-1))
    assert len(changed) and changed[:, 1].min() > active.shape[1] // 2
