"""Layers that the recipes share."""
import numpy as np

from common import session
from common.session import tf
from training import layers


def test_dropout_keeps_its_fraction_and_the_same_seed_keeps_the_same_units():
    layer = tf.ones([50, 512])
    dropped = [layers.dropout(layer, keep_prob, seed) for keep_prob, seed in
               ((0.5, [0, 1]), (0.5, [0, 1]), (0.5, [0, 2]), (1.0, [0, 1]))]
    with session.open_session() as sess:
        same, again, other, whole = sess.run(dropped)
    np.testing.assert_array_equal(same, again)
    assert (same != other).mean() > 0.4 and set(np.unique(same)) == {0, 2}
    assert abs(same.mean() - 1) < 0.03 and (whole == 1).all()


def test_hes_standard_deviation_keeps_the_size_of_activations():
    random = np.random.RandomState(0)
    activations = random.normal(size=(200, 400))
    for _ in range(5):
        activations = np.maximum(activations @ random.normal(0, layers.he_stddev(400), (400, 400)), 0)
    assert 0.5 < (activations ** 2).mean() < 2
