"""Features computed once per image and copy; stored so that they are found by content and survive damage and kills."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError, UnavailableError
from common.session import tf
from datasets.image_folder import Split
from networks import vgg_keras
from training import bottleneck_features
from training.bottleneck_features import BottleneckFeatures, FeatureFile

LAYERS = ['block5_pool', 'block4_pool']
COPIES = ['original', 'flip']
NUM_IMAGES = 20


def sha256_of(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def images(numbers):
    paths = np.empty(len(numbers), object)
    paths[:] = [Path(f'{number}.png') for number in numbers]
    return Split(paths=paths, sha256=np.array([sha256_of(number) for number in numbers]),
                 labels=np.zeros(len(numbers), np.int64))


ALL = images(range(NUM_IMAGES))
PARTS = [(images(range(12)), COPIES), (images(range(12, NUM_IMAGES)), COPIES[:1])]


# The features of a network

def noise(paths, sha256, copies, *unused):
    """Stands in for reading images: noise that depends on the name."""
    found = np.stack([np.random.RandomState(int(path.stem)).randint(0, 256, [64, 64, 3]) for path in paths])
    flipped = np.array(copies) == 'flip'
    found[flipped] = found[flipped, :, ::-1]
    return found.astype(np.uint8)


@pytest.fixture
def computed(monkeypatch):
    """List of the images that had to be computed."""
    numbers = []

    def load(paths, *more):
        numbers.extend(int(path.stem) for path in paths)
        return noise(paths, *more)
    monkeypatch.setattr(bottleneck_features.augmented_copies, 'load_copies', load)
    return numbers


def compute(folder, module, parts=PARTS, layers=LAYERS, said=None, seed=None):
    """Computes what is missing, as a process of its own would; returns the features."""
    weights = module.weights()
    if seed is not None:
        weights['conv1_1'] = weights['conv1_1'][0], np.float32(seed) + weights['conv1_1'][1]
    features = BottleneckFeatures(folder, layers, 64, weights, threads=1)
    features.compute(parts, say=(said if said is not None else []).append, quiet=True)
    return features


def test_features_are_the_layers_activations_of_the_copy_asked_for(tmp_path, narrow_vgg16, computed):
    features = compute(tmp_path, narrow_vgg16)
    assert len(computed) == 12 * 2 + 8
    with vgg_keras.open_session() as sess:
        model = vgg_keras.vgg16(64)
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, narrow_vgg16.weights())
        shown = noise(ALL.paths[[3, 15, 0]], None, ['flip', 'original', 'original'])
        expected = sess.run([model.get_layer(layer).output for layer in LAYERS], {model.input: shown})
    for layer, activations in zip(LAYERS, expected):
        found = features.read(layer, images([3, 15, 0]), ['flip', 'original', 'original'])
        assert found.dtype == np.float16 and np.ptp(found) > 1
        np.testing.assert_allclose(found, activations, rtol=1e-3, atol=1e-2)


def test_without_a_layer_the_images_themselves_are_read_and_nothing_is_stored(tmp_path, narrow_vgg16, computed):
    features = compute(tmp_path / 'none', narrow_vgg16, layers=[])
    assert not (tmp_path / 'none').exists() and not computed
    np.testing.assert_array_equal(features.read(None, images([2, 1]), ['flip', 'original']),
                                  noise(ALL.paths[[2, 1]], None, ['flip', 'original']))


def test_a_second_run_computes_nothing_and_a_new_image_only_itself(tmp_path, narrow_vgg16, computed):
    said = []
    compute(tmp_path, narrow_vgg16, PARTS[:1], said=said)
    assert said == [f'features of block5_pool and block4_pool: 24 images and copies to compute, in {tmp_path}']
    for parts, number in ((PARTS[:1], 0), (PARTS, 8)):
        del computed[:], said[:]
        compute(tmp_path, narrow_vgg16, parts, said=said)
        assert len(computed) == number and len(said) == 1 and f': {number} images and copies' in said[0]
    del computed[:]
    compute(tmp_path, narrow_vgg16, PARTS[:1], seed=1)  # other weights
    assert len(computed) == 24


def test_a_killed_computation_resumes(tmp_path, narrow_vgg16, computed, monkeypatch):
    monkeypatch.setattr(vgg_keras, 'IMAGES_AT_ONCE', 4)
    load = bottleneck_features.augmented_copies.load_copies

    def killed(*arguments):
        if len(computed) == 16:
            raise KeyboardInterrupt
        return load(*arguments)
    monkeypatch.setattr(bottleneck_features.augmented_copies, 'load_copies', killed)
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path / 'killed', narrow_vgg16)
    monkeypatch.setattr(bottleneck_features.augmented_copies, 'load_copies', load)
    del computed[:]
    said = []
    resumed = compute(tmp_path / 'killed', narrow_vgg16, said=said)
    assert 0 < len(computed) < 32 and len(said) == 1
    whole = compute(tmp_path / 'whole', narrow_vgg16)
    for layer in LAYERS:
        np.testing.assert_array_equal(resumed.read(layer, ALL, ['original'] * NUM_IMAGES),
                                      whole.read(layer, ALL, ['original'] * NUM_IMAGES))


def test_a_layer_that_is_stored_is_not_stored_twice(tmp_path, narrow_vgg16, computed):
    compute(tmp_path, narrow_vgg16, layers=LAYERS[:1])
    sizes = {path: path.stat().st_size for path in tmp_path.glob('block5*/rows')}
    del computed[:]
    compute(tmp_path, narrow_vgg16)
    assert len(sizes) == 2 and sizes == {path: path.stat().st_size for path in sizes}
    assert len(computed) == 32


@pytest.fixture
def free_bytes(monkeypatch, tmp_path):
    """Function that sets how much of the disk is free."""
    usage = bottleneck_features.shutil.disk_usage(str(tmp_path))

    def set_free(count):
        monkeypatch.setattr(bottleneck_features.shutil, 'disk_usage', lambda path: usage._replace(free=count))
    return set_free


def test_a_disk_without_room_is_found_before_the_work(tmp_path, narrow_vgg16, computed, free_bytes):
    free_bytes(1000)
    with pytest.raises(UnavailableError, match='the features of 32 images take 5,120 bytes, but only 1,000 are free'):
        compute(tmp_path, narrow_vgg16)
    assert not computed


def test_a_layer_that_is_stored_needs_no_room(tmp_path, narrow_vgg16, computed, free_bytes):
    compute(tmp_path, narrow_vgg16, layers=LAYERS[:1])
    free_bytes(32 * 4 * 4 * 4 * 2)  # block4_pool's rows
    compute(tmp_path, narrow_vgg16)
    assert len(computed) == 64


# One layer's rows on disk

SHA256 = [sha256_of(number) for number in range(10)]
ROWS = np.random.RandomState(0).uniform(-3, 3, [10, 4, 5, 2]).astype(np.float16)
KEY = {'layer': 'pool', 'size': 8}


def open_file(folder, key=KEY):
    return FeatureFile(folder, key, ROWS.shape[1:])


@pytest.fixture
def filled(tmp_path):
    """Folder with the ten rows."""
    open_file(tmp_path).append(SHA256, ROWS)
    return tmp_path


def test_rows_come_back_by_the_images_checksum(tmp_path):
    stored = open_file(tmp_path)
    assert stored.missing(SHA256) == SHA256
    stored.append(SHA256[:6], ROWS[:6])
    stored.append(SHA256[6:], ROWS[6:])
    again = open_file(tmp_path)
    assert again.missing(SHA256) == [] and again.problem is None
    np.testing.assert_array_equal(again.read([SHA256[7], SHA256[0], SHA256[7]]), ROWS[[7, 0, 7]])


def test_what_float16_cannot_hold_is_clipped(tmp_path):
    stored = open_file(tmp_path)
    stored.append(SHA256[:1], np.full((1,) + ROWS.shape[1:], 1e6, np.float32))
    assert stored.read(SHA256[:1]).max() == 65504


def test_an_image_more_costs_a_row_more(filled):
    new = sha256_of('new')
    stored = open_file(filled)
    assert stored.missing([SHA256[3], new, new]) == [new] and new not in stored and SHA256[3] in stored
    stored.append([new], ROWS[:1])
    assert open_file(filled).missing(SHA256 + [new]) == []


@pytest.mark.parametrize('cut, left', [(1, 9), (0, 10)], ids=['half an entry', 'whole entries'])
def test_a_kill_loses_only_what_was_not_whole(filled, cut, left):
    path = filled / bottleneck_features.INDEX
    path.write_bytes(path.read_bytes()[:-cut or None])
    with (filled / bottleneck_features.ROWS).open('ab') as file:  # half of a row without an entry
        file.write(b'half')
    stored = open_file(filled)
    assert stored.problem is None and stored.missing(SHA256) == SHA256[left:]
    if left < 10:
        stored.append(SHA256[left:], ROWS[left:])
    np.testing.assert_array_equal(open_file(filled).read(SHA256), ROWS)


def cut_off(content):
    return content[:-3 * ROWS[0].nbytes + 5]


def damaged(content):
    place = 4 * ROWS[0].nbytes + 3
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]


@pytest.mark.parametrize('spoil, lost, problem', [
    (cut_off, slice(7, 10), 'cut off after 7 of 10 rows'), (damaged, slice(4, 5), '1 of the rows damaged')],
    ids=['cut off', 'damaged'])
def test_rows_that_are_lost_are_reported_and_computed_again(filled, spoil, lost, problem):
    path = filled / bottleneck_features.ROWS
    path.write_bytes(spoil(path.read_bytes()))
    stored = open_file(filled)
    assert stored.missing(SHA256) == SHA256[lost] and stored.problem == problem
    stored.append(SHA256[lost], ROWS[lost])
    again = open_file(filled)
    assert again.missing(SHA256) == [] and again.problem is None
    np.testing.assert_array_equal(again.read(SHA256), ROWS)


@pytest.mark.parametrize('change', [{'layer': 'conv'}, {'size': 9}], ids=['layer', 'size'])
def test_rows_of_another_key_are_given_up(filled, change):
    stored = open_file(filled, dict(KEY, **change))
    assert 'another network or size' in stored.problem and stored.missing(SHA256) == SHA256
    stored.append(SHA256, -ROWS)
    np.testing.assert_array_equal(open_file(filled, dict(KEY, **change)).read(SHA256), -ROWS)


@pytest.mark.parametrize('name', ['.', 'rows', 'index', 'key.json'])
def test_features_that_lead_elsewhere_are_refused_and_what_they_lead_to_is_as_it_was(tmp_path, name):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'rows').write_bytes(b'precious')
    path = tmp_path / 'features' / name
    if name == '.':
        path.symlink_to(tmp_path / 'elsewhere')
    else:
        path.parent.mkdir()
        path.symlink_to(tmp_path / 'elsewhere' / 'rows')
    with pytest.raises(InputError, match='a link to .*, which would be overwritten; remove the link'):
        FeatureFile(tmp_path / 'features', {}, (2,))
    assert [file.read_bytes() for file in (tmp_path / 'elsewhere').iterdir()] == [b'precious']


def test_a_pipe_in_place_of_features_is_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / 'rows'))
    with pytest.raises(InputError, match='rows: not a regular file'):
        FeatureFile(tmp_path, {}, (2,))


def test_a_key_that_cannot_be_read_is_another_key(filled):
    (filled / bottleneck_features.KEY).write_text('{"layer": "po')
    assert open_file(filled).missing(SHA256) == SHA256


def output_of(code, *arguments, **options):
    """Runs a program that imports the module as FeatureFile's; returns what it prints."""
    environ = dict(os.environ, PYTHONPATH=str(Path(bottleneck_features.__file__).parent.parent))
    code = ('import re, resource, sys; from pathlib import Path; import numpy as np\n'
            'from training.bottleneck_features import FeatureFile\n' + code)
    return subprocess.check_output([sys.executable, '-c', code, *arguments], env=environ, **options).decode().split()


@pytest.mark.slow
def test_looking_for_damage_takes_little_memory(tmp_path):
    sha256, row = [sha256_of(number) for number in range(1000)], np.ones([1, 40000], np.float16)
    stored = FeatureFile(tmp_path, {}, row.shape[1:])
    for start in range(0, 1000, 100):
        stored.append(sha256[start:start + 100], np.repeat(row, 100, axis=0))
    code = ('def peak():\n'  # not getrusage, which counts what the process that forks has taken
            '  return int(re.search("VmHWM:\\\\s*(\\\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024\n'
            'stored = FeatureFile(Path(sys.argv[1]), {}, (40000,))\n'
            'before = peak()\n'
            'assert stored.missing(sys.stdin.read().split()) == []\n'
            'print(peak() - before)')
    megabytes, = output_of(code, str(tmp_path), input=' '.join(sha256).encode())
    assert int(megabytes) < 40  # of 76


def test_a_full_disk_keeps_the_rows_before(tmp_path):
    code = ('stored = FeatureFile(Path(sys.argv[1]), {}, (1000,))\n'
            'stored.append(["a" * 64], np.ones([1, 1000]))\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n'
            'try:\n  stored.append(["b" * 64], np.ones([1, 1000]))\n'
            'except OSError as error:\n  print(error.errno, error.filename)')
    assert output_of(code, str(tmp_path)) == ['27', str(tmp_path / bottleneck_features.ROWS)]
    stored = FeatureFile(tmp_path, {}, (1000,))
    assert stored.missing(['a' * 64, 'b' * 64]) == ['b' * 64] and stored.problem is None
    stored.append(['b' * 64], np.full([1, 1000], 2.0))
    np.testing.assert_array_equal(stored.read(['a' * 64, 'b' * 64])[:, 0], [1, 2])
