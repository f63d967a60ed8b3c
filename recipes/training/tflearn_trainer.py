"""tflearn's own trainer, DNN.fit, with our progress bar and records in place of the lines it prints at every step."""
import contextlib
import os
import random
import sys

import numpy as np

from common.progress import Progress
from common.session import tflearn


def seed_all(seed):
    """Seeds the generators of the whole process: tflearn shuffles by numpy's, and augments by Python's."""
    random.seed(seed)
    np.random.seed(seed)


def fit(model, training, validation, num_epochs, batch_size, run_id, metrics, quiet=False):
    """Trains a model with tflearn's DNN.fit, to the end: it cannot go on where it stopped.

    Args:
      model: tflearn.DNN of one input and one regression layer.
      training, validation: (images, one-hot labels), arrays as the model takes them; validated after each epoch.
      num_epochs, batch_size: int.
      run_id: str, the name of TensorBoard's log in the model's folder for it.
      metrics: runs.MetricsLog; gets step, epoch, loss and training_accuracy (means over the epoch), validation_loss and
        validation_accuracy.
      quiet: bool, show no progress.
    """
    num_steps = num_epochs * -(-len(training[0]) // batch_size)
    with Progress(num_steps, 0, 'step', quiet) as progress, open(os.devnull, 'w') as nowhere:
        log = _log(metrics, progress, num_epochs, sys.stdout)
        with contextlib.redirect_stdout(nowhere):
            model.fit(*training, n_epoch=num_epochs, shuffle=True, show_metric=True, batch_size=batch_size,
                      validation_set=validation, run_id=run_id, callbacks=log)


def _log(metrics, progress, num_epochs, stdout):
    """Makes the callback; its base class is tflearn's, so there is none before tflearn is imported."""
    class Log(tflearn.callbacks.Callback):
        sums = np.zeros(3)  # of loss and accuracy over the epoch, and how many

        def on_batch_end(self, training_state, snapshot=False):
            self.sums += training_state.loss_value, training_state.acc_value or 0.0, 1
            with contextlib.redirect_stdout(stdout):
                progress.update({'epoch': '%d/%d' % (training_state.epoch, num_epochs),
                                 'loss': training_state.loss_value})

        def on_epoch_end(self, training_state):
            loss, accuracy = self.sums[:2] / self.sums[2]
            self.sums = np.zeros(3)
            metrics.append(step=training_state.step, epoch=training_state.epoch, loss=loss, training_accuracy=accuracy,
                           validation_loss=training_state.val_loss, validation_accuracy=training_state.val_acc)
    return Log()
