"""What comes after each step of a training."""
import argparse

import numpy as np
import pytest

from common import runs, training_journal
from common.errors import ComputationError
from common.training_journal import Journal

LABELS = np.array([0, 1, 1, 0])


def probabilities(of_labels):
    """Probabilities of two classes, where each image's own class has this one."""
    rows = np.full([4, 2], 1 - of_labels)
    rows[np.arange(4), LABELS] = of_labels
    return rows


class Training:
    """A journal of a training whose validations give these probabilities of the right class, one after the other."""

    def __init__(self, run_dir, validations, patience=0, state=None, **options):
        self.kept = []
        args = argparse.Namespace(run_dir=run_dir, early_stopping=patience, quiet=True)
        coming = iter(validations)
        self.journal = Journal('stage', 8, 2, lambda: probabilities(next(coming)), LABELS,
                               lambda state: self.kept.append(dict(state)), args, state, **options)

    def run(self, first=0):
        for step in range(first, 8):
            if self.journal.after_step(step + 1, loss=float(step), accuracy=0.5):
                break
        self.journal.close()
        return self.journal.state


def test_measures():
    rows = probabilities(0.8)
    rows[0] = 0.9, 0.1
    found = training_journal.measure(LABELS, rows)
    assert found['validation_accuracy'] == 1
    assert found['validation_loss'] == pytest.approx(-(3 * np.log(0.8) + np.log(0.9)) / 4)
    assert training_journal.measure(LABELS, probabilities(0.4))['validation_accuracy'] == 0
    assert np.isfinite(training_journal.measure(LABELS, probabilities(0.0))['validation_loss'])


def test_the_best_is_the_one_with_the_lowest_loss(tmp_path):
    state = Training(tmp_path, [0.6, 0.9, 0.7, 0.8]).run()
    assert (state['step'], state['best_step'], state['disappointments']) == (8, 4, 2)
    assert state['validation_loss'] == pytest.approx(-np.log(0.9))
    rows = runs.read_metrics(tmp_path / 'stage.csv')
    assert [row['step'] for row in rows] == [2, 4, 6, 8]
    assert [row['training_loss'] for row in rows] == [0.5, 2.5, 4.5, 6.5]  # means since the row before


def test_a_validation_loss_that_is_no_number_is_an_error_and_nothing_is_kept(tmp_path):
    training = Training(tmp_path, [0.6, float('nan')])
    with pytest.raises(ComputationError, match='validation loss is nan after step 4'):
        training.run()
    assert [state['step'] for state in training.kept] == [2]


def test_patience_ends_the_training(tmp_path):
    training = Training(tmp_path, [0.9, 0.8, 0.7, 0.6], patience=2)
    assert training.run()['step'] == 6 and training.journal.finished()


def test_weights_are_kept_at_each_validation_and_in_between_where_time_passes(tmp_path, monkeypatch):
    training = Training(tmp_path, [0.6, 0.7, 0.8, 0.9])
    training.run()
    assert [state['step'] for state in training.kept] == [2, 4, 6, 8]
    monkeypatch.setattr(training_journal, 'SECONDS_BETWEEN_CHECKPOINTS', 0)
    often, rarely = Training(tmp_path, [0.6] * 4), Training(tmp_path, [0.6] * 4, save_between=False)
    often.run()
    rarely.run()
    assert [state['step'] for state in often.kept] == list(range(1, 9))
    assert [state['step'] for state in rarely.kept] == [2, 4, 6, 8]


def test_a_resumed_journal_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(training_journal, 'SECONDS_BETWEEN_CHECKPOINTS', 0)
    for name in ('whole', 'resumed'):
        (tmp_path / name).mkdir()
    whole = Training(tmp_path / 'whole', [0.6, 0.9, 0.7, 0.8])
    whole.run()
    stopped = Training(tmp_path / 'resumed', [0.6, 0.9, 0.7, 0.8])
    stopped.run()
    at_five = stopped.kept[4]
    assert at_five['step'] == 5
    resumed = Training(tmp_path / 'resumed', [0.7, 0.8], state=at_five)
    resumed.run(first=5)
    assert (tmp_path / 'resumed' / 'stage.csv').read_bytes() == (tmp_path / 'whole' / 'stage.csv').read_bytes()
    assert dict(resumed.journal.state, training_seconds=0) == dict(whole.journal.state, training_seconds=0)
