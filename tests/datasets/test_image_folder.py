"""Folders of labeled images: as people have them, with what is wrong in them, in one line each."""
import contextlib
import hashlib
import io
import os
import shutil
import struct
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from common import archives, files, images
from common.errors import InputError, UnavailableError
from datasets import image_folder, layouts
from packing import make_tar, make_zip


def encoded(number, size=(9, 7), kind='PNG', mode='RGB', **options):
    """Returns the bytes of an image file; each number gives another image."""
    pixels = np.random.RandomState(number).randint(0, 256, size[::-1] + (3,)).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(encoded, kind, **options)
    return encoded.getvalue()


def numbered(pattern, count, start=0):
    """Returns {pattern % number: an image of its own}; the same number in the same pattern gives the same image."""
    return {pattern % number: encoded(sum(map(ord, pattern)) * 1000 + number)
            for number in range(start, start + count)}


def write(folder, contents):
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(split):
    return [path.name for path in split.paths]


def all_paths(data):
    return [path for split in (data.train, data.validation, data.test) for path in split.paths]


def counts(data):
    return [np.bincount(split.labels, minlength=len(data.class_names)).tolist()
            for split in (data.train, data.validation, data.test)]


CLASSES = {**numbered('cats/c%d.png', 20), **numbered('dogs/d%d.png', 40)}
COOKBOOK = {**numbered('train/cats/c%d.png', 5), **numbered('train/dogs/d%d.png', 3),
            **numbered('validation/cats/c%d.png', 4), **numbered('validation/dogs/d%d.png', 6)}
TEST = {**numbered('test/cats/c%d.png', 2), **numbered('test/dogs/d%d.png', 1)}
FLAT = {**numbered('cat.%d.jpg', 20), **numbered('dog.%d.jpg', 20)}


def below(folder, contents):
    return {f'{folder}/{name}': content for name, content in contents.items()}


def renamed(contents, old, new, count=-1):
    return {name.replace(old, new, count): content for name, content in contents.items()}


WITHOUT_VALIDATION = {name: content for name, content in {**COOKBOOK, **TEST}.items() if 'validation' not in name}
DRAWN = '; of each class, 15 % as validation and 15 % as test, drawn with seed 0'
DRAWN_IN_TRAIN = '; of each class in train, 15 % as validation and 15 % as test, drawn with seed 0'
HALVED = '; of each class in validation, 50 % as test, drawn with seed 0'
LAYOUTS = {
    'the cookbook': (COOKBOOK, '', [[5, 3], [2, 3], [2, 3]],
                     ', train + validation, one folder per class' + HALVED),
    'with a test set': ({**COOKBOOK, **TEST}, '', [[5, 3], [4, 6], [2, 1]],
                        ', train + validation + test, one folder per class; split as it is'),
    'val': (renamed(COOKBOOK, 'validation', 'val'), '', [[5, 3], [2, 3], [2, 3]],
            ', train + val, one folder per class' + HALVED),
    'capitals': (renamed(renamed(COOKBOOK, 'validation', 'Valid'), 'train', 'Training'), '', [[5, 3], [2, 3], [2, 3]],
                 ', Training + Valid, one folder per class' + HALVED),
    'no validation': (WITHOUT_VALIDATION, '', [[4, 2], [1, 1], [2, 1]], ', train + test, one folder per class; of each '
                      'class in train, 15 % as validation, drawn with seed 0'),
    'test without classes': ({**COOKBOOK, **numbered('test/%d.png', 5)}, '', [[5, 3], [2, 3], [2, 3]],
                             ', train + validation, one folder per class; test has no classes and is not used'
                             + HALVED),
    "Keras's test": ({**COOKBOOK, **numbered('test/unknown/%d.png', 5)}, '', [[5, 3], [2, 3], [2, 3]],
                     ', train + validation, one folder per class; test has no classes and is not used' + HALVED),
    'train alone': (below('train', CLASSES), '', [[14, 28], [3, 6], [3, 6]], ', train, one folder per class; of each '
                    'class in train, 15 % as validation and 15 % as test, drawn with seed 0'),
    'classes': (CLASSES, '', [[14, 28], [3, 6], [3, 6]], ', one folder per class' + DRAWN),
    'folders in a class': (renamed(CLASSES, '/c', '/more/c'), '', [[14, 28], [3, 6], [3, 6]], None),
    'many folders in a class': (renamed(renamed(CLASSES, 'dogs/d1', 'dogs/pug/d1'), 'dogs/d', 'dogs/boxer/d'), '',
                                [[14, 28], [3, 6], [3, 6]], ', one folder per class' + DRAWN),
    'folders in both': (renamed(renamed(CLASSES, '/c', '/a/c'), '/d', '/b/d'), '', [[14, 28], [3, 6], [3, 6]], None),
    'a class called train': ({**CLASSES, **numbered('train/t%d.png', 20)}, '', [[14, 28, 14], [3, 6, 3], [3, 6, 3]],
                             ', one folder per class' + DRAWN),
    'Microsoft': (below('PetImages', CLASSES), '/PetImages', [[14, 28], [3, 6], [3, 6]],
                  ', one folder per class' + DRAWN),
    'a data folder': ({**below('dogs_and_cats', COOKBOOK), **numbered('cifar10/%d.png', 3), 'mnist/x.gz': b'x'},
                      '/dogs_and_cats', [[5, 3], [2, 3], [2, 3]],
                      ', train + validation, one folder per class' + HALVED),
    'Kaggle': (FLAT, '', [[14, 14], [3, 3], [3, 3]], ', the class in the name' + DRAWN),
    'Kaggle in train': ({**below('train', FLAT), **numbered('test1/%d.jpg', 3)}, '', [[14, 14], [3, 3], [3, 3]],
                        ', train, the class in the name; test1 has no classes and is not used' + DRAWN_IN_TRAIN),
    'Kaggle unpacked twice': (below('train/train', FLAT), '', [[14, 14], [3, 3], [3, 3]], None),
    'other names of parts': (renamed(renamed(COOKBOOK, 'validation', 'Valid_Set'), 'train', 'Training_Data'), '',
                             [[5, 3], [2, 3], [2, 3]], ', Training_Data + Valid_Set, one folder per class' + HALVED),
    'names with more in them': (renamed(renamed(COOKBOOK, 'validation', 'pets_val'), 'train', 'pets_train'), '',
                                [[5, 3], [2, 3], [2, 3]], ', pets_train + pets_val, one folder per class' + HALVED),
    'pictures beside parts': ({**renamed(WITHOUT_VALIDATION, 't', 'seg_t', 1), **numbered('seg_pred/%d.png', 3)}, '',
                              [[4, 2], [1, 1], [2, 1]], ', seg_train + seg_test, one folder per class; seg_pred is no '
                              'part of the split and is not used; of each class in train, 15 % as validation, drawn '
                              'with seed 0'),
    'pictures beside classes': ({**CLASSES, **numbered('test/%d.png', 3)}, '', [[14, 28], [3, 6], [3, 6]],
                                ', one folder per class; test has no classes and is not used' + DRAWN),
    'classes called like a part': (renamed(renamed(CLASSES, 'cats/', 'invalid/'), 'dogs/', 'valid/'), '',
                                   [[14, 28], [3, 6], [3, 6]], ', one folder per class' + DRAWN),
    'a table of something else': ({**CLASSES, 'labels.csv': b'0,cats\n1,dogs\n'}, '', [[14, 28], [3, 6], [3, 6]],
                                  None),
    'many classes': ({f'{k // 3:02d}/{k}.png': encoded(k) for k in range(120)}, '', [[1] * 40] * 3,
                     ', one folder per class' + DRAWN),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layouts(tmp_path, layout):
    contents, inside, expected, how = LAYOUTS[layout]
    data = image_folder.load(write(tmp_path, contents), quiet=True)
    assert counts(data) == expected
    assert how is None or data.description == f'{tmp_path}{inside}{how}'
    assert data.class_names == tuple(sorted(data.class_names)) and data.skipped == ()
    for split in data[1:4]:
        assert split.labels.dtype == np.int64 and len(split.labels) == len(split.paths)
        for path, label, checksum in zip(split.paths, split.labels, split.sha256):
            assert data.class_names[label] in str(path.relative_to(tmp_path))
            assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(set(all_paths(data))) == len(all_paths(data))


def test_given_parts_are_kept(tmp_path):
    data = image_folder.load(write(tmp_path, COOKBOOK), quiet=True)
    assert {path.relative_to(tmp_path).parts[0] for path in data.train.paths} == {'train'}
    assert {path.relative_to(tmp_path).parts[0] for split in data[2:4] for path in split.paths} == {'validation'}


# Archives


def pack(path, contents):
    make = make_zip if path.suffix.lower() == '.zip' else make_tar
    return make(path, contents.items()).read_bytes()


MICROSOFT = {**numbered('PetImages/Cat/%d.jpg', 10), **numbered('PetImages/Dog/%d.jpg', 10),
             'PetImages/Cat/666.jpg': b'', 'PetImages/Dog/11702.jpg': b'', 'PetImages/Cat/Thumbs.db': b'\xd0\xcf\x11',
             'PetImages/Dog/Thumbs.db': b'\xd0\xcf\x11', 'readme[1].txt': b'read me', 'CDLA.pdf': b'%PDF'}


@pytest.mark.parametrize('given', ['folder', 'file'])
def test_microsofts_zip(tmp_path, capsys, given):
    archive = tmp_path / 'kagglecatsanddogs_5340.zip'
    packed = pack(archive, MICROSOFT)
    data = image_folder.load(tmp_path if given == 'folder' else archive)
    unpacked = tmp_path / 'kagglecatsanddogs_5340'
    said = capsys.readouterr().out
    assert said.startswith(f'unpacking {archive} into {unpacked}\nfile {len(MICROSOFT)}/{len(MICROSOFT)}')
    assert data.class_names == ('Cat', 'Dog') and counts(data) == [[6, 6], [2, 2], [2, 2]]
    assert [path.relative_to(unpacked).as_posix() for path, _ in data.skipped] == [
        'PetImages/Cat/666.jpg', 'PetImages/Dog/11702.jpg']
    assert all(why.startswith('an empty file') for _, why in data.skipped)
    assert archive.read_bytes() == packed
    assert sorted(os.listdir(str(tmp_path))) == [unpacked.name, archive.name]
    again = image_folder.load(tmp_path if given == 'folder' else archive)
    assert 'unpacking' not in capsys.readouterr().out
    assert all_paths(again) == all_paths(data)


def test_kaggles_zip_of_zips(tmp_path):
    contents = {'train.zip': pack(tmp_path / 'train.zip', below('train', FLAT)), 'sampleSubmission.csv': b'1,0',
                'test1.zip': pack(tmp_path / 'test1.zip', numbered('test1/%d.jpg', 4))}
    data_dir = tmp_path / 'data'
    data_dir.mkdir()
    pack(data_dir / 'dogs-vs-cats.zip', contents)
    first, second = (image_folder.load(data_dir, quiet=True) for _ in range(2))
    assert first.class_names == ('cat', 'dog') and counts(first) == [[14, 14], [3, 3], [3, 3]]
    assert all_paths(first) == all_paths(second)
    assert first.train.paths[0].parent == data_dir / 'dogs-vs-cats' / 'train' / 'train'


@pytest.mark.parametrize('name', ['flowers.tgz', 'flowers.tar.gz', 'Flowers.ZIP'])
def test_any_archive(tmp_path, name):
    pack(tmp_path / name, {**below('flower_photos', {**CLASSES, **numbered('roses/%d.png', 3)}), 'LICENSE.txt': b'CC',
                           **{'__MACOSX/' + key: b'' for key in ('cats/._c1.png', 'dogs/._d1.png')}})
    data = image_folder.load(tmp_path / name, quiet=True)
    assert data.class_names == ('cats', 'dogs', 'roses') and data.skipped == ()
    assert data.train.paths[0].parent == tmp_path / name.split('.')[0] / 'flower_photos' / 'cats'


def test_a_zip_with_backslashes(tmp_path):
    make_zip(tmp_path / 'a.zip', [('My Pets\\', b''), *renamed(below('My Pets', CLASSES), '/', '\\').items()])
    data = image_folder.load(tmp_path / 'a.zip', quiet=True)
    assert data.class_names == ('cats', 'dogs') and len(all_paths(data)) == 60


def test_archives_of_other_things_are_left_alone(tmp_path, capsys):
    pack(tmp_path / 'inception5h.zip', {'graph.pb': b'', 'labels.txt': b''})
    pack(tmp_path / 'cifar-10-python.tar.gz', {'cifar-10-batches-py/data_batch_1': b''})
    pack(tmp_path / 'pets.zip', CLASSES)
    assert image_folder.load(tmp_path, quiet=True).train.paths[0].parent == tmp_path / 'pets' / 'cats'
    assert not (tmp_path / 'inception5h').exists() and not (tmp_path / 'cifar-10-python').exists()


@pytest.mark.parametrize('make, message', [
    (lambda path: path.write_bytes(pack(path, CLASSES)[:-100]), r'a.zip: truncated or damaged \(.*\); get it again'),
    (lambda path: path.write_bytes(b'<html>'), 'a.zip: a web page, .* in place of a zip archive; get it again'),
    (lambda path: pack(path, {'../cats/1.png': b''}), "a.zip: the name '../cats/1.png' leads out of the folder"),
], ids=['cut short', 'a web page', 'a path that leads out'])
def test_bad_archives_leave_nothing(tmp_path, make, message):
    make(tmp_path / 'a.zip')
    with pytest.raises(InputError, match=message) as caught:
        image_folder.load(tmp_path, quiet=True)
    assert '\n' not in str(caught.value)
    assert os.listdir(str(tmp_path)) == ['a.zip']


def test_a_disk_too_small_for_an_archive(tmp_path, monkeypatch):
    pack(tmp_path / 'a.zip', CLASSES)
    needed = sum(map(len, CLASSES.values()))
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: shutil._ntuple_diskusage(10 ** 6, 10 ** 6 - 50, 50))
    message = 'a.zip: unpacks to {} bytes, but only 50 are free'.format(format(needed, ','))
    with pytest.raises(UnavailableError, match=message):
        image_folder.load(tmp_path, quiet=True)
    assert os.listdir(str(tmp_path)) == ['a.zip']


def test_what_a_killed_process_left_is_replaced(tmp_path):
    pack(tmp_path / 'a.zip', CLASSES)
    write(tmp_path / '.a.part', {'.unpacking-x/cats/old.png': encoded(0), 'cats/old.png': encoded(1)})
    assert len(all_paths(image_folder.load(tmp_path, quiet=True))) == 60
    assert sorted(os.listdir(str(tmp_path))) == ['a', 'a.zip']
    assert sorted(os.listdir(str(tmp_path / 'a'))) == ['.unpacked-from', 'cats', 'dogs']


@pytest.mark.parametrize('damage', [lambda content: b'', lambda content: content[:len(content) // 2],
                                    lambda content: content + b'1'])
def test_an_archive_that_changed_after_it_was_unpacked_is_refused(tmp_path, damage):
    archive = tmp_path / 'a.zip'
    packed = pack(archive, CLASSES)
    image_folder.load(archive, quiet=True)
    archive.write_bytes(damage(packed))
    with pytest.raises(InputError, match=f'^{archive}: not the archive that {tmp_path / "a"} was unpacked from; '):
        image_folder.load(archive, quiet=True)
    (tmp_path / 'a' / '.unpacked-from').unlink()  # as where the user has unpacked it
    assert len(all_paths(image_folder.load(archive, quiet=True))) == 60


def test_an_unpacked_archive_is_read_again_where_it_was_touched(tmp_path, monkeypatch):
    archive, read, digest = tmp_path / 'a.zip', [], files.digest
    pack(archive, CLASSES)
    monkeypatch.setattr(files, 'digest', lambda path: read.append(path) or digest(path))
    for times_read in (1, 1, 2, 2):
        if (times_read, len(read)) == (2, 1):
            os.utime(str(archive), (1, 1))
        image_folder.load(archive, quiet=True)
        assert read == [archive] * times_read


def test_two_processes_unpack_once(tmp_path, monkeypatch):
    pack(tmp_path / 'a.zip', CLASSES)
    unpacked = []

    def unpack(archive, folder, **options):
        unpacked.append(archive)
        time.sleep(0.05)
        return unpack_for_real(archive, folder, **options)

    unpack_for_real = archives.unpack
    monkeypatch.setattr(archives, 'unpack', unpack)
    with ThreadPoolExecutor(2) as pool:  # each opens the archive, as processes do
        first, second = pool.map(lambda _: layouts.find(tmp_path, quiet=True), range(2))
    assert first == second and len(unpacked) == 1
    assert sorted(os.listdir(str(tmp_path))) == ['a', 'a.zip']


# What is skipped


def truncated(content):
    return content[:len(content) // 2]


BAD = {
    'cats/cut.jpg': (truncated(encoded(1, (90, 70), 'JPEG')), 'the '),
    'cats/cut.png': (truncated(encoded(1, (90, 70))), 'the '),
    'cats/empty.jpg': (b'', 'an empty file'),
    'dogs/page.jpeg': (b'<!DOCTYPE html><html>404</html>', 'a web page'),
    'dogs/apple.heic': (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'a HEIC picture'),
    'loose.png': (encoded(2), "not in a class's folder"),
}


def test_unreadable_images_are_reported_and_left_where_they_are(tmp_path):
    write(tmp_path, {**CLASSES, **{name: content for name, (content, _) in BAD.items()}})
    (tmp_path / 'dogs' / 'nowhere.png').symlink_to(tmp_path / 'gone.png')
    os.mkfifo(str(tmp_path / 'dogs' / 'pipe.png'))
    data = image_folder.load(tmp_path, quiet=True)
    reasons = {path.relative_to(tmp_path).as_posix(): why for path, why in data.skipped}
    assert set(reasons) == set(BAD) | {'dogs/nowhere.png', 'dogs/pipe.png'} and len(data.skipped) == len(reasons)
    for name, (content, why) in BAD.items():
        assert reasons[name].startswith(why)
        assert (tmp_path / name).read_bytes() == content
    assert reasons['dogs/nowhere.png'] == 'no such file'
    assert reasons['dogs/pipe.png'].startswith('not a regular file')
    assert counts(data) == [[14, 28], [3, 6], [3, 6]]


def test_what_is_no_image_is_passed_over(tmp_path):
    others = {'cats/Thumbs.db': b'x', 'cats/.DS_Store': b'x', 'cats/._c1.png': b'x', '.ipynb_checkpoints/a.png': b'x',
              'cats/.hidden/a.png': b'x', 'dogs/list.txt': b'x', '@eaDir/a.png': b'x', 'cats/@eaDir/a.jpg': b'x',
              '__MACOSX/a.png': b'x', 'README': b'x', 'dogs/folder.png/d.txt': b'x'}
    data = image_folder.load(write(tmp_path, {**CLASSES, **others}), quiet=True)
    assert data.class_names == ('cats', 'dogs') and data.skipped == () and len(all_paths(data)) == 60


def test_flat_names_without_a_class(tmp_path):
    data = image_folder.load(write(tmp_path, {**FLAT, 'IMG_0001.jpg': encoded(0)}), quiet=True)
    assert data.class_names == ('cat', 'dog')
    assert data.skipped == ((tmp_path / 'IMG_0001.jpg', 'no class in its name; expected one like cat.123.jpg'),)


def test_links_are_followed_once(tmp_path):
    write(tmp_path / 'elsewhere', CLASSES)
    data_dir = tmp_path / 'data'
    (data_dir / 'dogs').mkdir(parents=True)
    (data_dir / 'cats').symlink_to(tmp_path / 'elsewhere' / 'cats')
    for k in range(5):
        (data_dir / 'dogs' / f'd{k}.png').symlink_to(tmp_path / 'elsewhere' / 'dogs' / f'd{k}.png')
    (data_dir / 'dogs' / 'round').symlink_to(data_dir / 'dogs')
    (data_dir / 'dogs' / 'loop').symlink_to('loop')
    data = image_folder.load(data_dir, quiet=True)
    assert len(all_paths(data)) == 25 and data.skipped == ()


@pytest.mark.parametrize('images_in_each', [0, 1], ids=['folders of links', 'images in each'])
def test_a_web_of_links_is_not_followed_in_circles(tmp_path, monkeypatch, images_in_each):
    for k in range(25):
        write(tmp_path, {f'c{k}/only.txt': b'', **numbered(f'c{k}/%d.png', images_in_each)})
        for other in range(25):
            (tmp_path / f'c{k}' / f'to{other}').symlink_to(tmp_path / f'c{other}')
    listed, entries = [], layouts._entries
    monkeypatch.setattr(layouts, '_entries', lambda folder: listed.append(folder) or entries(folder))
    with contextlib.suppress(InputError):
        layouts.find(tmp_path)
    assert 26 <= len(listed) < 10 * 26  # the folders are 26; paths through three links would be 15,625


def test_a_link_to_a_folder_around_a_class_is_not_followed(tmp_path):
    write(tmp_path, CLASSES)
    (tmp_path / 'cats' / 'up').symlink_to('..')
    (tmp_path / 'cats' / 'all').symlink_to('/')
    assert counts(image_folder.load(tmp_path, quiet=True)) == [[14, 28], [3, 6], [3, 6]]


def test_unusual_images_are_good_ones(tmp_path):
    odd = {'cats/one.png': encoded(1, (1, 1)), 'cats/cmyk.jpg': encoded(2, kind='JPEG', mode='CMYK'),
           'cats/alpha.png': encoded(3, mode='RGBA'), 'cats/gray.gif': encoded(4, kind='GIF', mode='L'),
           'cats/palette.png': encoded(5, mode='P'), 'dogs/really-a-png.jpg': encoded(6),
           'dogs/LOUD.JPEG': encoded(7, kind='JPEG'), 'dogs/a b.\u00e9.webp': encoded(8, kind='WEBP')}
    data = image_folder.load(write(tmp_path, odd), quiet=True)
    assert len(all_paths(data)) == 8 and data.skipped == ()


# One line for each mistake


def without(contents, part):
    return {name: content for name, content in contents.items() if part not in name}


BROKEN = {name: b'no picture' if name.startswith('dogs') else content for name, content in CLASSES.items()}
MISTAKES = {
    'nothing': ({}, r'%s: no images; expected one folder of images per class'),
    'no images': ({'train/cats/a.txt': b'', 'train/dogs/b.txt': b'', 'validation/cats/c.txt': b''},
                  r'%s: no images; expected one folder of images per class'),
    'images without a class': (numbered('IMG_%d.png', 3), '%s/IMG_0.png: no class in its name; expected one like'),
    'one class only': (without(CLASSES, 'dogs'), "%s: only one class, 'cats'; expected at least two"),
    'one class only, split': (without(COOKBOOK, 'dogs'), "%s: only one class, 'cats'"),
    'one flat class': (without(FLAT, 'dog'), "%s: only one class, 'cat'"),
    'a single image': ({**without(CLASSES, 'dogs'), 'dogs/d.png': encoded(0)},
                       "%s: class 'dogs': only 1 image; expected at least 3; add some, or remove the class"),
    'a single one to learn from': ({**without(COOKBOOK, 'train/dogs'), 'train/dogs/d.png': encoded(0)},
                                   "%s: class 'dogs': only 1 image in train; expected at least 2"),
    'a single one to choose by': ({**without(COOKBOOK, 'validation/cats'), 'validation/cats/d.png': encoded(0)},
                                  "%s: class 'cats': only 1 image in validation; expected at least 2"),
    'two images': ({**without(CLASSES, 'dogs'), **numbered('dogs/d%d.png', 2)},
                   "%s: class 'dogs': only 2 images; expected at least 3"),
    'all unreadable': (BROKEN, "%s: class 'dogs': none of its 40 images can be read; the first that cannot is "
                       '%s/dogs/d0.png: not a'),
    'one readable': ({**BROKEN, 'dogs/d7.png': encoded(0)},
                     "%s: class 'dogs': 1 of its 40 images can be read; the first that cannot is "
                     '%s/dogs/d0.png: not a'),
    'all of validation unreadable': ({name: b'x' if 'validation/c' in name else content
                                      for name, content in COOKBOOK.items()},
                                     "%s: class 'cats': none of its 4 images in validation can be read"),
    'other classes': (renamed(COOKBOOK, 'validation/dogs', 'validation/wolves'),
                      r'%s: train and validation have different classes \(only in train: dogs; only in validation: '
                      r'wolves\); give both the same folders'),
    'a class less': ({**COOKBOOK, **numbered('train/birds/%d.png', 3)},
                     r'%s: train and validation have different classes \(only in train: birds\)'),
    'a test of other classes': ({**COOKBOOK, **TEST, **numbered('test/birds/%d.png', 3)},
                                r'%s: train and test have different classes \(only in test: birds\)'),
    'an empty validation': ({**without(COOKBOOK, 'validation'), 'validation/note.txt': b''},
                            r'%s: train and validation have different classes \(only in train: cats, dogs\)'),
    'an empty class': ({**CLASSES, 'birds/note.txt': b''}, "%s: class 'birds' has no images; add some, or remove"),
    'an empty class in validation': ({**without(COOKBOOK, 'validation/dogs'), 'validation/dogs/note.txt': b''},
                                     "%s: class 'dogs' has no images in validation"),
    'validation without train': (without(COOKBOOK, 'train'),
                                 '%s: contains validation, but no train; rename the folder of training images'),
    'two names for a part': ({**COOKBOOK, **renamed(COOKBOOK, 'validation', 'val')},
                             '%s: both val and validation; expected one of them'),
    'parts without classes': ({**numbered('train/%d.jpg', 9), **numbered('test/%d.jpg', 9)},
                              '%s: test and train are parts of a data set, not its classes; expected in each a folder'),
    'parts and more': ({**numbered('Training Set/%d.jpg', 9), **numbered('Test Set/%d.jpg', 9),
                        **numbered('samples/%d.jpg', 9)}, '%s: Test Set and Training Set are parts of a data set'),
    'a part without classes': (numbered('train/%d.jpg', 9), '%s: train is a part of a data set, not its classes'),
    'classes and parts in one name': ({f'{kind}_{part}/{k}.jpg': encoded(k) for kind in ('cats', 'dogs')
                                       for part in ('train', 'test') for k in range(4)},
                                      '%s: cats_test and cats_train are parts of a data set'),
    'parts without a name': ({**below('day', CLASSES), **below('night', CLASSES), **numbered('todo/%d.jpg', 3)},
                             r'%s: day and night contain the same folders \(cats, dogs\); call the parts of a data'),
    'a table that names none': ({**numbered('train/%d.jpg', 9), 'labels.csv': b'id,breed\nx,cats\ny,dogs\n'},
                                '%s: train is a part of a data set, .*; %s/labels.csv: names hardly any of the images'),
    'a table with a column per class': ({**numbered('all/%d.jpg', 4), 'train.csv': b'id,cat,dog\n0,1,0\n1,0,1\n'},
                                        r'%s/train.csv: one column for each class \(cat, dog, ...\)'),
    'two data sets': ({**below('a', COOKBOOK), **below('b', CLASSES)},
                      '%s: more than one data set: %s/a, %s/b; name one of them'),
    'two archives': ({'a.zip': b'', 'b.zip': b''}, '%s: more than one archive: a.zip, b.zip; name one of them'),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(tmp_path, mistake):
    contents, message = MISTAKES[mistake]
    write(tmp_path, contents)
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match='^' + message.replace('%s', str(tmp_path))) as caught:
        image_folder.load(tmp_path, quiet=True)
    assert '\n' not in str(caught.value)
    assert sorted(tmp_path.rglob('*')) == before


def test_paths_that_are_no_folder(tmp_path):
    write(tmp_path, {'a.jpg': encoded(0)})
    with pytest.raises(InputError, match=r'a.jpg: a file; expected a folder of images, or an archive \(.zip'):
        image_folder.load(tmp_path / 'a.jpg')
    for missing in (tmp_path / 'gone', tmp_path / 'a.jpg' / 'below'):
        with pytest.raises(InputError, match=f'{missing}: no such folder'):
            image_folder.load(missing)
    os.mkfifo(str(tmp_path / 'pipe'))
    with pytest.raises(InputError, match='pipe: not a regular file'):
        image_folder.load(tmp_path / 'pipe')


@pytest.mark.parametrize('closed', ['.', 'train', 'train/cats', 'validation/dogs'])
def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, closed):
    write(tmp_path, COOKBOOK)

    def scandir(folder):  # the permissions of files stop no one who is root
        if folder == str(tmp_path / closed):
            raise PermissionError(13, 'Permission denied')
        return list_folder(folder)

    list_folder = os.scandir
    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(InputError) as caught:
        image_folder.load(tmp_path, quiet=True)
    assert str(caught.value) == '%s: cannot be read (Permission denied)' % (tmp_path / closed)


@pytest.mark.parametrize('contents', [
    {}, {'mnist/train-images-idx3-ubyte.gz': b'x', '.gitkeep': b''}, numbered('sheets/%d.png', 3), None],
    ids=['empty', 'other data', 'one folder', 'missing'])
def test_the_data_folder_without_images_says_how_to_get_some(tmp_path, monkeypatch, contents):
    data_dir = tmp_path / 'data'
    monkeypatch.setenv('RECIPES_DATA_DIR', str(data_dir))
    if contents is not None:
        data_dir.mkdir()
        write(data_dir, contents)
    with pytest.raises(UnavailableError) as caught:
        image_folder.load(data_dir)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and str(data_dir) in lines[0]
    assert image_folder.MICROSOFT_URL in lines[1] and 'https://www.kaggle.com/c/dogs-vs-cats' in lines[2]


# The split


def placed(data):
    """{class and file name: part}"""
    return {(path.parent.name, path.name): part for part, split in zip(image_folder.PARTS, data[1:4])
            for path in split.paths}


def test_the_split_depends_on_seed_and_names_alone(tmp_path):
    here = image_folder.load(write(tmp_path / 'here', CLASSES), 3, quiet=True)
    backwards = dict(reversed(sorted(CLASSES.items())))
    there = image_folder.load(write(tmp_path / 'some' / 'where' / 'else', backwards), 3, quiet=True)
    assert placed(here) == placed(there) and names(here.train) == names(there.train)
    packed = tmp_path / 'there.zip'
    pack(packed, below('PetImages', CLASSES))
    assert placed(image_folder.load(packed, 3, quiet=True)) == placed(here)
    assert placed(image_folder.load(tmp_path / 'here', 4, quiet=True)) != placed(here)


def test_an_image_more_or_less_moves_few(tmp_path):
    before = placed(image_folder.load(write(tmp_path, CLASSES), quiet=True))
    (tmp_path / 'cats' / 'c5.png').unlink()
    (tmp_path / 'dogs' / 'd9.png').write_bytes(b'')
    write(tmp_path, {'dogs/new.png': encoded(0)})
    after = placed(image_folder.load(tmp_path, quiet=True))
    assert sum(before[key] != after[key] for key in set(before) & set(after)) <= 4


def test_halves_of_validation(tmp_path):
    write(tmp_path, {**COOKBOOK, **numbered('validation/cats/m%d.png', 51), **numbered('validation/dogs/m%d.png', 50)})
    data = image_folder.load(tmp_path, 1, quiet=True)
    assert counts(data)[1:] == [[27, 28], [28, 28]]
    assert placed(data) != placed(image_folder.load(tmp_path, 2, quiet=True))


def test_the_fingerprint_tells_data_sets_and_splits_apart(tmp_path):
    data = image_folder.load(write(tmp_path, CLASSES), quiet=True)
    assert image_folder.fingerprint(data) == image_folder.fingerprint(image_folder.load(tmp_path, quiet=True))
    assert image_folder.fingerprint(data) != image_folder.fingerprint(image_folder.load(tmp_path, 3, quiet=True))
    other = data._replace(train=data.train._replace(labels=1 - data.train.labels))
    assert image_folder.fingerprint(data) != image_folder.fingerprint(other)


def test_some_of_a_splits_images(tmp_path):
    train = image_folder.load(write(tmp_path, CLASSES), quiet=True).train
    for chosen in ([3, 0], slice(1, 3)):
        for found, whole in zip(image_folder.take(train, chosen), train):
            np.testing.assert_array_equal(found, whole[chosen])


# The same image in more than one part


def assert_parts_share_nothing(data):
    train, validation, test = [set(split.sha256) for split in (data.train, data.validation, data.test)]
    assert not (train & validation or train & test or validation & test)


def test_images_of_a_later_part_are_skipped_in_the_earlier(tmp_path, capsys):
    write(tmp_path, {**COOKBOOK, **TEST})
    for part, name in (('train', 'cats/copy1.png'), ('validation', 'dogs/copy2.png')):
        shutil.copy(str(tmp_path / 'test' / 'cats' / 'c0.png'), str(tmp_path / part / name))
    shutil.copy(str(tmp_path / 'validation' / 'cats' / 'c1.png'), str(tmp_path / 'train' / 'cats' / 'copy3.png'))
    shutil.copy(str(tmp_path / 'train' / 'cats' / 'c2.png'), str(tmp_path / 'train' / 'cats' / 'copy4.png'))
    data = image_folder.load(tmp_path, quiet=True)
    assert dict(data.skipped) == {
        tmp_path / 'train/cats/copy1.png': 'the same image as %s' % (tmp_path / 'test/cats/c0.png'),
        tmp_path / 'validation/dogs/copy2.png': 'the same image as %s' % (tmp_path / 'test/cats/c0.png'),
        tmp_path / 'train/cats/copy3.png': 'the same image as %s' % (tmp_path / 'validation/cats/c1.png')}
    assert counts(data) == [[6, 3], [4, 6], [2, 1]]  # a copy within a part does no harm
    assert len(all_paths(data)) == 22 and capsys.readouterr().err == ''
    assert_parts_share_nothing(data)


def test_copies_never_straddle_a_split_that_is_drawn(tmp_path):
    write(tmp_path, {**CLASSES, **{name.replace('/', '/copy-'): content for name, content in CLASSES.items()}})
    data = image_folder.load(tmp_path, quiet=True)
    assert_parts_share_nothing(data)
    assert len({checksum for split in data[1:4] for checksum in split.sha256}) == 60
    assert len(all_paths(data)) + len(data.skipped) == 120


def test_a_training_set_that_is_the_validation_set(tmp_path, capsys):
    contents = without(COOKBOOK, 'train')
    write(tmp_path, {**contents, **renamed(contents, 'validation', 'train')})
    data = image_folder.load(tmp_path, quiet=True)
    warning = capsys.readouterr().err
    assert warning.count('\n') == 1 and warning.startswith('warning: 10 images of train are in a later part too (')
    assert counts(data)[0] == [4, 6] and data.skipped == ()


# Batches


def test_batches_are_what_keras_reads(tmp_path):
    write(tmp_path, {'wide.jpg': encoded(1, (300, 120), 'JPEG', quality=95), 'small.png': encoded(2, (20, 31))})
    paths = [tmp_path / 'wide.jpg', tmp_path / 'small.png'] * 3
    batch = image_folder.load_images(paths, 64, threads=2)
    assert batch.dtype == np.uint8 and batch.shape == (6, 64, 64, 3)
    for path, image in zip(paths, batch):  # keras.preprocessing.image.load_img(path, target_size=(64, 64), 'bilinear')
        expected = Image.open(str(path)).convert('RGB').resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected))


def test_batches_of_unusual_images(tmp_path):
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, :30] = 200, 100, 50
    upright = Image.fromarray(half)
    exif = upright.getexif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(str(tmp_path / 'turned.png'), exif=exif)
    alpha = upright.convert('RGBA')
    alpha.putalpha(Image.fromarray((half[:, :, 0] > 0).astype(np.uint8) * 255))
    alpha.save(str(tmp_path / 'alpha.png'))
    upright.convert('CMYK').save(str(tmp_path / 'cmyk.tif'))
    Image.new('L', (1, 1), 77).save(str(tmp_path / 'one.png'))
    turned, alpha, cmyk, one = image_folder.load_images(
        [tmp_path / name for name in ('turned.png', 'alpha.png', 'cmyk.tif', 'one.png')], 20, 4)
    for image, right in ((turned, 0), (alpha, 255), (cmyk, 0)):
        assert np.abs(image[:, :9].astype(int) - [200, 100, 50]).max() <= 2 and np.abs(image[:, 11:] - right).max() <= 2
    assert np.all(one == 77)
    assert image_folder.load_images([], 20, 2).shape == (0, 20, 20, 3)


def test_a_batch_with_an_image_that_went_bad(tmp_path):
    write(tmp_path, {'a.png': encoded(0), 'b.png': b''})
    with pytest.raises(InputError, match='b.png: an empty file'):
        image_folder.load_images([tmp_path / 'a.png', tmp_path / 'b.png'], 8, 2)


def test_no_more_images_are_decoded_at_once_than_memory_allows(tmp_path, monkeypatch):
    at_work, most = [], []

    def load_image(path):
        at_work.append(path)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.remove(path)
        return np.zeros((1, 1, 3), np.float32)

    monkeypatch.setattr(images, 'load_image', load_image)
    image_folder.load_images(range(40), 8, threads=64)
    assert 1 < max(most) <= image_folder.MAX_THREADS


# Running


def test_interrupted_it_stops_at_once(tmp_path, monkeypatch):
    write(tmp_path, CLASSES)
    read = []

    def load_image(path):
        read.append(path)
        time.sleep(0.01)
        return np.zeros((1, 1, 3), np.float32)

    def update(self, figures):
        raise KeyboardInterrupt

    monkeypatch.setattr(images, 'load_image', load_image)
    monkeypatch.setattr(image_folder.Progress, 'update', update)
    with pytest.raises(KeyboardInterrupt):
        image_folder.load(tmp_path, quiet=True)
    assert len(read) <= 20  # of 60; no more than were being read


def test_progress_and_silence(tmp_path, capsys):
    write(tmp_path, CLASSES)
    image_folder.load(tmp_path)
    assert 'image 60/60, unreadable 0' in capsys.readouterr().out
    image_folder.load(tmp_path, quiet=True)
    assert capsys.readouterr() == ('', '')


def test_pillows_warnings_are_not_shown(tmp_path):
    damaged_exif = b'Exif\0\0II*\0' + struct.pack('<IHHHII', 8, 1, 0x010f, 2, 999, 9999)
    odd = {f'cats/c{k}.jpg': encoded(k, kind='JPEG', exif=damaged_exif) for k in range(20)}
    write(tmp_path, {**CLASSES, **odd})
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        data = image_folder.load(tmp_path, quiet=True)
        image_folder.load_images(data.train.paths, 8, 4)
    assert caught == [] and len(all_paths(data)) == 80
    assert warnings.filters == filters


@pytest.mark.real_data
def test_real_cats_and_dogs(real_data_dir):
    folder = real_data_dir / 'dogs_and_cats'
    if not folder.is_dir():
        pytest.skip(f'no dogs_and_cats in {real_data_dir}')
    data = image_folder.load(folder, quiet=True)
    assert data.class_names == ('cats', 'dogs') and data.skipped == ()
    assert counts(data) == [[1000, 1000], [200, 200], [200, 200]]
    batch = image_folder.load_images(data.test.paths[:8], 224, 2)
    assert batch.std(axis=(1, 2, 3)).min() > 20
