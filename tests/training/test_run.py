"""What a training run keeps while its loop runs."""
import json
import os
import signal
from fractions import Fraction

import numpy as np
import pytest

from common import checkpoints, cli, runs, session
from common.errors import ComputationError, InputError, UnavailableError
from common.metrics import read_metrics
from common.session import tf
from training.run import NEW_STATE, TrainingRun, load_state, measure_predictions, open_run

LABELS = np.array([0, 1, 1, 0])
NUM_STEPS = 8


def probabilities(of_labels):
    """Probabilities of two classes, where each image's own class has this one."""
    rows = np.full([4, 2], 1 - of_labels)
    rows[np.arange(4), LABELS] = of_labels
    return rows


class Training:
    """A training of eight steps whose validations give these probabilities of the right class, one after the other."""

    def __init__(self, run_dir, validations, **options):
        self.saved, coming = [], iter(validations)
        options = dict(dict(validate_every=2, epoch_steps=4, quiet=True), **options)
        self.run = TrainingRun(run_dir, NUM_STEPS, lambda: (probabilities(next(coming)), LABELS),
                               lambda state: self.saved.append(dict(state)), **options)

    def train(self, after_step=None):
        with self.run as run:
            for step in run.steps():
                run.record(float(step), 0.5, 0.1)
                if after_step:
                    after_step(step + 1)
        return run.state

    def steps_saved(self):
        return [state['step'] for state in self.saved]


def test_measures():
    rows = probabilities(0.8)
    rows[0] = 0.9, 0.1
    found = measure_predictions(rows, LABELS)
    assert found['validation_accuracy'] == 1
    assert found['validation_loss'] == pytest.approx(-(3 * np.log(0.8) + np.log(0.9)) / 4)
    assert measure_predictions(probabilities(0.4), LABELS)['validation_accuracy'] == 0
    assert np.isfinite(measure_predictions(probabilities(0.0), LABELS)['validation_loss'])


def test_the_best_is_the_one_with_the_lowest_loss(tmp_path):
    state = Training(tmp_path, [0.6, 0.9, 0.7, 0.8]).train()
    assert (state['step'], state['best_step'], state['without_improvement']) == (8, 4, 2)
    assert state['validation_loss'] == pytest.approx(-np.log(0.9))
    assert state['first_loss'] == 0
    rows = read_metrics(tmp_path / 'metrics.csv')
    assert [row['step'] for row in rows] == [2, 4, 6, 8]
    assert [row['epoch'] for row in rows] == [0.5, 1, 1.5, 2]
    assert [row['loss'] for row in rows] == [0.5, 2.5, 4.5, 6.5]  # means since the row before


def test_the_best_by_accuracy_is_the_latest_of_those_that_are_equal(tmp_path):
    state = Training(tmp_path, [0.9, 0.8, 0.7, 0.4], best_by='validation_accuracy').train()
    assert (state['best_step'], state['validation_accuracy']) == (6, 1.0)


def test_rows_between_validations(tmp_path):
    Training(tmp_path, [0.6, 0.9], validate_every=4, record_every=1).train()
    rows = read_metrics(tmp_path / 'metrics.csv')
    assert [(row['loss'], row['validation_loss'] is not None) for row in rows] == [
        (0, False), (1, False), (2, False), (3, True), (4, False), (5, False), (6, False), (7, True)]


def test_validations_come_where_an_epoch_of_uneven_batches_ends_and_after_the_last_step(tmp_path):
    Training(tmp_path, [0.6] * 4, validate_every=Fraction(10, 4), epoch_steps=Fraction(10, 4)).train()  # 2.5 steps
    assert [row['step'] for row in read_metrics(tmp_path / 'metrics.csv')] == [3, 5, 8]


@pytest.mark.parametrize('of_labels, message', [
    ([0.6, float('nan')], 'the validation loss is nan after step 4; the last checkpoint is kept'),
    ([float('nan')], 'the validation loss is nan after step 2; there is no checkpoint yet')],
    ids=['later', 'at first'])
def test_a_validation_loss_that_is_no_number_is_an_error_and_nothing_is_saved(tmp_path, of_labels, message):
    training = Training(tmp_path, of_labels)
    with pytest.raises(ComputationError, match=message):
        training.train()
    assert training.steps_saved() == [2][:len(of_labels) - 1]


def test_a_loss_that_is_no_number_is_an_error(tmp_path):
    training = Training(tmp_path, [0.6])
    with pytest.raises(ComputationError, match='the loss is inf in step 3; the last checkpoint is kept; try a smaller'):
        with training.run as run:
            for step in run.steps():
                run.record(float('inf') if step == 2 else 1.0, 0.5, 0.1)
    assert run.state['step'] == 2


def test_patience_ends_the_training(tmp_path):
    training = Training(tmp_path, [0.9, 0.8, 0.7, 0.6], patience=2)
    assert training.train()['step'] == 6 and training.run.finished


def test_weights_are_saved_at_each_validation_and_in_between_where_time_passes(tmp_path):
    found = []
    for number, seconds in enumerate((1000, 0, None)):
        (tmp_path / str(number)).mkdir()
        training = Training(tmp_path / str(number), [0.6] * 4, checkpoint_seconds=seconds)
        training.train()
        found.append(sorted(set(training.steps_saved())))
    assert found == [[2, 4, 6, 8], list(range(1, 9)), [2, 4, 6, 8]]


def interrupt_after(step):
    def after_step(done):
        if done == step:
            os.kill(os.getpid(), signal.SIGINT)
    return after_step


def test_ctrl_c_ends_after_the_step_and_a_resumed_run_equals_one_never_stopped(tmp_path):
    for name in ('whole', 'resumed'):
        (tmp_path / name).mkdir()
    whole = Training(tmp_path / 'whole', [0.6, 0.9, 0.7, 0.8]).train()
    stopped = Training(tmp_path / 'resumed', [0.6, 0.9])
    with pytest.raises(cli.Interrupted, match='^step 5 of 8 is saved$'):
        stopped.train(interrupt_after(5))
    state = stopped.saved[-1]
    assert state['step'] == 5
    resumed = Training(tmp_path / 'resumed', [0.7, 0.8], state=state).train()
    assert (tmp_path / 'resumed' / 'metrics.csv').read_bytes() == (tmp_path / 'whole' / 'metrics.csv').read_bytes()
    clocks = dict(training_seconds=0, validation_seconds=0, seconds=0)
    assert dict(resumed, **clocks) == dict(whole, **clocks)


def test_ctrl_c_in_the_last_step_is_no_interruption(tmp_path):
    assert Training(tmp_path, [0.6] * 4).train(interrupt_after(8))['step'] == 8


def test_a_stage_without_checkpoints_says_that_it_starts_again(tmp_path):
    with pytest.raises(cli.Interrupted, match='in step 3 of 8; this stage starts over on resume'):
        Training(tmp_path, [0.6] * 4, checkpoint_seconds=None).train(interrupt_after(3))


def test_a_finished_run_takes_no_step(tmp_path):
    state = Training(tmp_path, [0.6] * 4).train()
    assert Training(tmp_path, [], state=state).train() == state


def test_a_state_of_an_earlier_version_is_refused(tmp_path):
    with pytest.raises(InputError, match='earlier version.*without_improvement.*start a new run'):
        Training(tmp_path, [], state={'step': 3, 'best_step': 2, 'disappointments': 0})


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    assert load_state(tmp_path) is None
    (tmp_path / 'checkpoints').mkdir()
    state_path = tmp_path / 'checkpoints' / 'state.json'
    state_path.write_text(json.dumps({'step': 3, 'best_step': 2}))
    with pytest.raises(InputError, match='earlier version.*without_improvement.*start a new run'):
        load_state(tmp_path)
    state_path.write_text(json.dumps(NEW_STATE))
    assert load_state(tmp_path) == NEW_STATE


def test_a_log_that_cannot_be_written_ends_the_run_in_one_line(tmp_path, monkeypatch):
    training = Training(tmp_path, [0.6])

    def full(*unused):
        raise IndexError('disk full\nFailed to flush')
    monkeypatch.setattr(training.run.writer, 'flush', full)
    monkeypatch.setattr(training.run.writer, 'close', full)
    with pytest.raises(UnavailableError, match='^cannot write .*tensorboard.*: disk full; there is no checkpoint yet$'):
        training.train()


def test_tensorboard_gets_every_row(tmp_path):
    Training(tmp_path, [0.6, 0.9, 0.7, 0.8]).train()
    log, = (tmp_path / 'tensorboard').iterdir()
    found = [(event.step, value.tag, value.simple_value) for event in tf.train.summary_iterator(str(log))
             for value in event.summary.value]
    assert {tag for _, tag, _ in found} == {'loss', 'training_accuracy', 'validation_loss', 'validation_accuracy',
                                            'learning_rate'}
    assert [(step, value) for step, tag, value in found if tag == 'loss'] == [(2, 0.5), (4, 2.5), (6, 4.5), (8, 6.5)]


def test_a_run_is_opened_anew_or_on_the_same_data_alone(tmp_path):
    facts = dict(settings={'steps': 3}, seed=1, device='CPU', source='the web', num_images=10, checksums={'a': 'b'})
    run_dir, state = open_run(None, tmp_path, 'recipe', **facts)
    assert state is None and runs.read_record(run_dir)['data']['training_images'] == 10
    runs.release_all()
    assert open_run(run_dir, tmp_path, 'recipe', **facts) == (run_dir, None)
    for change in (dict(num_images=11), dict(checksums={'a': 'c'})):
        with pytest.raises(InputError, match='that run trains on 10 images, from the web'):
            open_run(run_dir, tmp_path, 'recipe', **dict(facts, **change))


def test_the_state_at_the_start_is_not_shared():
    assert NEW_STATE['since_row'] == [0, 0.0, 0.0] and NEW_STATE['step'] == 0


@pytest.mark.parametrize('name, value', [
    ('step', -1), ('step', 1.5), ('step', '3'), ('step', None), ('best_step', 'x'), ('validation_loss', None),
    ('validation_loss', float('nan')), ('validation_accuracy', 'x'), ('without_improvement', None),
    ('first_loss', []), ('since_row', 3), ('since_row', [1, 2]), ('since_row', [1, None, 2]), ('seconds', -1),
    ('training_seconds', float('inf')), ('validation_seconds', True)])
def test_a_state_that_no_run_saved_is_refused(tmp_path, name, value):
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'state.json').write_text(json.dumps(dict(NEW_STATE, step=3, **{name: value})
                                                                    if name != 'step' else dict(NEW_STATE, step=value)))
    with pytest.raises(InputError, match=f'state.json: damaged: {name} cannot be'):
        load_state(tmp_path)


def test_killed_before_the_checkpoint_before_is_removed_it_is_removed_on_resuming(tmp_path, monkeypatch):
    state = dict(NEW_STATE, best_step=2)
    with tf.Graph().as_default(), session.open_session() as sess, monkeypatch.context() as context:
        tf.get_variable('x', initializer=1.0)
        saver = tf.train.Saver(max_to_keep=0)
        sess.run(tf.global_variables_initializer())
        context.setattr(checkpoints, 'remove_unneeded', lambda *args: None)
        for step in (1, 2, 3):
            checkpoints.save(tmp_path, saver, sess, dict(state, step=step))
    assert load_state(tmp_path)['step'] == 3
    assert {path.stem for path in (tmp_path / 'checkpoints').glob('model-*.index')} == {'model-2', 'model-3'}
