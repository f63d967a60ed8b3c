"""What is done with a classifier besides training it."""
import os
import time

import numpy as np

from common import evaluation, images, runs
from common.session import tf
from training import classifier
from training.run import NEW_STATE


def test_a_report_measures_and_draws(tmp_path):
    labels = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.05, 0.95, 0.0]])
    photographs = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3))
    asked = []

    def load_images(indices):
        asked.extend(indices)
        return photographs[indices]
    mirrored = np.eye(3)[[0, 1, 2, 1]]
    accuracies = classifier.evaluate(tmp_path, labels, probabilities, ('ant', 'bee', 'cow'), load_images, mirrored)
    assert (accuracies['test_accuracy'].value, accuracies['test_accuracy'].total) == (0.5, 4)
    assert accuracies['tta_accuracy'].value == 0.75  # the third is right on the whole
    assert asked == [3, 2]  # the most confident mistake first
    lines = (tmp_path / 'classes.txt').read_text().splitlines()
    assert [line.split()[0] for line in lines[1:]] == ['ant', 'bee', 'cow']
    for name in ('confusion_matrix', 'mistakes'):
        assert images.load_image(tmp_path / (name + '.png')).std() > 5


def test_a_report_without_mistakes(tmp_path):
    accuracies = classifier.evaluate(tmp_path, np.array([1, 0]), np.eye(2)[[1, 0]], ('ant', 'bee'),
                                     lambda none: np.zeros((0, 8, 8)))
    assert list(accuracies) == ['test_accuracy'] and accuracies['test_accuracy'].value == 1
    assert (tmp_path / 'mistakes.png').exists()


def test_class_names_need_not_be_utf_8(tmp_path):
    names = 'ant', os.fsdecode(b'caf\xe9')  # folders have any bytes
    classifier.evaluate(tmp_path, LABELS, PROBABILITIES, names, lambda chosen: np.zeros((len(chosen), 8, 8)))
    assert b'caf\xe9' in (tmp_path / 'classes.txt').read_bytes()
    with tf.Session() as sess:
        inputs = tf.placeholder(tf.float32, [None, 2])
        saved = classifier.export(tmp_path, sess, inputs, tf.nn.softmax(inputs), names)
    with tf.Graph().as_default(), tf.Session() as sess:
        signature = tf.saved_model.loader.load(sess, ['serve'], str(saved)).signature_def['serving_default']
        assert sess.run(signature.outputs['labels'].name, {signature.inputs['images'].name: [[0, 1]]}) == [b'caf\xe9']


PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.01, 0.99]])
LABELS = np.array([0, 1, 0, 0, 0])


def test_right_predictions_are_drawn_and_wrong_ones_are_the_most_confident():
    found = classifier.right_and_wrong(LABELS, PROBABILITIES, 2, seed=1)
    assert list(found['wrong']) == [4, 2]
    assert set(found['right']) < {0, 1, 3} and list(found['right']) == sorted(found['right'])
    assert len(classifier.right_and_wrong(LABELS, PROBABILITIES, 9, seed=1)['right']) == 3


def test_results_are_recorded(tmp_path):
    state = dict(NEW_STATE, step=4, best_step=2, training_seconds=8.0, validation_accuracy=0.5, validation_loss=0.7)
    accuracies = {'test_accuracy': evaluation.accuracy(LABELS, LABELS), 'tta_accuracy': evaluation.accuracy([0], [1])}
    run_dir = runs.create(tmp_path, 'recipe')
    started = time.monotonic() - 50
    seconds = classifier.record_results(run_dir, accuracies, state, started)
    assert 50 <= seconds <= time.monotonic() - started
    results = runs.read_record(run_dir)['results']
    assert results['test_accuracy'] == 1 and results['test_images'] == 5 and results['tta_accuracy_low'] == 0
    runs.release_all()
    assert results['seconds_per_step'] == 2 and results['best_step'] == 2 and results['validation_loss'] == 0.7
