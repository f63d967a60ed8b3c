"""A training run: progress, figures, validation, the best weights, early stopping, checkpoints, Ctrl-C.

The loop itself stands in the recipe:

    with TrainingRun(run_dir, num_steps, validate, save, validate_every=100, state=state) as run:
        for step in run.steps():
            ...  # sess.run takes the step
            run.record(loss, accuracy, learning_rate)
"""
import time

import numpy as np

from common import checkpoints, cli, files, parallel, record, runs
from common.errors import ComputationError, InputError, UnavailableError
from common.metrics import MetricsLog
from common.progress import Progress
from common.session import tf

METRICS = 'step', 'epoch', 'loss', 'training_accuracy', 'validation_loss', 'validation_accuracy', 'learning_rate'
SECONDS_BETWEEN_CHECKPOINTS = 30.0
NEW_STATE = {
    'step': 0,                       # steps done
    'best_step': None,               # the step of the best validation; None before the first
    'validation_loss': float('inf'),  # of the best step, as is the accuracy
    'validation_accuracy': 0.0,
    'without_improvement': 0,        # validations in a row
    'first_loss': None,
    'since_row': [0, 0.0, 0.0],      # steps, sum of their losses, sum of their accuracies since the last row of metrics
    'training_seconds': 0.0,         # in steps
    'validation_seconds': 0.0,       # in validations
    'seconds': 0.0}                  # of the whole command, those before a resumption too

STATE_FIELDS = {  # what these can be when they are read back
    **dict.fromkeys(NEW_STATE, record.is_number), 'step': record.is_count, 'without_improvement': record.is_count,
    'best_step': record.optional(record.is_count), 'first_loss': record.optional(record.is_number),
    'validation_loss': lambda value: value == float('inf') or record.is_number(value),
    'since_row': lambda value: isinstance(value, list) and len(value) == 3 and all(map(record.is_number, value))}


def add_training_options(group, *, batch_size, learning_rate, keep_prob, early_stopping):
    """Adds the options that recipes which train have alike to one's group, with its defaults."""
    group.add_argument('--batch-size', type=cli.whole_number(1), default=batch_size, help='images')
    group.add_argument('--learning-rate', type=cli.real_number(1e-8, 10.0), default=learning_rate,
                       help='peak learning rate')
    group.add_argument('--keep-prob', type=cli.real_number(0.01, 1.0), default=keep_prob,
                       help='probability that dropout keeps a hidden unit')
    group.add_argument('--early-stopping', type=cli.whole_number(0), default=early_stopping, metavar='N',
                       help='stop after N validations without a lower loss; 0: never')
    group.add_argument('--book', action='store_true',
                       help='the settings of chapter 4 of the TensorFlow 1.x Deep Learning Cookbook')


class TrainingRun:
    """Keeps a training run while its loop runs. A context manager; nothing in it sees the network.

    Ctrl-C ends the loop after the step; at the end of the context a checkpoint is saved and Interrupted raised.

    Args:
      run_dir: Path of the run's folder.
      num_steps: int, steps of the whole training.
      validate: function without arguments to (probabilities float [num_images, num_classes], labels int [num_images]).
      save: function of the state (a dict that JSON can hold), called after each validation and, with
        `checkpoint_seconds`, between them. state['best_step'] is state['step'] where the weights are the best so far.
      validate_every: int or Fraction, steps between validations; the last step is always followed by one.
      epoch_steps: int or Fraction, steps of an epoch: batches need not divide the images evenly.
      state: dict, what `save` was given last; None at the start.
      record_every: int, steps between rows of the metrics; None for one with each validation alone.
      patience: int, ends the training after so many validations in a row without improvement; 0: never.
      best_by: 'validation_loss' or 'validation_accuracy', which decides on the best weights. Among a few thousand
        images two good networks differ by chance in accuracy, less so in the loss.
      checkpoint_seconds: float; None where only validations save, in memory: such a stage is trained again on --resume.
      name: str, of the file with the metrics, <name>.csv, and of TensorBoard's log.
      graph: tf.Graph, drawn by TensorBoard; None for figures alone.
      started: float, time.monotonic() at which the command would have started without interruptions.
      quiet: bool, show no progress.

    Attributes:
      state: dict; see NEW_STATE.
      metrics: MetricsLog.
      writer: tf.summary.FileWriter, of TensorBoard's log.

    Raises:
      InputError: the state is that of a run started with an earlier version of the recipe.
    """

    def __init__(self, run_dir, num_steps, validate, save, *, validate_every, epoch_steps, state=None,
                 record_every=None, patience=0, best_by='validation_loss',
                 checkpoint_seconds=SECONDS_BETWEEN_CHECKPOINTS, name='metrics', graph=None, started=None,
                 quiet=False):
        _check_state(run_dir, state)
        self.num_steps, self.validate, self.save = num_steps, validate, save
        self.validate_every, self.epoch_steps, self.record_every = validate_every, epoch_steps, record_every
        self.patience, self.best_by, self.checkpoint_seconds = patience, best_by, checkpoint_seconds
        self.saved = state is not None and checkpoint_seconds is not None
        self.state = dict(NEW_STATE, **state or {})
        self.metrics = MetricsLog(run_dir / f'{name}.csv', METRICS, keep_until=self.state['step'])
        self.writer = tf.summary.FileWriter(str(run_dir / 'tensorboard' / ('' if name == 'metrics' else name)), graph)
        self.progress = Progress(num_steps, self.state['step'], 'step', quiet)
        self.figures = {}
        self.saved_at = self.clock = time.monotonic()
        self.started = self.clock - self.state['seconds'] if started is None else started

    def __enter__(self):
        self._stop_requested = cli.stop_requested()
        self.stop = self._stop_requested.__enter__()
        return self

    def __exit__(self, kind, *exception):
        self._stop_requested.__exit__(kind, *exception)
        self.progress.close()
        self.metrics.close()
        self._write_log(self.writer.close, is_last=kind is not None)
        if kind is None and not self.finished:
            self._interrupt()

    @property
    def finished(self):
        """Whether the training has ended, by its steps or by early stopping."""
        return self.state['step'] >= self.num_steps or 0 < self.patience <= self.state['without_improvement']

    def steps(self):
        """Yields the number of steps done before each step to take, until the training ends or Ctrl-C."""
        while not self.finished and not parallel.agreed(self.stop.requested):
            yield self.state['step']

    def record(self, loss, accuracy, learning_rate):
        """Takes note of a step: progress, metrics, and where they are due validation and checkpoint.

        Args:
          loss, accuracy: float, of the step's batch.
          learning_rate: float, of the step.

        Raises:
          ComputationError: the loss, or that of the validation images, is not finite.
        """
        state = self.state
        if not np.isfinite(loss):
            raise self._diverged(f'the loss is {loss} in step {state["step"] + 1}')
        state['step'] += 1
        if state['first_loss'] is None:
            state['first_loss'] = float(loss)
        count, losses, accuracies = state['since_row']
        state['since_row'] = [count + 1, losses + float(loss), accuracies + float(accuracy)]
        self._lap('training_seconds')
        epochs = -(-self.num_steps // self.epoch_steps)
        if epochs > 1:
            self.figures['epoch'] = f'{min(state["step"] // self.epoch_steps + 1, epochs)}/{epochs}'
        self.figures['loss'] = loss
        if self._due(self.validate_every):
            self._row(learning_rate, self._validate())
            self._lap('validation_seconds')
            self._save()
        elif self.record_every and state['step'] % self.record_every == 0:
            self._row(learning_rate, {})
        if self.checkpoint_seconds is not None and time.monotonic() - self.saved_at > self.checkpoint_seconds:
            self._save()
        self.progress.update(self.figures)
        self.clock = time.monotonic()

    def _lap(self, name):
        now = time.monotonic()
        self.state[name] += now - self.clock
        self.clock = now

    def _due(self, every):
        step = self.state['step']
        return step // every > (step - 1) // every or step == self.num_steps

    def _validate(self):
        """Measures the validation images, and notes whether the weights are the best so far."""
        state, found = self.state, measure_predictions(*self.validate())
        if not np.isfinite(found['validation_loss']):
            raise self._diverged(f'the validation loss is {found["validation_loss"]} after step {state["step"]}')
        self.figures['validation'] = f'{100 * found["validation_accuracy"]:.2f} %'
        if self.best_by == 'validation_loss':
            improved = found['validation_loss'] < state['validation_loss']
        else:  # of two that are equal, the one trained longer
            improved = found['validation_accuracy'] >= state['validation_accuracy']
        if improved:
            state.update(found, best_step=state['step'], without_improvement=0)
        else:
            state['without_improvement'] += 1
        return found

    def _row(self, learning_rate, validation):
        """Writes the means over the steps since the last row, to the metrics and to TensorBoard's log."""
        count, losses, accuracies = self.state['since_row']
        self.state['since_row'] = [0, 0.0, 0.0]
        figures = dict(loss=losses / count, training_accuracy=accuracies / count,
                       learning_rate=float(learning_rate), **validation)
        step = self.state['step']
        self.metrics.append(step=step, epoch=round(float(step / self.epoch_steps), 4), **figures)
        self.writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)
                                                  for tag, value in figures.items()]), step)
        self._write_log(self.writer.flush)

    def _write_log(self, write, is_last=False):
        """Writes TensorBoard's log; where TensorFlow cannot, it raises errors of any kind, from another thread."""
        try:
            write()
        except Exception as error:
            if not is_last:  # else another error ends the run already
                raise UnavailableError(f'cannot write {self.writer.get_logdir()}: {str(error).splitlines()[0]}; '
                                       f'{self._what_is_saved()}')

    def _save(self):
        self.state['seconds'] = time.monotonic() - self.started
        self.save(self.state)
        self.saved_at, self.saved = time.monotonic(), self.checkpoint_seconds is not None

    def _interrupt(self):
        """Ends what Ctrl-C stopped, with a checkpoint that the run resumes from."""
        where = f'step {self.state["step"]} of {self.num_steps}'
        if self.checkpoint_seconds is None:
            raise cli.Interrupted(f'in {where}; this stage starts over on resume')
        self._save()
        raise cli.Interrupted(f'{where} is saved')

    def _diverged(self, what):
        return ComputationError(f'{what}; {self._what_is_saved()}; try a smaller --learning-rate')

    def _what_is_saved(self):
        return 'the last checkpoint is kept' if self.saved else 'there is no checkpoint yet'


def measure_predictions(probabilities, labels):
    """Computes mean cross-entropy and accuracy.

    Args:
      probabilities: float [num_images, num_classes].
      labels: int [num_images].

    Returns:
      dict with validation_loss and validation_accuracy, floats.
    """
    of_labels = probabilities[np.arange(len(labels)), labels]
    return {'validation_loss': float(-np.log(np.maximum(of_labels, 1e-12)).mean()),
            'validation_accuracy': float(np.mean(np.argmax(probabilities, axis=1) == labels))}


def open_run(run_dir, output_dir, recipe, *, settings, seed, device, source, num_images, checksums, **facts):
    """Makes the folder of a new run, or checks that a run to resume was started on the same data.

    Args:
      run_dir: Path of the run to resume; None for a new one, of the recipe of that name in output_dir.
      settings, seed: dict of the options that a resumed run must share; int.
      device: str, for the record.
      source: str, where the training images are from.
      num_images: int, of the training images.
      checksums: dict of str, of the files with the images.
      **facts: what else must not change; see runs.check_unchanged.

    Returns:
      (Path of the folder, dict of the last checkpoint's state or None).

    Raises:
      InputError: the run was started on other data, or by another number of processes, whose sums round differently.
    """
    parallel.check_same(checksums, 'the training images')
    files.check_is_text(run_dir or output_dir, '--resume' if run_dir else '--output-dir')
    data = {'source': source, 'training_images': num_images, 'checksums': checksums}
    if run_dir is None:
        processes = {'processes': parallel.size()} if parallel.size() > 1 else {}
        run_dir = runs.create(output_dir, recipe, settings=settings, seed=seed, data=data, **processes)
    _check_processes(run_dir)
    begun = dict(data, **runs.read_record(run_dir).get('data', {}))
    if (begun['training_images'], begun['checksums']) != (num_images, checksums):
        raise InputError(f'--resume {run_dir}: that run trains on {begun["training_images"]:,} images, from '
                         f'{begun["source"]}; these are {num_images:,}, from {source}; give the --data-dir of that run')
    runs.check_unchanged(run_dir, **facts)
    runs.write_record(run_dir, device=device)
    return run_dir, load_state(run_dir)


def _check_processes(run_dir):
    begun = runs.read_record(run_dir)
    count = begun.get('processes', 1)
    if count != parallel.size() and 'results' not in begun:
        raise InputError(f'--resume {run_dir}: started with processes: {count}; {parallel.size()} would sum in another '
                         f'order, so that the result would not be the same. Resume it with '
                         f'{f"mpirun -n {count}" if count > 1 else "one process"}, or start a new run')


def load_state(run_dir):
    """Returns the state of a run's last checkpoint, a dict; None where it has none yet.

    Checkpoints before that one go: a kill can come between saving it and removing them.

    Raises:
      InputError: the run was started with an earlier version of the recipe.
    """
    state = _check_state(run_dir, checkpoints.load_state(run_dir))
    if state:
        checkpoints.remove_unneeded(run_dir, state)
    return state


def _check_state(run_dir, state):
    missing = sorted(set(NEW_STATE) - set(state)) if state is not None else []
    if missing:
        raise InputError(f'{run_dir}: started with an earlier version of this recipe, whose checkpoints lack '
                         f'{", ".join(missing)}; start a new run')
    if state is not None:
        record.check_fields(run_dir / 'checkpoints' / checkpoints.STATE, state, STATE_FIELDS)
    return state
