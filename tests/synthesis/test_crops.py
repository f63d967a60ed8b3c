import numpy as np

from synthesis import crops


def draw_crops(photographs, seed, count=4):
    random = np.random.RandomState(seed)
    return np.array([crops.draw_crop(photographs, 64, random) for _ in range(count)])


def test_crops_depend_on_their_generator_alone():
    photographs = [np.random.RandomState(k).uniform(0, 255, (70, 90, 3)).astype(np.float32) for k in range(3)]
    first, again, other = (draw_crops(photographs, seed) for seed in (1, 1, 2))
    assert first.shape == (4, 64, 64, 3) and (first == again).all() and (first != other).any()


def test_crops_show_something():
    photograph = np.full((70, 400, 3), 255, np.float32)  # overexposed, but for its end
    photograph[:, 350:] = np.random.RandomState(0).uniform(0, 255, (70, 50, 3))
    assert draw_crops([photograph], 0, 8).std(axis=(1, 2)).min() > 1
    photograph[:] = 255
    assert (draw_crops([photograph], 0, 1) == 255).all()  # it ends all the same
