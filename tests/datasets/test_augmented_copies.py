"""Augmented copies of images."""
import numpy as np
import pytest

from common import images
from datasets import augmented_copies, image_folder

RANDOM = np.random.RandomState(0)
IMAGES = np.repeat(np.repeat(RANDOM.randint(0, 256, [3, 8, 8, 3]), 4, axis=1), 4, axis=2).astype(np.uint8)
SHA256 = [f'{number << 240:064x}' for number in (1, 2, 3)]


def test_names():
    assert augmented_copies.copy_names(0) == ['original', 'flip']
    assert augmented_copies.copy_names(2) == ['original', 'flip', 'augmented1', 'augmented2']


def test_the_original_and_its_mirror_image():
    np.testing.assert_array_equal(augmented_copies.make_copies(IMAGES, SHA256, 'original'), IMAGES)
    flipped = augmented_copies.make_copies(IMAGES, SHA256, 'flip')
    np.testing.assert_array_equal(flipped[:, :, 0], IMAGES[:, :, -1])


def test_an_augmented_copy_depends_on_the_image_and_the_number_alone():
    first = augmented_copies.make_copies(IMAGES, SHA256, 'augmented1')
    alone = augmented_copies.make_copies(IMAGES[1:2], SHA256[1:2], 'augmented1')
    np.testing.assert_array_equal(alone[0], first[1])
    assert first.shape == IMAGES.shape and first.dtype == np.uint8
    assert np.abs(first.astype(int) - augmented_copies.make_copies(IMAGES, SHA256, 'augmented2')).mean() > 5
    changed = np.abs(first.astype(int) - IMAGES).mean(axis=(1, 2, 3))
    assert (changed > 5).all()


def test_an_augmented_copy_shows_the_same_thing():
    ramp = np.repeat(np.linspace(100, 150, 64)[:, np.newaxis], 64, axis=1)  # brighter from top to bottom
    image = np.repeat(ramp[np.newaxis, :, :, np.newaxis], 3, axis=3).astype(np.uint8)
    for number in range(1, 30):
        seen = augmented_copies.make_copies(image, SHA256[:1], f'augmented{number}')[0].astype(float)
        assert seen[56:, 20:44].mean() > seen[:8, 20:44].mean() + 15  # not upside down; no black corners
        assert seen.min() >= 100 * (1 - augmented_copies.MAX_BRIGHTENING) - 3
        assert seen.max() <= 150 * (1 + augmented_copies.MAX_BRIGHTENING) + 3


@pytest.mark.parametrize('name', ['original', 'flip', 'augmented3'])
def test_bright_and_dark_do_not_wrap_round(name):
    bright = np.full([1, 16, 16, 3], 255, np.uint8)
    least = 255 * (1 - augmented_copies.MAX_BRIGHTENING) - 1
    assert augmented_copies.make_copies(bright, SHA256[:1], name).min() >= least


def test_each_image_is_loaded_as_the_copy_that_is_asked_for(tmp_path):
    paths = [tmp_path / f'{number}.png' for number in range(6)]
    for path in paths:
        images.save_image(path, np.random.RandomState(int(path.stem)).uniform(0, 255, [20, 24, 3]))
    sha256 = [f'{number << 230:064x}' for number in range(6)]
    names = ['flip', 'original', 'augmented1', 'flip', 'original', 'augmented2']
    found = augmented_copies.load_copies(paths, sha256, names, 32, threads=2)
    plain = image_folder.load_images(paths, 32, 1)
    np.testing.assert_array_equal(found[[0, 3]], plain[[0, 3], :, ::-1])
    np.testing.assert_array_equal(found[[1, 4]], plain[[1, 4]])
    assert np.abs(found[[2, 5]].astype(int) - plain[[2, 5]]).mean(axis=(1, 2, 3)).min() > 5
