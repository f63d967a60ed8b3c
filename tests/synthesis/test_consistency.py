"""synthesis/consistency.py: what earlier frames say about the one to paint."""
from typing import NamedTuple

import numpy as np
import pytest

from common import film, images
from synthesis import consistency

pytest.importorskip('cv2')


class Losses(NamedTuple):
    total: float
    temporal: float = 0.0


def texture(height, width, seed=0):
    """Soft noise, which flow can follow."""
    random = np.random.RandomState(seed)
    return images.resize_image(random.uniform(0, 255, (height // 4, width // 4, 3)), height, width)


def moved(down=0, right=0, square=None, height=96, width=128):
    """A part of a texture that moves, and a square of another one over it, whose top left corner is given."""
    frame = texture(height + 32, width + 32)[16 - down:16 - down + height, 16 - right:16 - right + width].copy()
    if square:
        top, left = square
        frame[top:top + 32, left:left + 32] = texture(32, 32, 7)
    return frame


def test_what_moves_is_found_again_and_what_comes_into_sight_is_not():
    old, new = moved(square=(30, 30)), moved(0, 3, square=(30, 40))
    flow, certain = consistency.reliable_flow(old, new)
    still = np.mgrid[:96, :128]
    where = certain > 0
    assert 0.5 < where.mean() < 0.95
    expected = np.where((still[0] >= 30) & (still[0] < 62) & (still[1] >= 40) & (still[1] < 72), -10, -3)
    off = np.abs((flow - still)[1] - expected)[where]
    assert np.median(off) < 0.2 and np.mean(off > 1) < 0.03
    assert not where[34:58, 34:38].any()  # where the square was: 33 to 40, hidden before
    assert not where[:, :2].any()  # came in from the left


def test_still_pictures_are_certain_and_a_cut_is_not():
    old = moved()
    flow, certain = consistency.reliable_flow(old, old)
    assert certain.mean() == 1 and np.abs(flow - np.mgrid[:96, :128]).max() < 0.1
    assert consistency.reliable_flow(old, texture(96, 128, 5))[1].mean() < consistency.LEAST_COVERED


def test_the_temporal_loss_and_its_gradient():
    target, weight = np.array([[[1, 2, 3], [4, 5, 6]]], np.float32), np.array([[[1], [0]]], np.float32)
    evaluate = consistency.Past(target, weight).add_loss(lambda x: (Losses(total=10.0), np.ones_like(x)), 12.0)
    x = np.array([3, 2, 0, 9, 9, 9], np.float32)
    losses, gradient = evaluate(x)
    assert losses == Losses(total=36.0, temporal=12.0 / 6 * (4 + 9))
    np.testing.assert_array_equal(gradient, [1 + 8, 1, 1 - 12, 1, 1, 1])


def test_the_gradient_agrees_with_finite_differences():
    random = np.random.RandomState(0)
    past = consistency.Past(random.uniform(0, 255, (8, 9, 3)).astype(np.float32),
                            random.rand(8, 9, 1).astype(np.float32))
    evaluate = past.add_loss(lambda x: (Losses(total=0.0), np.zeros_like(x)), 200.0)
    x, direction = (random.uniform(0, 255, 216).astype(np.float32) for _ in range(2))
    up, down = (evaluate(x + np.float32(step) * direction)[0].total for step in (0.01, -0.01))
    assert evaluate(x)[1] @ direction == pytest.approx((up - down) / 0.02, rel=1e-3)


def test_a_farther_frame_says_what_nearer_ones_do_not():
    back2, back1, new = (moved(square=place) for place in ((64, 90), (30, 46), (30, 30)))
    painted = [np.full_like(new, 10), np.full_like(new, 20)]
    past = consistency.look_back(new, [(back1, painted[0]), (back2, painted[1])])
    assert past.target[10, 10, 0] == pytest.approx(10, abs=0.01) and past.weight[10, 10] == 1
    behind = past.target[38:54, 68:72]  # the square hid it a frame ago, not two frames ago
    assert (behind == 20).mean() > 0.8 and set(np.unique(past.weight)) == {0, 1}
    assert not consistency.look_back(new, [(back1, painted[0])]).weight[38:54, 68:72].any()


def test_a_start_is_the_photograph_where_there_is_no_past():
    content = np.full((1, 2, 3), 9, np.float32)
    past = consistency.Past(np.full((1, 2, 3), 4, np.float32), np.array([[[1], [0]]], np.float32))
    np.testing.assert_array_equal(past.start(content)[0, :, 0], [4, 9])


class Source:
    """A film of a few arrays."""

    def __init__(self, clip):
        self.clip, self.num_frames = clip, len(clip)

    def read(self, start):
        yield from self.clip[start:]


def test_the_fourth_frame_back_says_what_the_first_and_second_do_not(tmp_path):
    squares = (64, 90), (64, 70), (30, 50), (30, 46), (30, 30)
    clip = [moved(square=place) for place in squares]
    for number in range(4):
        images.save_image(film.frame_path(tmp_path, number), np.full_like(clip[0], 40 * number + 20))
    number, _, past = next(consistency.walk(Source(clip), tmp_path, 4))
    shown = past.target[past.weight[..., 0] > 0][:, 0].round()
    behind = past.target[38:54, 66:74, 0].round()  # the square hid it one and two frames ago, neither three nor four
    assert number == 4 and past.weight.max() == 1
    assert (behind == 20).mean() > 0.8 and not (past.target.round() == 60).any()  # not of the third
    assert (shown == 140).mean() > 0.8 and (past.target[10, 10] == 140).all()  # what the first shows, none else says


def test_frames_after_a_cut_start_anew_and_resumed_ones_see_the_same(tmp_path):
    clip = [moved(0, step) for step in range(3)] + [texture(96, 128, 8)] * 3
    found = []
    for number, frame, past in consistency.walk(Source(clip), tmp_path):
        assert (frame == clip[number]).all()
        images.save_image(film.frame_path(tmp_path, number), np.full((96, 128, 3), 40 * number + 20))
        found.append(past)
    assert [past is None for past in found] == [True, False, False, True, False, False]
    assert np.isclose(found[2].target[found[2].weight[..., 0] > 0], 60).mean() > 0.9  # nearly all: of the frame before
    for first in 2, 5:
        number, _, past = next(consistency.walk(Source(clip), tmp_path, first))
        assert number == first and (past.target == found[first].target).all() and (
            past.weight == found[first].weight).all()
