"""tflearn's own trainer, DNN.fit, with our progress bar and records in place of the lines it prints at every step."""
import contextlib
import os
import queue
import random
import sys
import time

import numpy as np

from common import checkpoints, cli, session
from common.errors import ComputationError
from common.metrics import MetricsLog
from common.progress import Progress
from common.session import tf, tflearn
from training.run import METRICS, NEW_STATE

STARTS_OVER = "tflearn's trainer saves nothing before its end; a resumed run starts over"


def seed_all(seed):
    """Seeds the generators of the whole process: tflearn shuffles by numpy's, and augments by Python's."""
    random.seed(seed)
    np.random.seed(seed)


def fit(build_model, data, num_epochs, batch_size, seed, run_id, metrics_path, quiet=False):
    """Trains a model with tflearn's DNN.fit, to the end: it cannot be resumed.

    Args:
      build_model: function without arguments that adds the network to the default graph, of its own here, and returns
        a tflearn.DNN of one input and one regression layer.
      data: has train_images and validation_images (arrays in [0, 255]), train_labels, validation_labels (int),
        class_names.
      num_epochs, batch_size: int.
      seed: int, of the initial weights, the shuffling and the augmentation.
      run_id: str, the name of TensorBoard's log in the model's folder for it.
      metrics_path: Path of the metrics, a row each epoch; losses and accuracies of training are means over the epoch.
      quiet: bool, show no progress.

    Returns:
      dict of array by the name of the trained variable.

    Raises:
      ComputationError: the loss of an epoch, or a weight in the end, is not finite.
      cli.Interrupted: Ctrl-C.
    """
    training, validation = ((part / np.float32(255), np.eye(len(data.class_names))[labels]) for part, labels in (
        (data.train_images, data.train_labels), (data.validation_images, data.validation_labels)))
    stdout = sys.stdout
    num_steps = num_epochs * -(-len(training[0]) // batch_size)
    with tf.Graph().as_default(), Progress(num_steps, 0, 'step', quiet) as progress, \
            open(os.devnull, 'w') as nowhere, MetricsLog(metrics_path, METRICS) as metrics:
        tf.set_random_seed(seed)
        with session.without_noise():
            model = build_model()
        _mend(tflearn.data_flow.FeedDictFlow)
        seed_all(seed)
        try:
            with contextlib.redirect_stdout(nowhere), cli.stop_requested() as stop:
                log = _log(metrics, progress, num_epochs, stdout, stop)
                model.fit(*training, n_epoch=num_epochs, shuffle=True, show_metric=True, batch_size=batch_size,
                          validation_set=validation, run_id=run_id, callbacks=log)
            return _check_weights({variable.op.name: model.get_weights(variable)
                                   for variable in tf.trainable_variables()})
        except KeyboardInterrupt:
            raise cli.Interrupted(STARTS_OVER)
        finally:
            model.trainer.close_session()


def _mend(flow_class):
    """Takes two races between its threads, and a second's wait in every epoch, out of tflearn's FeedDictFlow."""
    def clear_queues(flow):  # tflearn's own waits forever if a thread takes the last item before it can
        for waiting in (flow.feed_dict_queue, flow.batch_ids_queue):
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()

    def shuffle_samples(flow):  # not in place: batches that wait are parts of the order before
        flow.index_array = np.random.permutation(flow.index_array)

    def wait_for_threads(flow):  # tf.train.Coordinator looks once a second whether they have ended
        while any(thread.ident is None or thread.is_alive() for thread in flow.threads):  # None: not yet started
            time.sleep(0.01)
        flow.feed_dict_queue.put(False)  # no more batches

    flow_class.clear_queues, flow_class.shuffle_samples = clear_queues, shuffle_samples
    flow_class.wait_for_threads = wait_for_threads


def _check_weights(weights):
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:  # the loss need not show it: it is measured before the weights change, and may clip
        raise ComputationError(f'the weights of {broken[0]} are not finite after the training; tflearn\'s trainer '
                               f'saves nothing before its end; try a smaller --learning-rate')
    return weights


def save(run_dir, sess, saver, weights, step, started, validate):
    """Saves the weights as a checkpoint of our own graph, last and best; returns the state, as TrainingRun has it.

    Args:
      run_dir, sess, saver: Path, tf.Session and tf.train.Saver of that graph.
      weights, step: from fit, and the number of steps that it took.
      started: float, time.monotonic() at the start of the training.
      validate: function without arguments to a dict of validation_loss and validation_accuracy.
    """
    sess.run(tf.global_variables_initializer())
    for variable in tf.trainable_variables():
        variable.load(weights[variable.op.name], sess)
    state = dict(NEW_STATE, **validate(), step=step, best_step=step, training_seconds=time.monotonic() - started)
    checkpoints.save(run_dir, saver, sess, state)
    return state


def _log(metrics, progress, num_epochs, stdout, stop):
    """Makes the callback; its base class is tflearn's, so there is none before tflearn is imported."""
    class Log(tflearn.callbacks.Callback):
        sums = np.zeros(3)  # of loss and accuracy over the epoch, and how many

        def on_batch_end(self, training_state, snapshot=False):
            self.sums += training_state.loss_value, training_state.acc_value or 0.0, 1
            with contextlib.redirect_stdout(stdout):
                progress.update({'epoch': f'{training_state.epoch}/{num_epochs}',
                                 'loss': training_state.loss_value})
            if stop.requested:  # not within the step: an exception between tflearn's threads can leave a queue locked
                raise cli.Interrupted(STARTS_OVER)

        def on_epoch_end(self, training_state):
            loss, accuracy = self.sums[:2] / self.sums[2]
            if not np.isfinite([loss, training_state.val_loss]).all():
                raise ComputationError(f'the loss is not finite in epoch {training_state.epoch}; tflearn\'s trainer '
                                       f'saves nothing before its end; try a smaller --learning-rate')
            self.sums = np.zeros(3)
            metrics.append(step=training_state.step, epoch=training_state.epoch, loss=loss, training_accuracy=accuracy,
                           validation_loss=training_state.val_loss, validation_accuracy=training_state.val_acc)
    return Log()
