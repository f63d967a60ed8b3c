"""CIFAR-10: found in whatever form, checked, split; nothing taken for what it is not, nothing written by reading."""
import hashlib
import os
import pickle
import tarfile

import numpy as np
import pytest

from common import download
from common.errors import InputError, UnavailableError
from datasets import cifar10, cifar10_batches
from packing import make_tar, special

PER_BATCH, NUM_VALIDATION = 20, 7
PYTHON, BINARY = cifar10.FORMATS


class SmallSet:
    """Six batches of random images, which take the place of CIFAR-10's."""

    def __init__(self):
        random = np.random.RandomState(0)
        self.images = random.randint(0, 256, (6 * PER_BATCH, 32, 32, 3)).astype(np.uint8)
        self.labels = random.randint(0, 10, 6 * PER_BATCH).astype(np.uint8)
        self.pixels = self.images.transpose(0, 3, 1, 2).reshape(-1, 3072)
        self.sums = {name: hashlib.sha256(self.labels[part].tobytes() + self.pixels[part].tobytes()).hexdigest()
                     for name, part in self.parts()}

    def parts(self):
        return [(name, slice(k * PER_BATCH, (k + 1) * PER_BATCH)) for k, name in enumerate(cifar10.BATCH_NAMES)]

    def files(self, form=PYTHON):
        """dict from the path within the archive to its content, as in the archive that is published."""
        files = {form.folder + '/readme.html': b'<meta HTTP-EQUIV="REFRESH">'}
        for name, part in self.parts():
            if form is BINARY:
                content = np.hstack([self.labels[part, np.newaxis], self.pixels[part]]).tobytes()
            else:
                content = pickle.dumps({b'data': self.pixels[part], b'labels': self.labels[part].tolist()}, 3)
            files[f'{form.folder}/{name}{form.suffix}'] = content
        return files


@pytest.fixture
def small_set(monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    made = SmallSet()
    monkeypatch.setattr(cifar10_batches, 'NUM_IMAGES', PER_BATCH)
    monkeypatch.setattr(cifar10, 'NUM_VALIDATION', NUM_VALIDATION)
    monkeypatch.setattr(cifar10, 'CONTENT_SHA256', made.sums)
    return made


def pack(files, path, specials=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_tar(path, [*specials, *files.items()])


def unpack(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def everything_in(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob('*')}


def refusal(data_dir):
    """The one line with which the data folder is refused; nothing in it is changed."""
    before = everything_in(data_dir.parent)
    with pytest.raises(InputError) as caught:
        cifar10.load(data_dir)
    assert '\n' not in str(caught.value)
    assert everything_in(data_dir.parent) == before
    return str(caught.value)


@pytest.mark.parametrize('form', cifar10.FORMATS, ids=['python', 'binary'])
@pytest.mark.parametrize('where, packed', [
    ('cifar10/{archive}', True), ('{archive}', True), ('cifar10', False), ('.', False), ('{folder}', None)])
def test_finds_the_files_and_splits_them(small_set, tmp_path, form, where, packed):
    where = tmp_path / where.format(archive=form.archive, folder=form.folder)
    if packed:
        pack(small_set.files(form), where)
    else:
        unpack(small_set.files(form), tmp_path if packed is None else where)
        where = where if packed is None else where / form.folder
    data = cifar10.load(where if packed is None else tmp_path)
    train, validation = slice(5 * PER_BATCH - NUM_VALIDATION), slice(5 * PER_BATCH - NUM_VALIDATION, 5 * PER_BATCH)
    for images, labels, part in ((data.train_images, data.train_labels, train),
                                 (data.validation_images, data.validation_labels, validation),
                                 (data.test_images, data.test_labels, slice(5 * PER_BATCH, None))):
        assert images.dtype == np.uint8 and labels.dtype == np.int64
        np.testing.assert_array_equal(images, small_set.images[part])
        np.testing.assert_array_equal(labels, small_set.labels[part])
    assert data.source == str(where)
    assert data.class_names[0] == 'airplane' and data.class_names[9] == 'truck'
    assert data.checksums == small_set.sums and list(data.checksums) == list(cifar10.BATCH_NAMES)


def test_the_order_in_the_archive_does_not_matter(small_set, tmp_path):
    pack(small_set.files(), tmp_path / 'one' / PYTHON.archive)
    files = small_set.files()
    pack({'./' + name: files[name] for name in sorted(files, reverse=True)}, tmp_path / 'two' / PYTHON.archive)
    one, two = cifar10.load(tmp_path / 'one'), cifar10.load(tmp_path / 'two')
    np.testing.assert_array_equal(one.train_images, two.train_images)
    assert one.checksums == two.checksums


def test_the_whole_set_comes_before_a_part_of_it(small_set, tmp_path):
    unpack(dict(list(small_set.files().items())[:4]), tmp_path)
    archive = pack(small_set.files(BINARY), tmp_path / 'cifar10' / BINARY.archive)
    assert cifar10.load(tmp_path).source == str(archive)
    archive.unlink()
    assert refusal(tmp_path) == (f'{tmp_path / PYTHON.folder}: does not contain data_batch_4, data_batch_5, '
                                 'test_batch; complete it, or move it away')


def damage_last(change):
    """A change to the pickled batch data_batch_5."""
    def damage(files):
        name = PYTHON.folder + '/data_batch_5'
        batch = pickle.loads(files[name])
        change(batch)
        return dict(files, **{name: pickle.dumps(batch, 3)})
    return damage


BAD_BATCHES = [
    (damage_last(lambda batch: batch.update({b'data': batch[b'data'][1:]})),
     'data_batch_5: its data has the shape (19, 3072), expected (20, 3072)'),
    (damage_last(lambda batch: batch[b'labels'].pop()), 'data_batch_5: 19 labels, expected 20'),
    (damage_last(lambda batch: batch[b'labels'].__setitem__(3, 12)), 'data_batch_5: label 12 at position 3'),
    (damage_last(lambda batch: batch[b'data'].__setitem__((0, 0), batch[b'data'][0, 0] ^ 1)),
     'data_batch_5: not the published images and labels: their SHA-256 is '),
    (damage_last(lambda batch: batch[b'labels'].__setitem__(0, (batch[b'labels'][0] + 1) % 10)),
     'data_batch_5: not the published images and labels: their SHA-256 is '),
    (lambda files: dict(files, **{PYTHON.folder + '/test_batch': files[PYTHON.folder + '/data_batch_1']}),
     'test_batch: not the published images and labels'),
    (lambda files: dict(files, **{PYTHON.folder + '/data_batch_2': b''}), 'data_batch_2: its pickle is damaged'),
]


@pytest.mark.parametrize('change, message', BAD_BATCHES)
@pytest.mark.parametrize('packed', [True, False])
def test_a_bad_batch_is_one_line(small_set, tmp_path, packed, change, message):
    files = change(small_set.files())
    if packed:
        pack(files, tmp_path / 'data' / PYTHON.archive)
    else:
        unpack(files, tmp_path / 'data')
    assert message in refusal(tmp_path / 'data')


@pytest.mark.parametrize('packed', [True, False])
def test_a_pickle_that_tries_to_run_something_is_refused(small_set, tmp_path, packed):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    files = damage_last(lambda batch: None)(small_set.files())
    files[PYTHON.folder + '/data_batch_3'] = pickle.dumps({b'data': Attack(), b'labels': []}, 3)
    if packed:
        pack(files, tmp_path / 'data' / PYTHON.archive)
    else:
        unpack(files, tmp_path / 'data')
    assert 'data_batch_3: refused: its pickle asks for posix.mkdir, which no batch of CIFAR-10' in refusal(
        tmp_path / 'data')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('extra, specials, message', [
    ({'../outside': b'x'}, [], "the name '../outside' leads out of the folder"),
    ({'/tmp/outside': b'x'}, [], "the name '/tmp/outside' leads out of the folder"),
    ({'a/../../data_batch_1': b'x'}, [], "the name 'a/../../data_batch_1' leads out of the folder"),
    ({}, [special('link', tarfile.SYMTYPE, '/etc/passwd')], 'link is a link or a device'),
    ({}, [special(PYTHON.folder + '/data_batch_1', tarfile.LNKTYPE, 'readme.html')], 'data_batch_1 is a link or a'),
    ({'again/data_batch_2': b'x'}, [], 'data_batch_2 appears twice'),
])
def test_an_archive_that_nobody_should_have_made(small_set, tmp_path, extra, specials, message):
    pack(dict(small_set.files(), **extra), tmp_path / 'data' / PYTHON.archive, specials)
    assert message in refusal(tmp_path / 'data')


def test_an_archive_without_one_batch(small_set, tmp_path):
    files = small_set.files()
    del files[PYTHON.folder + '/data_batch_4']
    path = pack(files, tmp_path / 'data' / PYTHON.archive)
    assert refusal(tmp_path / 'data') == f'{path}: does not contain data_batch_4'


@pytest.mark.parametrize('damage, message', [
    (lambda content: content[:len(content) // 2], 'truncated or damaged ('),
    (lambda content: content[:-4], 'truncated or damaged ('),
    (lambda content: b'', 'truncated or damaged ('),
    (lambda content: b'<!DOCTYPE html>' * 100, 'a web page, such as a failed download leaves behind, in place of'),
    (lambda content: content[:-8] + bytes([content[-8] ^ 1]) + content[-7:], 'truncated or damaged (CRC check failed'),
    (lambda content: content[:90000] + bytes(9) + content[90009:], 'data_batch_2: not the published images and labels'),
], ids=['half', 'end cut off', 'empty', 'web page', 'checksum', 'pixels'])
def test_a_partial_or_damaged_archive(small_set, tmp_path, damage, message):
    path = pack(small_set.files(), tmp_path / 'data' / PYTHON.archive)
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(tmp_path / 'data').startswith(f'{path}: {message}')


def test_a_bomb_is_not_unpacked(small_set, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, 'MAX_BYTES', 1 << 20)
    path = pack({PYTHON.folder + '/data_batch_1': bytes(3 << 20)}, tmp_path / 'data' / PYTHON.archive)
    assert refusal(tmp_path / 'data') == f'{path}: unpacks to more than 1048576 bytes'


def test_what_is_no_file_or_no_folder(small_set, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    for data_dir in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(InputError, match=r'data folder .*file.*: cannot be read \(Not a directory\)'):
            cifar10.load(data_dir)
    files = small_set.files()
    unpack(files, tmp_path / 'a')
    (tmp_path / 'a' / PYTHON.folder / 'data_batch_1').unlink()
    os.mkfifo(str(tmp_path / 'a' / PYTHON.folder / 'data_batch_1'))
    (tmp_path / 'b' / PYTHON.archive).mkdir(parents=True)
    for data_dir in (tmp_path / 'a', tmp_path / 'b'):
        with pytest.raises(InputError, match='not a regular file'):
            cifar10.load(data_dir)


def test_without_the_data_it_says_what_was_tried_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    with pytest.raises(UnavailableError) as caught:
        cifar10.load(tmp_path / 'data')
    lines = str(caught.value).split('\n  ')
    assert lines[:2] == ['cannot get cifar-10-python.tar.gz', 'RECIPES_OFFLINE=1 forbids to download']
    assert lines[2].startswith('by hand: put cifar-10-python.tar.gz into %s. ' % (tmp_path / 'data' / 'cifar10'))
    assert len(lines) == 3 and not (tmp_path / 'data').exists()


def test_names_the_mirror_that_failed(tmp_path, monkeypatch):
    monkeypatch.delenv('RECIPES_OFFLINE', raising=False)
    with pytest.raises(UnavailableError, match='https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz: ') as caught:
        cifar10.load(tmp_path / 'data', quiet=True)
    assert 'by hand: put cifar-10-python.tar.gz into' in str(caught.value)


def test_reads_what_was_fetched(small_set, tmp_path, monkeypatch):
    def obtain(assets, folder, quiet):
        assert assets == [cifar10.ASSET] and folder == tmp_path / 'cifar10' and quiet
        return [download.Found(pack(small_set.files(), folder / PYTHON.archive), 'downloaded from https://there', '')]

    monkeypatch.setattr(download, 'obtain', obtain)
    data = cifar10.load(tmp_path, quiet=True)
    assert data.source == 'downloaded from https://there'
    np.testing.assert_array_equal(data.test_images, small_set.images[-PER_BATCH:])


def test_prepare_takes_the_center_square():
    image = np.zeros((100, 200, 3), np.float32)
    image[:, 50:150] = [255, 100, 30]
    prepared = cifar10.prepare(image)
    assert prepared.dtype == np.uint8 and prepared.shape == (32, 32, 3)
    assert np.all(prepared == [255, 100, 30])
    np.testing.assert_array_equal(cifar10.prepare(image.swapaxes(0, 1)), prepared)


def test_prepare_averages_what_is_too_fine():
    image = np.zeros((640, 640, 3), np.float32)
    image[::2] = 255  # a line of 1/20 pixel
    assert np.all(np.abs(cifar10.prepare(image)[2:-2].astype(int) - 127) <= 2)


def test_prepare_keeps_an_image_of_cifar_10s_size():
    image = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    np.testing.assert_array_equal(cifar10.prepare(image.astype(np.float32)), image)
    assert cifar10.prepare(np.full((1, 5, 3), 77, np.float32)).shape == (32, 32, 3)


@pytest.mark.real_data
def test_real_cifar10(real_data_dir, monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    try:
        data = cifar10.load(real_data_dir)
    except UnavailableError:
        pytest.skip(f'no CIFAR-10 in {real_data_dir}')
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (45000, 5000, 10000)
    assert list(data.train_labels[:5]) == [6, 9, 9, 4, 1] and list(data.test_labels[:5]) == [3, 8, 8, 0, 6]
    counts = np.bincount(data.train_labels) + np.bincount(data.validation_labels)
    assert np.all(counts == 5000) and np.all(np.bincount(data.test_labels) == 1000)
    assert np.all(np.abs(np.bincount(data.validation_labels) - 500) < 50)
    mean = data.train_images[:, ::2, ::2].mean((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.002)
    assert list(data.train_images[0, 0, 0]) == [59, 62, 63]  # the first pixel of the first frog
