import numpy as np

from synthesis import flow_field


def test_the_painting_is_the_same_every_time_and_full_of_color():
    painting = flow_field.paint(60, 80)
    assert painting.shape == (60, 80, 3) and painting.dtype == np.float32
    assert painting.min() >= 0 and painting.max() <= 255 and painting.reshape(-1, 3).std(axis=0).min() > 20
    np.testing.assert_array_equal(painting, flow_field.paint(60, 80))
    assert np.abs(painting - flow_field.paint(60, 80, seed=1)).mean() > 10
