"""Labeled photographs as arrays."""
import hashlib

import numpy as np
import pytest

from common import images
from datasets import image_folder, photographs


@pytest.fixture
def folder(tmp_path):
    for part, count in (('train', 3), ('validation', 4)):
        for name in ('hen', 'newt'):
            for number in range(count):
                pixels = np.random.RandomState([len(part + name), number]).uniform(0, 255, [20, 24, 3])
                images.save_image(tmp_path / part / name / ('%d.png' % number), pixels)
    (tmp_path / 'train' / 'hen' / 'text.png').write_text('no picture')
    return tmp_path


def test_each_part_has_its_sums_and_labels(folder):
    data = photographs.load(folder, quiet=True)
    assert data.class_names == ('hen', 'newt') and len(data.left_out) == 1 and 'train' in data.how
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [6, 4, 4]
    for part in (data.train, data.validation, data.test):
        assert [path.parent.name for path in part.paths] == [data.class_names[label] for label in part.labels]
        assert list(part.sums) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in part.paths]


def test_the_digest_tells_data_sets_and_splits_apart(folder):
    data = photographs.load(folder, quiet=True)
    assert photographs.digest(data) == photographs.digest(photographs.load(folder, quiet=True))
    assert photographs.digest(data) != photographs.digest(photographs.load(folder, seed=3, quiet=True))
    turned = data._replace(train=data.train._replace(labels=1 - data.train.labels))
    assert photographs.digest(data) != photographs.digest(turned)


def test_each_image_in_its_view(folder):
    part = photographs.load(folder, quiet=True).train
    shown = ['flip', 'original', 'augmented1', 'flip', 'original', 'augmented2']
    found = photographs.read_images(part.paths, part.sums, shown, 32, threads=2)
    plain = image_folder.load_batch(part.paths, 32, 1)
    np.testing.assert_array_equal(found[[0, 3]], plain[[0, 3], :, ::-1])
    np.testing.assert_array_equal(found[[1, 4]], plain[[1, 4]])
    assert np.abs(found[[2, 5]].astype(int) - plain[[2, 5]]).mean(axis=(1, 2, 3)).min() > 5
