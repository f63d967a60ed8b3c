"""training/tflearn_trainer.py: tflearn's trainer, on points that a line divides."""
import argparse
import contextlib
import os
import queue
import random
import signal
import threading
import time

import numpy as np
import pytest

from common import cli
from common.errors import ComputationError
from common.metrics import read_metrics
from common.session import tf, tflearn
from training import tflearn_trainer


@pytest.mark.slow
@pytest.mark.parametrize('quiet, num_epochs', [(False, 6), (True, 1)], ids=['shown', 'quiet'])
def test_a_training_writes_its_epochs_down_and_prints_no_line_of_tflearns(tmp_path, capfd, quiet, num_epochs):
    points = np.random.RandomState(0).uniform(0, 255, (40, 2)).astype(np.float32)
    labels = (points.sum(axis=1) > 255).astype(int)
    data = argparse.Namespace(train_images=points, train_labels=labels, validation_images=points[:10],
                              validation_labels=labels[:10], class_names=('below', 'above'))

    def build_model():
        layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
        return tflearn.DNN(tflearn.regression(layer, optimizer='sgd', learning_rate=4.0),
                           tensorboard_dir=str(tmp_path / 'tensorboard'))

    weights = tflearn_trainer.fit(build_model, data, num_epochs, 12, 0, 'points', tmp_path / 'metrics.csv', quiet)
    out, err = capfd.readouterr()
    assert 'Run id' not in out + err and 'Training Step' not in out + err
    assert (f'step {4 * num_epochs}/{4 * num_epochs}' in out + err) is not quiet
    rows = read_metrics(tmp_path / 'metrics.csv')
    assert [(row['step'], row['epoch']) for row in rows] == [(4 * epoch, epoch) for epoch in range(1, num_epochs + 1)]
    assert num_epochs == 1 or rows[-1]['loss'] < 0.9 * rows[0]['loss']
    logits = points[:10] / 255 @ weights['FullyConnected/W'] + weights['FullyConnected/b']
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = np.argmax(probabilities, axis=1) == labels[:10]
    assert rows[-1]['validation_accuracy'] == pytest.approx(right.mean())
    cross_entropy = -np.log(probabilities[np.arange(10), labels[:10]]).mean()
    assert rows[-1]['validation_loss'] == pytest.approx(cross_entropy, rel=1e-4)
    assert (tmp_path / 'tensorboard' / 'points').is_dir()


def test_the_same_seed_takes_the_same_batches_and_gives_the_same_weights(tmp_path, monkeypatch):
    points = np.random.RandomState(0).uniform(0, 255, (40, 2)).astype(np.float32)
    data = argparse.Namespace(train_images=points, train_labels=(points.sum(axis=1) > 255).astype(int),
                              validation_images=points[:4], validation_labels=np.arange(4) % 2, class_names=('a', 'b'))
    batches, take = [], tflearn.data_flow.FeedDictFlow.retrieve_data

    def retrieve_data(flow, batch_ids):
        time.sleep(0.002)  # so that epochs are shuffled while batches wait
        if flow.n_samples == 40:
            batches.append(batch_ids.tolist())
        return take(flow, batch_ids)

    def build_model():
        layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
        return tflearn.DNN(tflearn.regression(layer, optimizer='sgd', learning_rate=4.0),
                           tensorboard_dir=str(tmp_path / 'tensorboard'))

    monkeypatch.setattr(tflearn.data_flow.FeedDictFlow, 'retrieve_data', retrieve_data)
    monkeypatch.setattr(tf.train.Coordinator, 'wait_for_stop', None)  # which would take a second
    weights, taken = [], []
    for seed in (0, 0, 1):
        batches.clear()
        fitted = tflearn_trainer.fit(build_model, data, 5, 10, seed, 'points', tmp_path / 'metrics.csv', True)
        weights.append(fitted['FullyConnected/W'].tobytes())
        taken.append(batches[:20])
        assert sorted(sum(batches[:4], [])) == list(range(40))  # the first epoch takes each once
    assert taken[0] == taken[1] != taken[2]
    assert weights[0] == weights[1] != weights[2]


def test_a_loss_that_is_no_number_is_an_error(tmp_path):
    points, labels = np.ones([20, 2], np.float32), np.arange(20) % 2
    data = argparse.Namespace(train_images=points, train_labels=labels, validation_images=points * np.nan,
                              validation_labels=labels, class_names=('a', 'b'))

    def build_model():
        layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
        return tflearn.DNN(tflearn.regression(layer), tensorboard_dir=str(tmp_path / 'tensorboard'))

    with pytest.raises(ComputationError, match='not finite in epoch 1'):
        tflearn_trainer.fit(build_model, data, 2, 10, 0, 'points', tmp_path / 'metrics.csv', quiet=True)


def test_weights_that_are_no_numbers_are_an_error_whatever_the_loss(tmp_path):
    points, labels = np.ones([20, 2], np.float32), np.arange(20) % 2
    data = argparse.Namespace(train_images=points, train_labels=labels, validation_images=points,
                              validation_labels=labels, class_names=('a', 'b'))

    def build_model():
        layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
        tf.get_variable('unseen', initializer=np.float32([1, np.inf]))  # by the loss
        return tflearn.DNN(tflearn.regression(layer, trainable_vars=tf.trainable_variables()[:2]),
                           tensorboard_dir=str(tmp_path / 'tensorboard'))

    with pytest.raises(ComputationError, match='the weights of unseen are not finite after the training'):
        tflearn_trainer.fit(build_model, data, 2, 10, 0, 'points', tmp_path / 'metrics.csv', quiet=True)


def test_a_thread_that_takes_the_last_batch_first_does_not_keep_the_training_from_its_end(tmp_path, monkeypatch):
    points, labels = np.ones([20, 2], np.float32), np.arange(20) % 2
    data = argparse.Namespace(train_images=points, train_labels=labels, validation_images=points,
                              validation_labels=labels, class_names=('a', 'b'))

    class Stolen(queue.Queue):
        def empty(self):
            is_empty = super().empty()
            for _ in range(5):  # those that wait to put something go on
                with contextlib.suppress(queue.Empty):
                    while True:
                        self.get_nowait()
                time.sleep(0.02)
            return is_empty

    def build_model():
        layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
        return tflearn.DNN(tflearn.regression(layer), tensorboard_dir=str(tmp_path / 'tensorboard'))

    def fit():
        ended.append(tflearn_trainer.fit(build_model, data, 1, 10, 0, 'points', tmp_path / 'metrics.csv', quiet=True))

    tflearn.DNN  # the import is the main thread's
    monkeypatch.setattr(queue, 'Queue', Stolen)
    ended, thread = [], threading.Thread(target=fit, daemon=True)
    thread.start()
    thread.join(60)
    assert [sorted(weights) for weights in ended] == [['FullyConnected/W', 'FullyConnected/b']]


def test_ctrl_c_waits_for_the_end_of_the_step(tmp_path, monkeypatch):
    points, labels = np.ones([40, 2], np.float32), np.arange(40) % 2
    data = argparse.Namespace(train_images=points, train_labels=labels, validation_images=points,
                              validation_labels=labels, class_names=('a', 'b'))

    def build_model():
        layer = tflearn.fully_connected(tflearn.input_data([None, 2]), 2, activation='softmax')
        return tflearn.DNN(tflearn.regression(layer), tensorboard_dir=str(tmp_path / 'tensorboard'))

    def take(flow, timeout=None):
        os.kill(os.getpid(), signal.SIGTERM)
        taken.append(flow)  # an exception here could leave the queue locked
        return next_batch(flow, timeout)

    taken, next_batch = [], tflearn.data_flow.FeedDictFlow.next
    monkeypatch.setattr(tflearn.data_flow.FeedDictFlow, 'next', take)
    with pytest.raises(cli.Interrupted, match='saves nothing before its end'):
        tflearn_trainer.fit(build_model, data, 2, 10, 0, 'points', tmp_path / 'metrics.csv', quiet=True)
    assert len(taken) == 1


def test_seeds_reach_both_generators():
    drawn = []
    for seed in (5, 5, 6):
        tflearn_trainer.seed_all(seed)
        drawn.append((random.random(), np.random.rand()))
    assert drawn[0] == drawn[1] and not set(drawn[0]) & set(drawn[2])
