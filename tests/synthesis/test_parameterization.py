"""synthesis/parameterization.py: from coordinates to pictures."""
import numpy as np
import pytest

from common.session import tf
from synthesis import parameterization


def pictures(coordinates, basis, height, width):
    tensor = tf.placeholder(tf.float32, [None, *coordinates.shape])
    with tf.Session() as sess:
        return sess.run(parameterization.to_images(tensor, basis, height, width), {tensor: coordinates[np.newaxis]})[0]


@pytest.mark.parametrize('basis', ['fourier', 'pixels'])
@pytest.mark.parametrize('height, width', [(8, 8), (6, 9), (9, 6)])
@pytest.mark.parametrize('channels', [1, 3])
def test_zero_is_middle_gray(basis, height, width, channels):
    shape = parameterization.coordinates_shape(basis, height, width, channels)
    picture = pictures(np.zeros(shape, np.float32), basis, height, width)
    assert picture.shape == (height, width, 3)
    np.testing.assert_allclose(picture, 127.5)


def test_one_coefficient_is_a_wave_of_its_frequency():
    coordinates = np.zeros([1, 8, 5, 2], np.float32)
    coordinates[0, 0, 2, 0] = 0.3                   # two waves across, f = 2 / 8
    picture = pictures(coordinates, 'fourier', 8, 8)[..., 0]
    # irfft2: 2 / (8 * 8) * coefficient; scale: sqrt(64) / (2 / 8) = 32; contrast: a quarter
    wave = 2 / 64 * 0.3 * 32 / 4 * np.cos(2 * np.pi * 2 * np.arange(8) / 8)
    np.testing.assert_allclose(picture, np.tile(255 / (1 + np.exp(-wave)), [8, 1]), rtol=1e-5)


def test_low_frequencies_are_scaled_up():
    scale = parameterization.frequency_scale(6, 8).real
    assert scale.shape == (6, 5)
    np.testing.assert_allclose(scale[0, :3], np.sqrt(48) * np.array([8, 8, 4]), rtol=1e-6)  # f = 0, 1/8, 2/8
    np.testing.assert_allclose(scale[3, 4], np.sqrt(48) / np.hypot(1 / 2, 1 / 2), rtol=1e-6)
    assert scale.max() == scale[0, 0]


def test_colors_go_together_as_in_photographs():
    matrix = parameterization.color_matrix()
    np.testing.assert_allclose(np.linalg.norm(matrix[0]), 1, rtol=1e-6)     # the first channel: nearly gray
    assert matrix[0].min() > 0.55 and matrix[0].max() < 0.6
    gray = pictures(np.float32([[[1, 0, 0]]]), 'pixels', 1, 1)[0, 0]
    np.testing.assert_allclose(gray, 255 / (1 + np.exp(-matrix[0])), rtol=1e-5)


@pytest.mark.parametrize('height, width', [(8, 8), (6, 9), (9, 6)])
@pytest.mark.parametrize('channels', [1, 3])
def test_phases_leave_the_amplitudes(height, width, channels):
    shape = parameterization.coordinates_shape('phase', height, width, channels)
    assert shape == [channels, height, width // 2 + 1]
    fixed, found = parameterization.magnitudes(height, width), []
    for copy in range(2):
        picture = pictures(parameterization.draw_start('phase', shape, [0, copy]), 'phase', height, width)
        assert picture.shape == (height, width, 3)
        logits = np.log(picture / (255 - picture)).astype(np.float64)     # before the sigmoid
        planes = logits @ np.linalg.inv(parameterization.color_matrix()) if channels == 3 else logits
        np.testing.assert_allclose(planes.mean(axis=(0, 1)), 0, atol=1e-3)
        amplitudes = np.abs(np.fft.rfft2(planes[..., 0]))
        inner = slice(1, (width - 1) // 2 + 1)      # whose mirror images are not in the same half
        np.testing.assert_allclose(amplitudes[:, inner], 0.25 * np.abs(fixed[:, inner]), rtol=1e-2)
        found.append(picture)
    assert np.abs(found[0] - found[1]).max() > 10


def test_where_only_phases_move_the_contrast_is_that_of_photographs():
    fixed = 0.25 * np.abs(parameterization.magnitudes(8, 8))
    whole = np.concatenate([fixed, fixed[:, 3:0:-1]], axis=1)      # both halves of a real picture's spectrum
    assert np.sqrt(np.sum(whole ** 2)) / 64 == pytest.approx(parameterization.PHASE_DEVIATION, rel=1e-5)  # Parseval


@pytest.mark.parametrize('basis, deviation', [('fourier', 0.01), ('phase', np.pi / 4 / np.sqrt(3))])
def test_the_seed_holds(basis, deviation):
    first, again, other = (parameterization.draw_start(basis, [3, 4, 3, 2], [0, copy]) for copy in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all() and 0.5 * deviation < first.std() < 1.5 * deviation
