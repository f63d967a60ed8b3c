import json
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from common import session
from common.errors import UnavailableError
from networks import vgg
from synthesis import memory

MACHINE = 20000 * 1024  # bytes free


@pytest.mark.parametrize('limits, expected', [
    ({}, MACHINE),
    ({'memory.max': 'max\n', 'memory.current': '5\n'}, MACHINE),
    ({'memory.max': '9000\n', 'memory.current': '5000\n'}, 4000),
    ({'memory.max': '9000\n', 'memory.current': '5000\n', 'memory.stat': 'file 900\ninactive_file 800\n'}, 4800),
    ({'memory/memory.limit_in_bytes': '9000\n', 'memory/memory.usage_in_bytes': '9500\n'}, 0)],
    ids=['no container', 'no limit', 'version 2', 'files that were read', 'version 1, exceeded'])
def test_what_is_free_is_what_the_machine_or_the_container_leaves(tmp_path, monkeypatch, limits, expected):
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: SimpleNamespace(available=MACHINE))
    (tmp_path / 'memory').mkdir()
    for name, text in limits.items():
        (tmp_path / name).write_text(text)
    assert memory.available(tmp_path, tmp_path / 'own') == expected


@pytest.mark.parametrize('own, files', [
    ('0::/a/b\n', ('memory.max', 'memory.current')),
    ('4:cpuset,memory:/a/b\n', ('memory.limit_in_bytes', 'memory.usage_in_bytes')),
    ('9:name=systemd:/x\n4:memory:/a/b\n0::/\n', ('memory.limit_in_bytes', 'memory.usage_in_bytes'))])
def test_a_group_within_groups_has_the_limits_of_all(tmp_path, monkeypatch, own, files):
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: SimpleNamespace(available=MACHINE))
    (tmp_path / 'own').write_text(own)
    folder = tmp_path / ('memory' if 'memory:' in own else '') / 'a'
    (folder / 'b').mkdir(parents=True)
    for inside, limits in ((folder, ('9000', '3000')), (folder / 'b', ('8000', '1500'))):
        for name, text in zip(files, limits):
            (inside / name).write_text(text)
    assert memory.available(tmp_path, tmp_path / 'own') == 6000


def choose_tiles(monkeypatch, free, bytes_per_pixel, **chosen):
    monkeypatch.setattr(memory, 'available', lambda: free)
    monkeypatch.setattr(memory, 'estimate', lambda size, weights, optimizer, halo, tile_size, masked:
                        int((tile_size or 2000) * bytes_per_pixel))
    return memory.choose_tiles((750, 1000), 'vgg19', {}, ['conv1_1', 'conv5_1'], 'lbfgs', **chosen)


@pytest.mark.parametrize('gigabytes, expected', [(10, None), (1.1, 512), (0.6, 256), (0.26, 128)])
def test_the_largest_tiles_that_memory_serves(monkeypatch, gigabytes, expected):
    tiling = choose_tiles(monkeypatch, gigabytes * 1e9, 1e9 / 640)
    assert tiling.tile_size == expected and tiling.bytes_needed <= gigabytes * 0.8e9
    assert tiling.halo == (vgg.halo('conv5_1') - 16) // 2
    assert tiling.reason.endswith(f'tiles of {expected} px' if expected else 'no tiles')
    assert len(tiling.make_tiles(750, 1000)) == {None: 1, 512: 4, 256: 12, 128: 48}[expected]


def test_a_tile_size_that_was_chosen_stays(monkeypatch, tmp_path):
    assert choose_tiles(monkeypatch, 1e9, 1, tile_size=96).tile_size == 96
    for begun_with in None, 64:
        (tmp_path / 'run.json').write_text(json.dumps({'recipe': 'style_transfer', 'tile_size': begun_with}))
        assert choose_tiles(monkeypatch, 1e9, 1, run_dir=tmp_path).tile_size == begun_with


def test_too_little_memory_even_for_tiles(monkeypatch):
    with pytest.raises(UnavailableError, match='about 8.0 GB of memory with tiles of 128 px, and 1.0 GB are free'):
        choose_tiles(monkeypatch, 1e9, 8e9 / 128)


def test_the_estimate_counts_activations_of_the_crop_and_vectors_of_the_image():
    stack = session.stack()
    weights = {'conv1_1': (np.zeros((3, 3, 3, 64)), np.zeros(64)),
               'conv2_1': (np.zeros((3, 3, 64, 128)), np.zeros(128))}
    kernels = 4 * memory.WEIGHT_COPIES[stack] * (9 * 3 * 64 + 9 * 64 * 128)
    activations = 4 * memory.ACTIVATION_COPIES * (100 * 60 * 64 + 50 * 30 * 128)
    expected = memory.FIXED[stack] + kernels + activations + 4 * memory.VECTORS['lbfgs'] * 3 * 100 * 60
    assert memory.estimate((100, 60), weights) == pytest.approx(expected)
    assert memory.estimate((1000, 600), weights, 'adam', halo=16, tile_size=64) == pytest.approx(
        memory.FIXED[stack] + kernels + 4 * memory.ACTIVATION_COPIES * (96 * 96 * 64 + 48 * 48 * 128)
        + 4 * memory.VECTORS['adam'] * 3 * 1000 * 600)
    two_regions = memory.estimate((100, 60), weights, masked=['conv2_1'] * 2)
    assert two_regions - memory.estimate((100, 60), weights) == pytest.approx(4 * 2 * 50 * 30 * 128, abs=2)


def test_this_process_takes_memory():
    assert 10 ** 7 < memory.current() <= memory.peak() * 1.01
