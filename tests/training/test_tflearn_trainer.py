"""common/tflearn_trainer.py: tflearn's trainer, on points that a line divides."""
import random

import numpy as np
import pytest

from common import runs, session
from training import tflearn_trainer
from common.session import tf, tflearn

COLUMNS = ('step', 'epoch', 'loss', 'training_accuracy', 'validation_loss', 'validation_accuracy')


@pytest.mark.parametrize('quiet', [False, True])
def test_a_training_writes_its_epochs_down_and_prints_no_line_of_tflearns(tmp_path, capfd, quiet):
    tflearn_trainer.seed_all(0)
    points = np.random.RandomState(0).uniform(-1, 1, (40, 2)).astype(np.float32)
    labels = np.eye(2)[(points.sum(axis=1) > 0).astype(int)]
    with tf.Graph().as_default(), runs.MetricsLog(tmp_path / 'metrics.csv', COLUMNS) as metrics:
        with session.without_noise():
            layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
            model = tflearn.DNN(tflearn.regression(layer, optimizer='sgd', learning_rate=2.0),
                                tensorboard_dir=str(tmp_path / 'tensorboard'))
        tflearn_trainer.fit(model, (points, labels), (points[:10], labels[:10]), 6, 12, 'points', metrics, quiet)
        probabilities = np.array(model.predict(points[:10]))
        model.trainer.close_session()
    out, err = capfd.readouterr()
    assert 'Run id' not in out + err and 'Training Step' not in out + err
    assert ('step 24/24' in out + err) is not quiet
    rows = runs.read_metrics(tmp_path / 'metrics.csv')
    assert [(row['step'], row['epoch']) for row in rows] == [(4 * epoch, epoch) for epoch in range(1, 7)]
    assert rows[-1]['loss'] < 0.7 * rows[0]['loss'] and rows[-1]['training_accuracy'] > 0.9
    right = np.argmax(probabilities, axis=1) == np.argmax(labels[:10], axis=1)
    assert rows[-1]['validation_accuracy'] == pytest.approx(right.mean())
    cross_entropy = -np.log(probabilities[np.arange(10), np.argmax(labels[:10], axis=1)]).mean()
    assert rows[-1]['validation_loss'] == pytest.approx(cross_entropy, rel=1e-4)
    assert (tmp_path / 'tensorboard' / 'points').is_dir()


def test_seeds_reach_both_generators():
    drawn = []
    for seed in (5, 5, 6):
        tflearn_trainer.seed_all(seed)
        drawn.append((random.random(), np.random.rand()))
    assert drawn[0] == drawn[1] and not set(drawn[0]) & set(drawn[2])
