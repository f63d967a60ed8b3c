"""Views of photographs."""
import numpy as np
import pytest

from datasets import views

RANDOM = np.random.RandomState(0)
IMAGES = np.repeat(np.repeat(RANDOM.randint(0, 256, [3, 8, 8, 3]), 4, axis=1), 4, axis=2).astype(np.uint8)
SUMS = ['%064x' % (number << 240) for number in (1, 2, 3)]


def test_names():
    assert views.view_names(0) == ['original', 'flip']
    assert views.view_names(2) == ['original', 'flip', 'augmented1', 'augmented2']


def test_the_original_and_its_mirror_image():
    np.testing.assert_array_equal(views.make_view(IMAGES, SUMS, 'original'), IMAGES)
    np.testing.assert_array_equal(views.make_view(IMAGES, SUMS, 'flip')[:, :, 0], IMAGES[:, :, -1])


def test_an_augmented_view_hangs_on_the_image_and_the_number_alone():
    first = views.make_view(IMAGES, SUMS, 'augmented1')
    np.testing.assert_array_equal(views.make_view(IMAGES[1:2], SUMS[1:2], 'augmented1')[0], first[1])
    assert first.shape == IMAGES.shape and first.dtype == np.uint8
    assert np.abs(first.astype(int) - views.make_view(IMAGES, SUMS, 'augmented2')).mean() > 5
    changed = np.abs(first.astype(int) - IMAGES).mean(axis=(1, 2, 3))
    assert (changed > 5).all()


def test_an_augmented_view_shows_the_same_thing():
    ramp = np.repeat(np.linspace(100, 150, 64)[:, np.newaxis], 64, axis=1)  # brighter from top to bottom
    image = np.repeat(ramp[np.newaxis, :, :, np.newaxis], 3, axis=3).astype(np.uint8)
    for number in range(1, 30):
        seen = views.make_view(image, SUMS[:1], 'augmented%d' % number)[0].astype(float)
        assert seen[56:, 20:44].mean() > seen[:8, 20:44].mean() + 15  # not upside down; no black corners
        assert seen.min() >= 100 * (1 - views.MAX_BRIGHTENING) - 3
        assert seen.max() <= 150 * (1 + views.MAX_BRIGHTENING) + 3


@pytest.mark.parametrize('view', ['original', 'flip', 'augmented3'])
def test_bright_and_dark_do_not_wrap_round(view):
    bright = np.full([1, 16, 16, 3], 255, np.uint8)
    assert views.make_view(bright, SUMS[:1], view).min() >= 255 * (1 - views.MAX_BRIGHTENING) - 1
