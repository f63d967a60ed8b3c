"""Features kept on disk: found by content, whole after a kill, damage and a full disk."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import feature_cache
from training.feature_cache import FeatureCache

SUMS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(10)]
ROWS = np.random.RandomState(0).uniform(-3, 3, [10, 4, 5, 2]).astype(np.float16)
KEY = {'layer': 'pool', 'size': 8}


def open_cache(folder, key=KEY):
    return FeatureCache(folder, key, ROWS.shape[1:])


@pytest.fixture
def filled(tmp_path):
    """Folder of a cache with the ten rows."""
    open_cache(tmp_path).append(SUMS, ROWS)
    return tmp_path


def test_rows_come_back_by_the_images_sum(tmp_path):
    cache = open_cache(tmp_path)
    assert cache.missing(SUMS) == SUMS
    cache.append(SUMS[:6], ROWS[:6])
    cache.append(SUMS[6:], ROWS[6:])
    again = open_cache(tmp_path)
    assert again.missing(SUMS) == [] and again.problem is None
    np.testing.assert_array_equal(again.read([SUMS[7], SUMS[0], SUMS[7]]), ROWS[[7, 0, 7]])


def test_what_float16_cannot_hold_is_clipped(tmp_path):
    cache = open_cache(tmp_path)
    cache.append(SUMS[:1], np.full((1,) + ROWS.shape[1:], 1e6, np.float32))
    assert cache.read(SUMS[:1]).max() == 65504


def test_an_image_more_costs_a_row_more(filled):
    new = hashlib.sha256(b'new').hexdigest()
    cache = open_cache(filled)
    assert cache.missing([SUMS[3], new, new]) == [new] and new not in cache and SUMS[3] in cache
    cache.append([new], ROWS[:1])
    assert open_cache(filled).missing(SUMS + [new]) == []


@pytest.mark.parametrize('name, cut, left', [
    (feature_cache.INDEX, 1, 9),       # killed while the last entry was written
    (feature_cache.ROWS, 0, 10)])
def test_a_kill_loses_only_what_was_not_whole(filled, name, cut, left):
    path = filled / name
    path.write_bytes(path.read_bytes()[:-cut or None])
    with (filled / feature_cache.ROWS).open('ab') as file:  # half of a row that has no entry
        file.write(b'half')
    cache = open_cache(filled)
    assert cache.problem is None and cache.missing(SUMS) == SUMS[left:]
    if left < 10:
        cache.append(SUMS[left:], ROWS[left:])
    np.testing.assert_array_equal(open_cache(filled).read(SUMS), ROWS)


def test_a_cache_that_was_cut_off_says_so_and_keeps_the_rest(filled):
    path = filled / feature_cache.ROWS
    path.write_bytes(path.read_bytes()[:-3 * ROWS[0].nbytes + 5])
    cache = open_cache(filled)
    assert cache.problem == 'cut off after 7 of 10 rows' and cache.missing(SUMS) == SUMS[7:]
    cache.append(SUMS[7:], ROWS[7:])
    again = open_cache(filled)
    assert again.missing(SUMS) == [] and again.problem is None
    np.testing.assert_array_equal(again.read(SUMS), ROWS)


def test_a_damaged_row_comes_anew(filled):
    path = filled / feature_cache.ROWS
    content = bytearray(path.read_bytes())
    content[4 * ROWS[0].nbytes + 3] ^= 1
    path.write_bytes(bytes(content))
    cache = open_cache(filled)
    assert cache.missing(SUMS) == [SUMS[4]] and cache.problem == '1 of the rows damaged'
    cache.append([SUMS[4]], ROWS[4:5])
    again = open_cache(filled)
    assert again.missing(SUMS) == [] and again.problem is None
    np.testing.assert_array_equal(again.read(SUMS), ROWS)


def test_looking_for_damage_takes_little_memory(tmp_path):
    sums, row = [hashlib.sha256(b'%d' % number).hexdigest() for number in range(2000)], np.ones([1, 40000], np.float16)
    cache = FeatureCache(tmp_path, {}, row.shape[1:])
    for start in range(0, 2000, 100):
        cache.append(sums[start:start + 100], np.repeat(row, 100, axis=0))
    code = ('import re, sys; from pathlib import Path\n'
            'from training.feature_cache import FeatureCache\n'
            'def peak():\n'  # not getrusage, which counts what the process that forks has taken
            '  return int(re.search("VmHWM:\\\\s*(\\\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024\n'
            'cache = FeatureCache(Path(sys.argv[1]), {}, (40000,))\n'
            'before = peak()\n'
            'assert cache.missing(sys.stdin.read().split()) == []\n'
            'print(peak() - before)')
    environ = dict(os.environ, PYTHONPATH=str(Path(feature_cache.__file__).parent.parent))
    out = subprocess.check_output([sys.executable, '-c', code, str(tmp_path)], env=environ,
                                  input=' '.join(sums).encode())
    assert int(out) < 40  # megabytes, of 153


@pytest.mark.parametrize('change', [{'layer': 'conv'}, {'size': 9}])
def test_rows_of_another_key_are_given_up(filled, change):
    cache = open_cache(filled, dict(KEY, **change))
    assert 'another network or size' in cache.problem and cache.missing(SUMS) == SUMS
    cache.append(SUMS, -ROWS)
    np.testing.assert_array_equal(open_cache(filled, dict(KEY, **change)).read(SUMS), -ROWS)


def test_a_key_that_cannot_be_read_is_another_key(filled):
    (filled / feature_cache.KEY).write_text('{"layer": "po')
    assert open_cache(filled).missing(SUMS) == SUMS


def test_a_full_disk_keeps_the_rows_before(tmp_path):
    code = ('import resource, sys; from pathlib import Path; import numpy as np\n'
            'from training.feature_cache import FeatureCache\n'
            'cache = FeatureCache(Path(sys.argv[1]), {}, (1000,))\n'
            'cache.append(["a" * 64], np.ones([1, 1000]))\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n'
            'try:\n  cache.append(["b" * 64], np.ones([1, 1000]))\n'
            'except OSError as error:\n  print(error.errno, error.filename)')
    environ = dict(os.environ, PYTHONPATH=str(Path(feature_cache.__file__).parent.parent))
    out = subprocess.check_output([sys.executable, '-c', code, str(tmp_path)], env=environ).decode().split()
    assert out == ['27', str(tmp_path / feature_cache.ROWS)]
    cache = FeatureCache(tmp_path, {}, (1000,))
    assert cache.missing(['a' * 64, 'b' * 64]) == ['b' * 64] and cache.problem is None
    cache.append(['b' * 64], np.full([1, 1000], 2.0))
    np.testing.assert_array_equal(cache.read(['a' * 64, 'b' * 64])[:, 0], [1, 2])
