"""What comes after each step of a training: progress, metrics, validation, the best so far, early stopping."""
import time

import numpy as np

from common import runs
from common.errors import ComputationError
from common.progress import Progress

METRICS = ('step', 'training_loss', 'training_accuracy', 'validation_loss', 'validation_accuracy')
SECONDS_BETWEEN_CHECKPOINTS = 45.0


class Journal:
    """What comes after each step of train(): progress, metrics, validation, the best so far, checkpoints.

    Args:
      name: str, the stage's.
      num_steps: int.
      validate_every: int, steps.
      validate: function without arguments to probabilities of the validation images, [num_images, num_classes].
      labels: int64 [num_images], theirs.
      keep: function of the journal's state, called after each validation: state['best_step'] is state['step'] where the
        weights are the best so far.
      args: the options run_dir, early_stopping and quiet.
      state: what the last checkpoint's journal knew; None at the start.
      save_between: bool, call `keep` every SECONDS_BETWEEN_CHECKPOINTS between validations too.
    """

    def __init__(self, name, num_steps, validate_every, validate, labels, keep, args, state=None, save_between=True):
        self.num_steps, self.validate_every, self.validate, self.labels = num_steps, validate_every, validate, labels
        self.keep, self.patience, self.save_between = keep, args.early_stopping, save_between
        self.state = state or {'step': 0, 'best_step': None, 'validation_loss': float('inf'),
                               'validation_accuracy': 0.0, 'disappointments': 0, 'sums': [0, 0.0, 0.0],
                               'training_seconds': 0.0}
        self.metrics = runs.MetricsLog(args.run_dir / (f'{name}.csv'), METRICS, keep_until=self.state['step'])
        self.progress = Progress(num_steps, self.state['step'], 'step', args.quiet)
        self.figures = {}
        self.saved_at = self.clock = time.time()

    def finished(self):
        """Tells whether the stage has ended, by its steps or by early stopping."""
        return self.state['step'] >= self.num_steps or 0 < self.patience <= self.state['disappointments']

    def after_step(self, step, loss, accuracy):
        """Returns True where the training should end; see train()."""
        self.state['step'] = step
        count, losses, accuracies = self.state['sums']
        self.state['sums'] = [count + 1, losses + loss, accuracies + accuracy]
        self.figures.update(loss=loss)
        self.progress.update(self.figures)
        self.state['training_seconds'] += time.time() - self.clock
        if step % self.validate_every == 0 or step == self.num_steps:
            self.look_at_validation()
        elif self.save_between and time.time() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.keep(self.state)
            self.saved_at = time.time()
        self.clock = time.time()
        return self.finished()

    def look_at_validation(self):
        """Measures loss and accuracy on the validation images, and keeps the weights.

        The loss decides which are best: among a few hundred images two good networks differ by chance in accuracy.

        Raises:
          ComputationError: the loss is not a number any more.
        """
        found = measure(self.labels, self.validate())
        if not np.isfinite(found['validation_loss']):
            raise ComputationError('the validation loss is %s after step %d; what was saved before is kept; try a '
                                   'smaller learning rate' % (found['validation_loss'], self.state['step']))
        count, losses, accuracies = self.state['sums']
        if count:
            self.metrics.append(step=self.state['step'], training_loss=losses / count,
                                training_accuracy=accuracies / count, **found)
        self.state['sums'] = [0, 0.0, 0.0]
        self.figures['validation'] = '%.2f %%' % (100 * found['validation_accuracy'])
        if found['validation_loss'] < self.state['validation_loss']:
            self.state.update(found, best_step=self.state['step'], disappointments=0)
        else:
            self.state['disappointments'] += 1
        self.keep(self.state)
        self.saved_at = time.time()

    def close(self):
        """Ends the bar and the file."""
        self.progress.close()
        self.metrics.close()


def measure(labels, probabilities):
    """Computes mean cross-entropy and accuracy; every class counts by its images.

    Returns:
      dict with validation_loss and validation_accuracy.
    """
    of_labels = probabilities[np.arange(len(labels)), labels]
    return {'validation_loss': float(-np.log(np.maximum(of_labels, 1e-12)).mean()),
            'validation_accuracy': float(np.mean(np.argmax(probabilities, axis=1) == labels))}
