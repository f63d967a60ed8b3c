"""Digits bent a little: within the limits, whole, and the same for the same seed and step."""
import numpy as np
import pytest

from datasets import digit_augmentation, mnist


@pytest.fixture(scope='module')
def digits():
    return mnist.load_sample().test_images[::5]  # 200


def still(monkeypatch, **limits):
    for name in ('MAX_ROTATION', 'MAX_SCALING', 'MAX_SHEAR', 'MAX_SHIFT'):
        monkeypatch.setattr(digit_augmentation, name, limits.get(name, 0))


def test_augment_by_nothing_changes_nothing(digits, monkeypatch):
    still(monkeypatch)
    np.testing.assert_array_equal(digit_augmentation.augment(digits, np.random.RandomState(0)), digits)
    images = digits[:, :, :, np.newaxis] / np.float32(255)
    np.testing.assert_allclose(digit_augmentation.augment(images, np.random.RandomState(0)), images, atol=1e-6)


@pytest.mark.parametrize('limit', ['MAX_ROTATION', 'MAX_SCALING', 'MAX_SHEAR', 'MAX_SHIFT'])
def test_each_motion_moves_within_its_limit(digits, monkeypatch, limit):
    still(monkeypatch, **{limit: getattr(digit_augmentation, limit)})
    moved = digit_augmentation.augment(digits, np.random.RandomState(0)).astype(np.float64)
    assert np.mean(np.any(moved != digits, axis=(1, 2))) > 0.95
    shifts = [np.average(np.arange(28), weights=new.sum(1)) - np.average(np.arange(28), weights=old.sum(1))
              for new, old in zip(moved, digits.astype(np.float64))]
    furthest = np.max(np.abs(shifts))
    assert 1.8 < furthest <= 2.1 if limit == 'MAX_SHIFT' else furthest < 0.5


def test_rotation_keeps_distances(monkeypatch):
    still(monkeypatch, MAX_ROTATION=12)
    bars = np.zeros((50, 29, 29), np.float32)
    bars[:, 14, 4:25] = 1
    turned = digit_augmentation.augment(bars, np.random.RandomState(0))
    mass = turned.sum((1, 2))
    assert np.all(np.abs(mass - 21) < 0.5)
    row, column = np.mgrid[-14:15, -14:15]
    covariance = np.einsum('bij,ij->b', turned, row * column)
    spread = np.einsum('bij,ij->b', turned, column ** 2) - np.einsum('bij,ij->b', turned, row ** 2)
    angles = np.degrees(np.arctan2(2 * covariance, spread) / 2)
    assert -12.1 < angles.min() < -8 and 8 < angles.max() < 12.1


def test_augmented_digits_stay_digits(digits):
    moved = digit_augmentation.augment(digits, np.random.RandomState(0))
    assert moved.dtype == np.uint8 and moved.shape == digits.shape
    ratio = moved.sum((1, 2), dtype=float) / digits.sum((1, 2), dtype=float)
    assert 0.75 < ratio.min() and ratio.max() < 1.3
    likeness = np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(moved, digits)])
    assert 0.3 < likeness < 0.95


def test_nothing_comes_in_from_the_edge_or_the_neighbor(monkeypatch):
    still(monkeypatch, MAX_SHIFT=2)
    images = np.zeros((40, 28, 28), np.float32)
    images[::2] = 1  # full, between empty ones
    moved = digit_augmentation.augment(images, np.random.RandomState(0))
    assert np.all(moved[1::2] == 0) and np.all(moved[::2].sum((1, 2)) > 26 * 26 - 1)
    assert moved.min() >= 0 and moved.max() <= 1


def test_same_seed_and_step_same_batch(digits):
    def batch(step):
        return digit_augmentation.augment(digits, np.random.RandomState([7, step]))
    np.testing.assert_array_equal(batch(3), batch(3))
    assert np.any(batch(3) != batch(4))
