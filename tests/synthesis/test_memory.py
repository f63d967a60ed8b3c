from types import SimpleNamespace

import psutil
import pytest

from common.errors import UnavailableError
from synthesis import memory


@pytest.mark.parametrize('cgroup, expected', [
    ({}, 20000),
    ({'memory.max': 'max\n', 'memory.current': '5\n'}, 20000),
    ({'memory.max': '9000\n', 'memory.current': '5000\n'}, 4000),
    ({'memory/memory.limit_in_bytes': '9000\n', 'memory/memory.usage_in_bytes': '9500\n'}, 0)],
    ids=['machine', 'no limit', 'version 2', 'version 1'])
def test_what_is_free_is_what_the_machine_or_the_container_leaves(tmp_path, monkeypatch, cgroup, expected):
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: SimpleNamespace(available=20000))
    (tmp_path / 'memory').mkdir()
    for name, text in cgroup.items():
        (tmp_path / name).write_text(text)
    assert memory.available(tmp_path) == expected


@pytest.mark.parametrize('gigabytes, expected', [(10, None), (1.1, 512), (0.6, 256), (0.26, 128)])
def test_the_largest_tiles_that_memory_serves(monkeypatch, gigabytes, expected):
    monkeypatch.setattr(memory, 'available', lambda: gigabytes * 1e9)
    tile_size, need, line = memory.choose_tile_size(1000, lambda tile_size: (tile_size or 2000) / 640 * 1e9)
    assert tile_size == expected and need <= gigabytes * 0.8e9
    assert line.endswith(f'tiles of {expected} px' if expected else 'no tiles')


def test_too_little_memory_even_for_tiles(monkeypatch):
    monkeypatch.setattr(memory, 'available', lambda: 10 ** 9)
    with pytest.raises(UnavailableError, match='about 8.0 GB of memory with tiles of 128 px, and 1.0 GB are free'):
        memory.choose_tile_size(1000, lambda tile_size: 8e9)


def test_this_process_takes_memory():
    assert 10 ** 7 < memory.current() <= memory.peak() * 1.01
