import numpy as np
import pytest

from synthesis import color


@pytest.fixture
def pictures():
    random = np.random.RandomState(0)
    mixing = np.array([[40, 20, 0], [0, 25, 10], [5, 0, 15]])
    content = np.clip(random.randn(40, 30, 3) @ mixing + [150, 120, 100], 0, 255).astype(np.float32)
    return content, (random.rand(25, 50, 3) * [255, 120, 60]).astype(np.float32)


def test_luminance_of_known_colors():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [80, 80, 80]]], np.float32)
    np.testing.assert_allclose(color.luminance(image), [[76.245, 149.685, 29.07, 80]], rtol=1e-5)


def test_luminance_of_the_result_with_the_hue_of_the_content(pictures):
    content = pictures[0]
    result = np.random.RandomState(1).rand(*content.shape).astype(np.float32) * 255
    kept = color.keep_luminance(content, result)
    assert kept.dtype == np.float32 and kept.min() >= 0 and kept.max() <= 255
    np.testing.assert_allclose(color.luminance(kept), color.luminance(result), atol=1e-3)
    own = content - color.luminance(content)[..., np.newaxis]
    new = kept - color.luminance(kept)[..., np.newaxis]
    np.testing.assert_allclose(np.cross(own, new), 0, atol=0.5)  # the same direction, at most paler


def test_a_picture_keeps_its_own_luminance_unchanged(pictures):
    np.testing.assert_allclose(color.keep_luminance(pictures[0], pictures[0]), pictures[0], atol=1e-3)


def test_matched_colors_have_the_mean_and_the_covariance_of_the_target(pictures):
    content, style = pictures
    target = 100 + (content - 100) / 4  # far from 0 and 255: nothing is clipped
    matched = color.match_histogram(style, target).reshape(-1, 3)
    np.testing.assert_allclose(matched.mean(axis=0), target.reshape(-1, 3).mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.cov(matched.T), np.cov(target.reshape(-1, 3).T), atol=1)


@pytest.mark.parametrize('match', [color.match_histogram, color.match_luminance])
def test_flat_and_gray_pictures_can_be_matched(match, pictures):
    flat = np.full((8, 8, 3), 50, np.float32)
    assert np.ptp(match(flat, pictures[0])) < 255
    np.testing.assert_allclose(match(pictures[0], flat), 50, atol=0.1)
    assert np.isfinite(match(color.gray(pictures[1]), pictures[0])).all()


def test_matched_luminance_has_the_mean_and_the_spread_of_the_target(pictures):
    content, style = pictures
    matched = color.match_luminance(style, content)
    assert np.ptp(matched, axis=-1).max() == 0
    assert abs(matched[..., 0].mean() - color.luminance(content).mean()) < 0.5
    assert abs(matched[..., 0].std() - color.luminance(content).std()) < 0.5


def test_what_preserve_color_does(pictures):
    content, style = pictures
    painted = np.random.RandomState(2).uniform(0, 255, (20, 15, 3)).astype(np.float32)  # at a smaller scale
    assert color.prepare(content, [style], 'no') == (content, [style])
    assert color.restore(painted, content, 'no') is painted
    for how, match in ('histogram', color.match_histogram), ('luminance', color.match_luminance):
        shown, styles = color.prepare(content, [style], how)
        np.testing.assert_array_equal(shown, color.gray(content) if how == 'luminance' else content)
        np.testing.assert_array_equal(styles, [match(style, content)])
    assert color.restore(painted, content, 'histogram') is painted
    restored = color.restore(painted, content, 'luminance')
    np.testing.assert_allclose(color.luminance(restored), color.luminance(painted), atol=1e-3)
