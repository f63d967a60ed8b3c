"""Augmentation: what it may move, mirror, turn and cover, seen on images whose every pixel can be told."""

import numpy as np
import pytest
import scipy.ndimage

from datasets import augmentation
from datasets.augmentation import augment_alternating, augment_book, augment_standard, views


def numbered(count):
    """float32 [count, 32, 32, 3]; the channels tell the image, the row and the column, each plus 1."""
    images = np.empty((count, 32, 32, 3), np.float32)
    images[..., 0] = np.arange(1, count + 1)[:, np.newaxis, np.newaxis]
    images[..., 1] = np.arange(1, 33)[:, np.newaxis]
    images[..., 2] = np.arange(1, 33)
    return images


def smooth(count):
    """uint8 [count, 32, 32, 3], coarse random patterns."""
    patterns = np.random.RandomState(3).uniform(0, 255, (count, 8, 8, 3))
    return scipy.ndimage.zoom(patterns, (1, 4, 4, 1), order=1).astype(np.uint8)


def reflected(position):
    return np.pad(np.arange(32), 16, mode='reflect')[position + 16]


def shifts_and_mirrors(images):
    """Finds for each augmented numbered image the (down, right, mirrored) that made it; all must be possible."""
    found = []
    for image in images:
        rows, columns = image[:, 0, 1] - 1, image[0, :, 2] - 1
        down = [d for d in range(-4, 5) if np.array_equal(rows, reflected(np.arange(32) + d))]
        right = [(d, mirrored) for d in range(-4, 5) for mirrored in (False, True)
                 if np.array_equal(31 - columns if mirrored else columns, reflected(np.arange(32) + d))]
        assert len(down) == len(right) == 1
        assert np.all(image[:, :, 1] == image[:, :1, 1]) and np.all(image[:, :, 2] == image[:1, :, 2])
        found.append((down[0],) + right[0])
    return np.array(found)


def test_standard_is_a_reflected_crop_and_a_mirror():
    augmented = augment_standard(numbered(2000), np.random.RandomState(0), cutout_size=0)
    assert np.all(augmented[..., 0] == np.arange(1, 2001)[:, np.newaxis, np.newaxis])  # no pixel of a neighbor
    down, right, mirrored = shifts_and_mirrors(augmented).T
    for shift in (down, right):
        counts = np.bincount(shift + 4)
        assert len(counts) == 9 and np.all(np.abs(counts - 2000 / 9) < 75)  # five standard deviations
    assert abs(mirrored.mean() - 0.5) < 0.06
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.12 and abs(np.corrcoef(right, mirrored)[0, 1]) < 0.12


def test_alternating_mirrors_what_it_is_told_to_and_shifts_by_two():
    told = np.arange(400) % 3 == 0
    down, right, mirrored = shifts_and_mirrors(augment_alternating(numbered(400), np.random.RandomState(0), told)).T
    np.testing.assert_array_equal(mirrored, told)
    assert sorted(set(down)) == sorted(set(right)) == [-2, -1, 0, 1, 2]
    mirrored = shifts_and_mirrors(augment_alternating(numbered(400), np.random.RandomState(0)))[:, 2]
    assert 150 < mirrored.sum() < 250  # drawn where nothing is told


def test_views_are_the_mirror_image_and_both_of_them_shifted():
    weights, images = zip(*views(numbered(1), 1))
    assert weights == (1, 0.5, 0.5, 0.5, 0.5)
    found = shifts_and_mirrors(np.concatenate(images))  # shifted before they are mirrored
    assert found.tolist() == [[0, 0, 1], [-1, -1, 0], [-1, 1, 1], [1, 1, 0], [1, -1, 1]]
    (weight, image), = views(numbered(1))
    assert weight == 1 and shifts_and_mirrors(image).tolist() == [[0, 0, 1]]


def test_cutout_covers_one_square_anywhere():
    covered = np.all(augment_standard(numbered(4000), np.random.RandomState(0), cutout_size=8) == 0, axis=3)
    heights, widths = covered.any(2).sum(1), covered.any(1).sum(1)
    np.testing.assert_array_equal(covered.sum((1, 2)), heights * widths)  # a rectangle
    assert heights.max() == widths.max() == 8 and heights.min() >= 4 and widths.min() >= 4  # cut at the border only
    whole = (heights == 8) & (widths == 8)
    assert abs(whole.mean() - (25 / 32) ** 2) < 0.05
    assert np.all(covered[~whole].any(1)[:, [0, -1]].any(1) | covered[~whole].any(2)[:, [0, -1]].any(1))
    often = covered.mean(0)
    assert often.min() > 0.005 and abs(often[8:24, 8:24].mean() - 1 / 16) < 0.01


def test_cutout_shows_the_mean_color_or_nothing():
    images = np.full((50, 32, 32, 3), 7, np.uint8)
    augmented = augment_standard(images, np.random.RandomState(0))
    changed = np.any(augmented != 7, axis=3)
    assert np.all(changed.any((1, 2))) and np.all(augmented[changed] == augmentation.MEAN_COLOR)
    np.testing.assert_array_equal(augment_standard(images, np.random.RandomState(0), cutout_size=0), images)
    assert np.all(images == 7)


def test_book_mirrors_half_and_turns_half_by_up_to_25_degrees():
    augmented = augment_book(numbered(2000), np.random.RandomState(0))
    np.testing.assert_allclose(augmented[..., 0], np.arange(1, 2001)[:, np.newaxis, np.newaxis]
                               * np.ones((1, 32, 32)), rtol=1e-6)  # no pixel of a neighbor
    middle = augmented[:, 8:25, 8:25, 1]  # the row each pixel is from
    turned = np.degrees(np.arctan2(np.diff(middle[:, 8, :]).mean(1), np.diff(middle[:, :, 8]).mean(1)))
    mirrored = np.diff(augmented[:, 16, 8:24, 2], axis=1).mean(1) < 0
    assert abs(mirrored.mean() - 0.5) < 0.06
    still = np.abs(turned) < 0.05
    assert abs(still.mean() - 0.5) < 0.06
    assert 24 < turned.max() < 25.2 and -25.2 < turned.min() < -24
    assert abs(np.mean(turned[~still])) < 2 and abs(np.std(turned[~still]) - 50 / np.sqrt(12)) < 1.5


def test_book_turns_as_scipy_does_and_mirrors_at_the_border(monkeypatch):
    images = smooth(40)
    augmented = augment_book(images, np.random.RandomState(1))
    random = np.random.RandomState(1)
    mirrored = random.randint(0, 2, 40)
    angles = random.uniform(-25, 25, 40) * random.randint(0, 2, 40)
    for image, mirror, angle, found in zip(images, mirrored, angles, augmented):
        image = image[:, ::-1] if mirror else image
        padded = np.pad(image.astype(np.float64), ((16, 16), (16, 16), (0, 0)), mode='reflect')
        expected = scipy.ndimage.rotate(padded, angle, reshape=False, order=1)[16:-16, 16:-16]
        assert np.abs(found - expected).max() < 6 and np.abs(found - expected).mean() < 0.8


def test_nothing_black_comes_in():
    images = np.full((200, 32, 32, 3), 200, np.uint8)
    np.testing.assert_array_equal(augment_book(images, np.random.RandomState(0)), images)


@pytest.mark.parametrize('augment', [augment_standard, augment_book])
@pytest.mark.parametrize('data_type', [np.uint8, np.float32])
def test_keeps_type_and_shape_and_draws_by_seed_alone(augment, data_type):
    images = smooth(12).astype(data_type)
    before = images.copy()
    augmented = augment(images, np.random.RandomState([3, 5]))
    assert augmented.dtype == data_type and augmented.shape == images.shape
    assert not np.shares_memory(augmented, images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(augment(images[:, :, ::-1][:, :, ::-1], np.random.RandomState([3, 5])), augmented)
    assert np.any(augment(images, np.random.RandomState([3, 6])) != augmented)
    assert augment(images[:0], np.random.RandomState(0)).shape == (0, 32, 32, 3)


def test_book_takes_more_images_than_opencv_can_count():
    images = np.repeat(np.arange(2000, dtype=np.float32)[:, np.newaxis], 32 * 32 * 3, 1).reshape(2000, 32, 32, 3)
    np.testing.assert_allclose(augment_book(images, np.random.RandomState(0)), images, rtol=1e-6)
