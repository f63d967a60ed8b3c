"""Photographs of ten kinds of things, told apart by a convolutional network in tflearn's layers.

tflearn wraps TensorFlow's operations into layers: `tflearn.conv_2d(images, 32, 3, activation='relu')` makes the
weights, the convolution and the ReLU. The cookbook's network for CIFAR-10 takes eight such lines. Its chapter claims
88 % after 50 epochs; the log it prints shows 81.9 %, on test images that served as validation images. Here 45,000
images train, 5,000 choose, and 10,000 are looked at once, at the end.

Two networks:

- `--network book`, the chapter's: conv 3x3, 32 maps -> max pool -> conv 3x3, 64 -> conv 3x3, 64 -> max pool -> fully
  connected, 512 -> dropout -> 10 logits.
- `--network wide`, for the same time: seven convolutions of up to 256 maps with batch normalization; see
  wide_network().

Two ways to train: a loop of our own, which goes on bit for bit after a kill (`--resume`), or, with `--book`, the
chapter's network in the chapter's way, by tflearn's DNN.fit.

Usage:
    python recipes/cifar10_tflearn.py                    the book's network, 50 epochs, better trained
    python recipes/cifar10_tflearn.py --network wide     the better network
    python recipes/cifar10_tflearn.py --book             the chapter's network and training
    python recipes/cifar10_tflearn.py --predict cat.jpg  your own picture, with the latest run
    python recipes/cifar10_tflearn.py --resume           go on with a run that was stopped
"""
import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import cli, evaluation, files, images, plotting, reports, runs, session
from training import batches, tflearn_trainer
from common.errors import ComputationError, InputError
from common.progress import Progress
from common.session import tf, tflearn
from datasets import cifar10
from networks import convolution_gradients

RECIPE = 'cifar10_tflearn'
IMAGE_SIZE, NUM_CHANNELS, NUM_CLASSES = 32, 3, 10
WIDE_MAPS = 64, 256, 256  # of the wide network's blocks
METRICS = ('step', 'epoch', 'loss', 'training_accuracy', 'validation_loss', 'validation_accuracy', 'learning_rate')
EVALUATION_BATCH = 500  # images
SECONDS_BETWEEN_CHECKPOINTS = 60.0
WARMUP_STEPS = 500       # of the book's network: the learning rate rises linearly over these
WARMUP_SHARE = 0.2       # of the wide network's steps: the same
MOMENTUM = 0.9
NORM_DECAY = 0.9         # of the averages that batch normalization keeps, per step
AUGMENTATIONS = {'standard': cifar10.augment_standard, 'book': cifar10.augment_book,
                 'none': lambda photographs, random: photographs}
# What each network is trained with. The weight decay is per step and in units of the learning rate: 5e-3 with momentum
# 0.9, which adds up ten steps, is the usual 5e-4 in the loss.
SETTINGS = {
    'book': {'epochs': 50, 'batch_size': 96, 'learning_rate': 1e-3, 'keep_prob': 0.5, 'label_smoothing': 0.1,
             'weight_decay': 0.05},
    'wide': {'epochs': 10, 'batch_size': 128, 'learning_rate': 0.1, 'keep_prob': 1.0, 'label_smoothing': 0.2,
             'weight_decay': 5e-3}}
# What --book sets: the chapter's figures.
BOOK = {'epochs': 50, 'batch_size': 96, 'learning_rate': 1e-3, 'keep_prob': 0.5, 'label_smoothing': 0.0,
        'weight_decay': 0.0, 'augment': 'book'}


class Statistics(NamedTuple):
    """What the network is told about the training images; saved with its weights."""
    mean: Any            # float32 [3], of each channel, in [0, 255]
    std: Any             # float32 [3]
    patches: Any         # float32 [2, 2, 3, 24], the filters that whiten patches; see whitening_filters


class Graph(NamedTuple):
    """The tensors and operations that training and evaluation use."""
    images: Any          # placeholder float32 [batch, 32, 32, 3], RGB in [0, 255]
    labels: Any          # placeholder int64 [batch]
    is_training: Any     # placeholder bool [], False unless fed
    filters: Any         # float32 [size, size, 3, maps], the first layer's
    probabilities: Any   # float32 [batch, 10]
    loss: Any            # float32 [], mean softmax cross-entropy with smoothed labels
    accuracy: Any        # float32 [], fraction of the batch
    learning_rate: Any   # float32 []; None in a graph that does not train
    train_op: Any        # one step of the optimizer; None in a graph that does not train
    saver: Any           # all variables


def book_network(pixels, drop, conv_init='uniform_scaling', hidden_init='truncated_normal',
                 output_init='truncated_normal'):
    """Builds the chapter's network in tflearn's layers.

    Args:
      pixels: float32 [batch, 32, 32, 3], normalized.
      drop: function that drops units of the hidden layer, float32 [batch, 512] -> the same.
      conv_init, hidden_init, output_init: how the layers' weights start, as tflearn's layers take it; by default as
        tflearn has it.

    Returns:
      (float32 [batch, 10] logits, float32 [3, 3, 3, 32] the first layer's filters).
    """
    with convolution_gradients.gradients_as_convolutions():
        conv1 = tflearn.conv_2d(pixels, 32, 3, activation='relu', weights_init=conv_init)
        layer = tflearn.max_pool_2d(conv1, 2)                                                  # [batch, 16, 16, 32]
        layer = tflearn.conv_2d(layer, 64, 3, activation='relu', weights_init=conv_init)
        layer = tflearn.conv_2d(layer, 64, 3, activation='relu', weights_init=conv_init)
        layer = tflearn.max_pool_2d(layer, 2)                                                    # [batch, 8, 8, 64]
    layer = drop(tflearn.fully_connected(layer, 512, activation='relu', weights_init=hidden_init))
    return tflearn.fully_connected(layer, NUM_CLASSES, weights_init=output_init), conv1.W


def dropout(layer, keep_prob, seed):
    """Drops units at random, as tflearn.dropout does, whose draws hang on a counter that no checkpoint holds.

    Args:
      layer: float32 [batch, units].
      keep_prob: float32 [], the probability to keep a unit.
      seed: int32 [2].

    Returns:
      float32 [batch, units]; what is kept is divided by keep_prob.
    """
    with tf.name_scope('dropout'):
        kept = tf.random.stateless_uniform(tf.shape(layer), seed) < keep_prob
        return layer * tf.cast(kept, tf.float32) / keep_prob


def wide_network(pixels, is_training, patches):
    """Builds the better network: three blocks of two convolutions, with 64, 256 and 256 maps.

    Wide and shallow, since a processor works best on large products of matrices: this network takes seven times the
    operations of the book's for an image, and four and a half times its time. A fixed first layer makes neighboring
    pixels uncorrelated, so that training need not learn to.

    Args:
      pixels: float32 [batch, 32, 32, 3], normalized.
      is_training: bool [], whether batches are normalized by their own mean and variance.
      patches: float32 [2, 2, 3, 24], the first layer's filters.

    Returns:
      (float32 [batch, 10] logits, float32 [2, 2, 3, 24] the first layer's filters).

    Source: after K. Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds, arXiv 2404.00498, and D. Page 2018, How to train
      your ResNet. Plainer than either: ReLU, the usual initial weights, one learning rate for all.
    """
    he = tf.variance_scaling_initializer(2.0, mode='fan_in', distribution='untruncated_normal')
    filters = tf.get_variable('patches', initializer=patches, trainable=False)
    layer = tf.nn.relu(tf.nn.conv2d(pixels, filters, 1, 'VALID'))                               # [batch, 31, 31, 24]
    with convolution_gradients.gradients_as_convolutions():
        for num_maps in WIDE_MAPS:                                                        # 15, 7, 3 pixels each side
            layer = tflearn.conv_2d(layer, num_maps, 3, bias=False, weights_init=he)
            layer = normalize(tflearn.max_pool_2d(layer, 2, padding='valid'), is_training)
            layer = tflearn.conv_2d(layer, num_maps, 3, bias=False, weights_init=he)
            layer = normalize(layer, is_training)
    layer = tf.reduce_max(layer, axis=[1, 2])                                                          # [batch, 256]
    logits = tflearn.fully_connected(layer, NUM_CLASSES, weights_init=tf.random_normal_initializer(stddev=0.05))
    return logits / 8.0, filters  # the last layer learns eight times slower than the others


def normalize(layer, is_training):
    """Normalizes each map over the batch, then a ReLU.

    The fused operation, where tflearn.batch_normalization is made of ten: with that the network takes a quarter longer.
    The averages it keeps for evaluation are variables like others, so a checkpoint holds them.

    Args:
      layer: float32 [batch, height, width, maps].
      is_training: bool [].

    Returns:
      float32 [batch, height, width, maps], not negative.
    """
    return tf.nn.relu(tf.layers.batch_normalization(layer, momentum=NORM_DECAY, epsilon=1e-5, training=is_training,
                                                    fused=True))


def whitening_filters(pixels):
    """Computes the filters that make the values of a 2x2 patch uncorrelated and of variance 1, and their negatives.

    Args:
      pixels: float32 [num_images, 32, 32, 3], normalized; a few thousand suffice.

    Returns:
      float32 [2, 2, 3, 24]. With a ReLU behind them the negatives keep what it would cut off.

    Source: D. Page 2018, How to train your ResNet, 8; arXiv 2404.00498, section 3.2.
    """
    corners = [pixels[:, row:row + 31, column:column + 31] for row in (0, 1) for column in (0, 1)]
    patches = np.stack(corners, axis=-2).reshape(-1, 12)  # row, column, channel
    variances, directions = np.linalg.eigh(patches.T.astype(np.float64) @ patches / len(patches))
    filters = (directions / np.sqrt(variances + 5e-4)).reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=3).astype(np.float32)


def measure(train_images, book=False):
    """Computes what the network is told about the training images.

    Args:
      train_images: uint8 [num_images, 32, 32, 3].
      book: bool, one mean and one standard deviation for all channels, as the chapter has it.

    Returns:
      Statistics.
    """
    counts = np.stack([np.bincount(train_images[..., channel].ravel(), minlength=256) for channel in range(3)])
    counts = np.broadcast_to(counts.sum(axis=0), counts.shape) if book else counts
    shares, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256)  # exact, with no copy of all images
    mean = shares @ values
    std = np.sqrt(shares @ values ** 2 - mean ** 2)
    return Statistics(np.float32(mean), np.float32(std), whitening_filters((train_images[:5000] - mean) / std))


def build_graph(args, statistics=None, num_steps=None):
    """Adds the network, and what trains it, to the default graph.

    Args:
      args: the options network, seed, learning_rate, keep_prob, label_smoothing and weight_decay.
      statistics: Statistics; None in a graph whose variables are restored.
      num_steps: int, steps of the training; None for a graph that does not train.

    Returns:
      Graph.
    """
    tf.set_random_seed(args.seed)
    statistics = statistics or Statistics(np.zeros(3), np.ones(3), np.zeros([2, 2, 3, 24]))
    inputs = tf.placeholder(tf.float32, [None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], name='images')
    labels = tf.placeholder(tf.int64, [None], name='labels')
    is_training = tf.placeholder_with_default(False, [], name='is_training')
    global_step = tf.train.get_or_create_global_step()
    mean = tf.get_variable('pixel_mean', initializer=np.float32(statistics.mean), trainable=False)
    std = tf.get_variable('pixel_std', initializer=np.float32(statistics.std), trainable=False)
    pixels = (inputs - mean) / std
    if args.network == 'wide':
        logits, filters = wide_network(pixels, is_training, np.float32(statistics.patches))
    else:
        seed = tf.stack([args.seed, tf.cast(global_step, tf.int32)])
        he = tf.variance_scaling_initializer(2.0, mode='fan_in', distribution='untruncated_normal')
        near_zero = tf.random_normal_initializer(stddev=0.001)  # so that the first loss is ln 10, no class preferred
        logits, filters = book_network(
            pixels, lambda layer: dropout(layer, tf.where(is_training, args.keep_prob, 1.0), seed), he, he, near_zero)

    with tf.name_scope('loss'):
        smooth = tf.one_hot(labels, NUM_CLASSES) * (1.0 - args.label_smoothing) + args.label_smoothing / NUM_CLASSES
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(smooth, logits))
    with tf.name_scope('accuracy'):
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
    learning_rate = train_op = None
    if num_steps:
        with tf.name_scope('train'):
            learning_rate = schedule(global_step, num_steps, args)
            train_op = optimize(loss, learning_rate, global_step, args)
    return Graph(inputs, labels, is_training, filters, tf.nn.softmax(logits), loss, accuracy, learning_rate, train_op,
                 tf.train.Saver(max_to_keep=0))


def schedule(global_step, num_steps, args):
    """Computes the learning rate, which ends at zero.

    Args:
      global_step: int64 [], steps done.
      num_steps: int, steps of the whole training.
      args: the options network and learning_rate, the rate at its highest.

    Returns:
      float32 []. The book's network: half a cosine, after a linear warm-up. The wide one, whose training is short: up
      for a fifth of the steps, down for the rest, linearly.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one period; Smith and Topin 2018, arXiv 1708.07120.
    """
    step = tf.cast(global_step, tf.float32)
    if args.network == 'wide':
        up, down = WARMUP_SHARE * num_steps, (1.0 - WARMUP_SHARE) * num_steps
        return args.learning_rate * tf.minimum((step + 1.0) / up, (num_steps - step) / down)
    warmup = tf.minimum(1.0, (step + 1.0) / WARMUP_STEPS)
    return args.learning_rate * warmup * 0.5 * (1.0 + tf.cos(np.pi * step / num_steps))


def optimize(loss, learning_rate, global_step, args):
    """Makes the operation of one step: Adam for the book's network, Nesterov's momentum for the wide one.

    The weights (not the biases) decay by a step of their own: in the loss, Adam would divide the decay of a weight by
    the size of its gradients.

    Args:
      loss: float32 [].
      learning_rate: float32 [].
      global_step: int64 [], which the operation increments.
      args: the options network and weight_decay.

    Returns:
      tf.Operation.

    Source: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
    """
    if args.network == 'wide':
        optimizer = tf.train.MomentumOptimizer(learning_rate, MOMENTUM, use_nesterov=True)
    else:
        optimizer = tf.train.AdamOptimizer(learning_rate)
    gradients = optimizer.compute_gradients(loss)
    kernels = [variable for variable in tf.trainable_variables() if variable.shape.ndims > 1 and args.weight_decay]
    # The averages of batch normalization, and the gradients, belong to the weights before the step.
    before = [gradient for gradient, _ in gradients] + tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(before):
        decayed = [kernel.assign(kernel * (1.0 - learning_rate * args.weight_decay)) for kernel in kernels]
    with tf.control_dependencies(before + decayed):
        return optimizer.apply_gradients(gradients, global_step)


def make_batch(step, data, args):
    """Takes the images of a step and augments them; the same step of the same seed always gives the same.

    Args:
      step: int, steps done before.
      data: cifar10.Cifar10Data.
      args: the options batch_size, seed and augment.

    Returns:
      (uint8 [batch, 32, 32, 3], int64 [batch] labels).
    """
    chosen = batches.batch_indices(step, args.batch_size, len(data.train_images), args.seed)
    augment = AUGMENTATIONS[args.augment]
    return augment(data.train_images[chosen], np.random.RandomState([args.seed, step])), data.train_labels[chosen]


def train(sess, graph, data, args, steps, after_step):
    """Trains, while a thread prepares the batches to come.

    Args:
      sess: tf.Session with initialized or restored variables.
      graph: Graph.
      data: cifar10.Cifar10Data.
      args: the options batch_size, seed and augment.
      steps: range, from the steps done before to the steps in all.
      after_step: called with (steps done, loss, accuracy on the batch) after each step; True ends the training.

    Raises:
      ComputationError: the loss is not a number any more.
    """
    prepared = batches.prefetch(lambda step: make_batch(step, data, args), steps)
    for step, (batch, labels) in zip(steps, prepared):
        _, loss, accuracy = sess.run([graph.train_op, graph.loss, graph.accuracy], {
            graph.images: batch, graph.labels: labels, graph.is_training: True})
        if not np.isfinite(loss):
            raise ComputationError('the loss is %s in step %d; checkpoints before it are kept; try a smaller '
                                   '--learning-rate' % (loss, step + 1))
        if after_step(step + 1, float(loss), float(accuracy)):
            return


def predict(sess, graph, photographs):
    """Computes class probabilities in batches that fit any memory.

    Args:
      sess: tf.Session.
      graph: Graph.
      photographs: uint8 or float32 [num_images, 32, 32, 3], in [0, 255].

    Returns:
      float32 [num_images, 10].
    """
    return np.concatenate([sess.run(graph.probabilities, {graph.images: photographs[start:start + EVALUATION_BATCH]})
                           for start in range(0, len(photographs), EVALUATION_BATCH)])


class Journal:
    """What comes after each step of train(): progress, and at an epoch's end metrics, validation, a checkpoint.

    Args:
      sess: tf.Session.
      graph: Graph.
      data: cifar10.Cifar10Data.
      args: the options.
      run_dir: Path.
      num_steps: int, of the whole training.
      state: what the last checkpoint's journal knew; None at the start.
    """

    def __init__(self, sess, graph, data, args, run_dir, num_steps, state):
        self.sess, self.graph, self.data, self.args = sess, graph, data, args
        self.run_dir, self.num_steps = run_dir, num_steps
        self.state = state or {'step': 0, 'epoch': 0, 'best_step': None, 'validation_accuracy': 0.0,
                               'training_seconds': 0.0, 'seconds': 0.0, 'sums': [0.0, 0.0, 0]}
        self.metrics = runs.MetricsLog(run_dir / 'metrics.csv', METRICS, keep_until=self.state['step'])
        self.writer = tf.summary.FileWriter(str(run_dir / 'tensorboard'), sess.graph)
        self.progress = Progress(num_steps, self.state['step'], 'step', args.quiet)
        self.figures = {}
        self.saved_at = self.clock = time.time()

    def finished(self):
        """Tells whether the training has ended."""
        return self.state['step'] == self.num_steps

    def after_step(self, step, loss, accuracy):
        """Counts the step, and ends the epoch where it was its last; see train()."""
        loss_sum, accuracy_sum, count = self.state['sums']
        self.state.update(step=step, sums=[loss_sum + loss, accuracy_sum + accuracy, count + 1])
        epoch = step * self.args.batch_size // len(self.data.train_images)
        self.figures.update(epoch='%d/%d' % (min(epoch + 1, self.args.epochs), self.args.epochs), loss=loss)
        self.progress.update(self.figures)
        if epoch > self.state['epoch'] or self.finished():
            self.end_epoch(min(epoch, self.args.epochs))
        elif time.time() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()
        return self.finished()

    def end_epoch(self, epoch):
        """Records the epoch, with the means of its batches and the validation, and saves a checkpoint."""
        loss_sum, accuracy_sum, count = self.state['sums']
        row = dict(step=self.state['step'], epoch=epoch, loss=loss_sum / count, training_accuracy=accuracy_sum / count,
                   learning_rate=float(self.sess.run(self.graph.learning_rate)), **self.validate())
        self.metrics.append(**row)
        write_summaries(self.writer, row)
        self.state.update(epoch=epoch, sums=[0.0, 0.0, 0])
        self.save()

    def validate(self):
        """Measures loss and accuracy on the validation images, and notes whether they are the best so far.

        Raises:
          ComputationError: the loss is not a number any more.
        """
        probabilities = predict(self.sess, self.graph, self.data.validation_images)
        labels = self.data.validation_labels
        of_labels = probabilities[np.arange(len(labels)), labels]
        loss = float(-np.log(np.maximum(of_labels, 1e-12)).mean())
        if not np.isfinite(loss):
            raise ComputationError('the validation loss is %s after step %d; checkpoints before it are kept; try a '
                                   'smaller --learning-rate' % (loss, self.state['step']))
        accuracy = float(np.mean(np.argmax(probabilities, axis=1) == labels))
        self.figures['validation'] = '%.2f %%' % (100 * accuracy)
        if accuracy >= self.state['validation_accuracy']:  # of two that are equal, the one trained longer
            self.state.update(validation_accuracy=accuracy, best_step=self.state['step'])
        return {'validation_loss': loss, 'validation_accuracy': accuracy}

    def save(self):
        """Saves a checkpoint from which the training goes on exactly as if it had not stopped."""
        now = time.time()
        self.state['training_seconds'] += now - self.clock  # validation and checkpoints belong to it
        self.clock = now
        self.state['seconds'] = now - self.args.started
        runs.save_checkpoint(self.run_dir, self.graph.saver, self.sess, self.state['step'], self.state)
        self.saved_at = time.time()

    def close(self):
        """Ends the bar and the files."""
        self.progress.close()
        self.metrics.close()
        self.writer.close()


def write_summaries(writer, row):
    """Writes a row of figures to TensorBoard's log."""
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value) for tag, value in row.items()
                                         if tag != 'step']), row['step'])
    writer.flush()


def look_at_data(data, args, run_dir, say):
    """Says the sizes and draws what the network is shown: images as they are and as our loop augments them."""
    say('{}: {}'.format(data.source, ', '.join(f'{part} {shape}' for part, shape in (
        ('training', data.train_images.shape), ('validation', data.validation_images.shape),
        ('test', data.test_images.shape)))))
    plotting.plot_image_grid(run_dir / 'examples.png', data.train_images[:100],
                             [data.class_names[label] for label in data.train_labels[:100]], columns=20)
    if args.book:  # tflearn augments on its way
        return
    augmented = AUGMENTATIONS[args.augment](np.repeat(data.train_images[:10], 10, axis=0),
                                            np.random.RandomState(args.seed))
    plotting.plot_image_grid(run_dir / 'augmented.png', augmented, columns=10,
                             title=f'Ten images, ten times each, augmented: {args.augment}')


def plot_training(run_dir, filters):
    """Draws the curves over the epochs, and the first layer's filters."""
    rows = runs.read_metrics(run_dir / 'metrics.csv')
    title = '%s (training: in the steps, with all that makes them harder)'

    def curve(name):
        return [row['epoch'] for row in rows], [row[name] for row in rows]
    plotting.plot_curves(run_dir / 'loss.png', {
        'training': curve('loss'), 'validation': curve('validation_loss')}, title % 'Softmax cross-entropy', 'epoch',
        'loss')
    plotting.plot_curves(run_dir / 'accuracy.png', {
        'training': curve('training_accuracy'), 'validation': curve('validation_accuracy')}, title % 'Accuracy',
        'epoch', 'accuracy')
    plotting.plot_filters(run_dir / 'filters.png', filters, 'The %d filters of the first layer' % filters.shape[3])


def run(args, data, run_dir):
    """Trains, from the last checkpoint where there is one, and evaluates the best weights.

    Args:
      args: the options.
      data: cifar10.Cifar10Data.
      run_dir: Path, of this training.

    Returns:
      dict of results, which are in the run's record too.
    """
    state = train_as_the_chapter(args, data, run_dir) if args.book else fit(args, data, run_dir)
    with trained_network(args, run_dir) as (sess, graph):
        plot_training(run_dir, sess.run(graph.filters))
        results = evaluate(sess, graph, data, args.tta, run_dir)
    results.update(validation_accuracy=state['validation_accuracy'], best_step=state['best_step'],
                   seconds_per_epoch=state['training_seconds'] / args.epochs)
    before = runs.read_record(run_dir).get('results', {})  # with --tta, where this command has none
    runs.write_record(run_dir, results=dict(before, **results))
    return results


def fit(args, data, run_dir):
    """Trains with progress, checkpoints and an ear for Ctrl-C; see train().

    Returns:
      dict, the journal's state.
    """
    state = runs.load_state(run_dir)
    num_steps = -(-args.epochs * len(data.train_images) // args.batch_size)
    with tf.Graph().as_default() as default_graph, cli.stop_requested() as stop:
        graph = build_graph(args, measure(data.train_images), num_steps)
        initializer = tf.global_variables_initializer()
        default_graph.finalize()
        with session.open_session(default_graph, args.device, args.threads, args.xla == 'on') as sess:
            sess.run(initializer)
            if state:
                runs.restore_checkpoint(run_dir, graph.saver, sess, state['step'])
            journal = Journal(sess, graph, data, args, run_dir, num_steps, state)

            def after_step(*figures):
                return journal.after_step(*figures) or stop.requested
            try:
                train(sess, graph, data, args, range(journal.state['step'], num_steps), after_step)
            finally:
                journal.close()
            if stop.requested:
                journal.save()
                raise cli.Interrupted(f"step {journal.state['step']} of {num_steps} is saved")
    return journal.state


def train_as_the_chapter(args, data, run_dir):
    """Trains the chapter's network in the chapter's way, unless that is done, and saves a checkpoint at the end.

    tflearn's trainer prepares its batches in threads, shuffles what it has shuffled before and starts its count anew
    when it loads a model: it cannot go on where it stopped, and so there is no checkpoint on the way.

    Args:
      args: the options epochs, batch_size, learning_rate, keep_prob, seed, device and threads.
      data: cifar10.Cifar10Data.
      run_dir: Path.

    Returns:
      dict: step, best_step (the last: the chapter does not choose), validation_accuracy and training_seconds.
    """
    state, started = runs.load_state(run_dir), time.time()
    if state:
        return state
    tflearn_trainer.seed_all(args.seed)
    training, validation = ((photographs / np.float32(255), tflearn.data_utils.to_categorical(labels, NUM_CLASSES))
                            for photographs, labels in ((data.train_images, data.train_labels),
                                                        (data.validation_images, data.validation_labels)))
    with tf.Graph().as_default(), runs.MetricsLog(run_dir / 'metrics.csv', METRICS) as metrics:
        tf.set_random_seed(args.seed)
        with session.without_noise():
            model = chapter_model(args, run_dir)
        try:
            tflearn_trainer.fit(model, training, validation, args.epochs, args.batch_size, 'cifar10_cnn', metrics,
                            args.quiet)
            weights = {variable.op.name: model.get_weights(variable) for variable in tf.trainable_variables()}
        finally:
            model.trainer.close_session()
    return save_chapter(args, data, run_dir, weights, time.time() - started)


def chapter_model(args, run_dir):
    """Adds the chapter's network, with tflearn's preprocessing and augmentation, to the default graph.

    Args:
      args: the options learning_rate, keep_prob, device and threads.
      run_dir: Path; TensorBoard's log goes to its tensorboard/.

    Returns:
      tflearn.DNN.
    """
    preprocessing, augmentation = tflearn.ImagePreprocessing(), tflearn.ImageAugmentation()
    preprocessing.add_featurewise_zero_center()
    preprocessing.add_featurewise_stdnorm()
    augmentation.add_random_flip_leftright()
    augmentation.add_random_rotation(max_angle=25.0)
    tf.add_to_collection(tf.GraphKeys.GRAPH_CONFIG, session.session_config(args.device, args.threads))
    network = tflearn.input_data([None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS],
                                 data_preprocessing=preprocessing, data_augmentation=augmentation)
    network, _ = book_network(network, lambda layer: tflearn.dropout(layer, args.keep_prob))
    network = tflearn.regression(tflearn.softmax(network), optimizer='adam', loss='categorical_crossentropy',
                                 learning_rate=args.learning_rate)
    return tflearn.DNN(network, tensorboard_verbose=0, tensorboard_dir=str(run_dir / 'tensorboard'))


def save_chapter(args, data, run_dir, weights, seconds):
    """Saves the weights that tflearn found as a checkpoint of ours, so that all else is as in other runs.

    Args:
      args: the options.
      data: cifar10.Cifar10Data.
      run_dir: Path.
      weights: {variable name: array}.
      seconds: float, that the training took.

    Returns:
      dict, the state that is saved with them.
    """
    step = args.epochs * -(-len(data.train_images) // args.batch_size)
    with tf.Graph().as_default(), session.open_session(device=args.device, threads=args.threads) as sess:
        graph = build_graph(args, measure(data.train_images, book=True))
        sess.run(tf.global_variables_initializer())
        for variable in tf.trainable_variables():
            variable.load(weights[variable.op.name], sess)
        probabilities = predict(sess, graph, data.validation_images)
        state = {'step': step, 'epoch': args.epochs, 'best_step': step, 'training_seconds': seconds,
                 'seconds': time.time() - args.started,
                 'validation_accuracy': float(np.mean(np.argmax(probabilities, axis=1) == data.validation_labels))}
        runs.save_checkpoint(run_dir, graph.saver, sess, step, state)
    return state


@contextlib.contextmanager
def trained_network(args, run_dir):
    """Opens a session with the best weights of a run, in a graph without optimizer.

    Args:
      args: the options of the run, and the device and threads of today.
      run_dir: Path.

    Yields:
      (tf.Session, Graph).
    """
    with tf.Graph().as_default(), session.open_session(device=args.device, threads=args.threads) as sess:
        graph = build_graph(args)
        runs.restore_checkpoint(run_dir, graph.saver, sess, runs.load_state(run_dir)['best_step'])
        yield sess, graph


def evaluate(sess, graph, data, tta, run_dir):
    """Looks at the test images: at each once, and with `tta` at its mirror image too, reported apart.

    Returns:
      dict of figures by name, for the run's record.
    """
    probabilities = predict(sess, graph, data.test_images)
    accuracy = reports.report(run_dir, data.test_labels, probabilities, data.class_names,
                              lambda indices: data.test_images[indices], columns=8)
    results = {'test_accuracy': accuracy.value, 'test_accuracy_low': accuracy.low,
               'test_accuracy_high': accuracy.high, 'test_images': accuracy.total}
    if tta:
        mirrored = predict(sess, graph, data.test_images[:, :, ::-1])
        accuracy = evaluation.accuracy(data.test_labels, np.argmax(probabilities + mirrored, axis=1))
        results.update(tta_accuracy=accuracy.value, tta_accuracy_low=accuracy.low, tta_accuracy_high=accuracy.high)
    return results


def run_seeds(args, data, say):
    """Trains once, or with --runs for several seeds, each in a folder of its own within the run's.

    Returns:
      list of results, see run().
    """
    if args.runs == 1:
        return [run(args, data, args.run_dir)]
    results = []
    for seed in range(args.seed, args.seed + args.runs):
        folder = args.run_dir / ('seed_%d' % seed)
        folder.mkdir(exist_ok=True)
        runs.hold(folder)
        runs.write_record(folder, recipe=RECIPE, seed=seed, settings=dict(args.settings, seed=seed, runs=1))
        say('seed %d: %s' % (seed, folder))
        results.append(run(argparse.Namespace(**dict(vars(args), seed=seed)), data, folder))
    return results


def states(run_dir):
    """Returns a list of (what the last checkpoint's journal knew, folder): of the run or, of several seeds, of each."""
    folders = [run_dir] + sorted(run_dir.glob('seed_*'))
    return [(state, folder) for state, folder in zip(map(runs.load_state, folders), folders) if state]


def trained_run(run_dir, option):
    """Finds the folder with trained weights: the run's own or, of several seeds, the one that validated best.

    Raises:
      InputError: none of them has trained weights yet.
    """
    trained = [(state['validation_accuracy'], folder) for state, folder in states(run_dir) if state['best_step']]
    if not trained:
        raise InputError(f'{option}: the run in {run_dir} has no trained weights yet; train with python recipes/cifar10_tflearn.py, '
                         'or name another run with --run DIR')
    return max(trained)[1]


def export(args):
    """Writes the run's best weights as a SavedModel: images in [0, 255] in, probabilities and classes out.

    Args:
      args: the options of the run.

    Returns:
      Path of the SavedModel's folder, run_dir/saved_model.

    Raises:
      UnavailableError: it cannot be written; the disk is full, for instance.
    """
    with trained_network(args, trained_run(args.run_dir, '--export')) as (sess, graph):
        outputs = {'probabilities': graph.probabilities, 'classes': tf.argmax(graph.probabilities, axis=1)}
        return runs.save_model(args.run_dir, sess, {'images': graph.images}, outputs)


def classify_files(args):
    """Classifies a person's own pictures with a trained run, and draws what the network saw.

    Raises:
      InputError: a file is no picture, or there is no trained run.
    """
    photographs = np.stack([cifar10.prepare(images.load_image(path)) for path in args.predict])
    found = runs.locate(args.output_dir, RECIPE, args.run or args.run_dir or True,
                        '--run' if args.run else '--predict')
    run_dir = trained_run(found, '--predict')
    settings = dict(runs.read_record(run_dir)['settings'], device=args.device, threads=args.threads)
    with trained_network(argparse.Namespace(**settings), run_dir) as (sess, graph):
        probabilities = predict(sess, graph, photographs)
    names = cifar10.CLASS_NAMES
    for path, row in zip(args.predict, probabilities):
        print('{}: {}'.format(path, ', '.join(f'{names[i]} {100 * row[i]:.1f} %' for i in np.argsort(-row)[:3])))
    sheet = found / 'predictions.png'
    plotting.plot_image_grid(sheet, photographs, [f'{path.name}: {names[np.argmax(row)]}'
                                                  for path, row in zip(args.predict, probabilities)])
    print('what the {} network of {} saw: {}'.format(settings['network'], run_dir, sheet))


def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, data=True)
    training = parser.add_argument_group('training')
    training.add_argument('--network', choices=('book', 'wide'), default='book',
                          help="the chapter's or the better one, which comes with settings of its own")
    training.add_argument('--epochs', type=cli.whole_number(1),
                          help='times to go through the training images' + _defaults('epochs'))
    training.add_argument('--batch-size', type=cli.whole_number(1), help='images' + _defaults('batch_size'))
    training.add_argument('--learning-rate', type=cli.real_number(1e-7, 10.0),
                          help='at its highest' + _defaults('learning_rate'))
    training.add_argument('--keep-prob', type=cli.real_number(0.01, 1.0),
                          help="probability that dropout keeps a hidden unit of the book's network (default: {:g})".format(SETTINGS['book']['keep_prob']))
    training.add_argument('--label-smoothing', type=cli.real_number(0.0, 0.9),
                          help='share of the label that goes to all classes alike' + _defaults('label_smoothing'))
    training.add_argument('--weight-decay', type=cli.real_number(0.0, 10.0),
                          help='share that weights lose in a step, in units of the learning rate'
                          + _defaults('weight_decay'))
    training.add_argument('--augment', choices=sorted(AUGMENTATIONS, reverse=True), default='standard',
                          help='standard: mirror, shift, cover a square; book: mirror, rotate by up to 25 degrees')
    training.add_argument('--book', action='store_true',
                          help="the chapter's settings, trained by tflearn's DNN.fit, which cannot be resumed")
    training.add_argument('--runs', type=cli.whole_number(1), default=1,
                          help='train with as many seeds, and give mean and standard deviation')
    more = parser.add_argument_group('what else it does')
    more.add_argument('--tta', action='store_true', help='evaluate with mirror images too, reported apart')
    more.add_argument('--export', action='store_true', help='write a SavedModel; with --resume, of that run')
    more.add_argument('--predict', nargs='+', type=Path, metavar='FILE',
                      help='classify pictures with a trained run; the center square of each is looked at')
    more.add_argument('--run', type=Path, metavar='DIR', help='the run that --predict takes instead of the latest')
    args = cli.parse_args(parser, argv, RECIPE, free=('tta', 'export', 'predict', 'run'), preset=preset)
    check_options(args)
    return args


def _defaults(name):
    """Says in an option's help what it is by default."""
    return ' (default: {})'.format(', '.join(f'{settings[name]:g} for {network}'
                                        for network, settings in SETTINGS.items()))


def preset(asked):
    """Returns what the other options are by default, for this network or the chapter's way."""
    if asked.book and asked.network != 'book':
        raise InputError(f'--book trains the network of the chapter: leave out --network {asked.network}')
    return BOOK if asked.book else SETTINGS[asked.network]


def check_options(args):
    """Raises InputError where an option would do nothing."""
    if args.run and not args.predict:
        raise InputError(f'--run {args.run}: the run that --predict takes, and there is no --predict; to go on with a run: '
                         '--resume DIR')
    for option in ('tta', 'export'):
        if args.predict and getattr(args, option):
            raise InputError(f'--predict classifies your pictures and does nothing else; leave out --{option}')
    if args.network == 'wide' and args.keep_prob != SETTINGS['wide']['keep_prob']:
        raise InputError(f'--keep-prob {args.keep_prob:g}: the wide network has no dropout; leave it out')
    for option in ('augment', 'label_smoothing', 'weight_decay', 'xla'):
        wanted, given = dict(BOOK, xla='off')[option], getattr(args, option)
        if args.book and given != wanted:
            raise InputError("--book trains in the chapter's way, with --{} {}, not {}; leave one of them out".format(option.replace('_', '-'), wanted, given))


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.time()
    args = parse_args(argv)
    if args.predict:
        return classify_files(args)
    say = (lambda *text: None) if args.quiet else print
    if not args.run_dir:
        files.check_writable(args.output_dir / RECIPE / runs.RECORD, '--output-dir')
    data = cifar10.load(args.data_dir, args.quiet)
    if args.batch_size > len(data.train_images):
        raise InputError('--batch-size %d: there are %d training images; give a smaller batch'
                         % (args.batch_size, len(data.train_images)))
    device = session.describe_device(args.device, args.threads)
    say(device)
    args.run_dir = args.run_dir or runs.create(args.output_dir, RECIPE, settings=args.settings, seed=args.seed,
                                               data={'source': data.source, 'training_images': len(data.train_images)})
    runs.check_unchanged(args.run_dir, images=data.checksums)
    runs.write_record(args.run_dir, device=device)
    args.started = started - max([state.get('seconds', 0.0) for state, _ in states(args.run_dir)], default=0.0)
    say(f'this run: {args.run_dir}')
    look_at_data(data, args, args.run_dir, say)

    try:
        results = run_seeds(args, data, say)
    except KeyboardInterrupt:  # while evaluating, a second one, or in tflearn's own loop
        raise cli.Interrupted("tflearn's trainer saves nothing until its end, so it starts anew" if args.book else '')
    summarize(args, results, time.time() - args.started)
    if args.export:
        say(f'SavedModel: {export(args)}')


def summarize(args, results, seconds):
    """Prints the result, and puts it into the record: of several seeds their mean and standard deviation."""
    what = '%d epochs of the %s network%s' % (args.epochs, args.network, ', the chapter\'s way' if args.book else '')
    for name, title in (('test_accuracy', 'test accuracy'), ('tta_accuracy', 'with mirror images')):
        values = [result[name] for result in results if name in result]
        if len(values) == 1:
            print('{} {} after {}'.format(title, evaluation.Accuracy(
                values[0], results[0][name + '_low'], results[0][name + '_high'], results[0]['test_images']), what))
        elif values:
            print('%s %.2f %% ± %.2f %% after %s (mean and standard deviation of %d seeds: %s %%)' % (
                title, 100 * np.mean(values), 100 * np.std(values, ddof=1), what, len(values),
                ', '.join('%.2f' % (100 * value) for value in values)))
            runs.write_record(args.run_dir, **{name: {'values': values, 'mean': np.mean(values),
                                                      'std': np.std(values, ddof=1)}})
    runs.write_record(args.run_dir, seconds=seconds)
    print(f'{seconds:.0f} s; pictures in {args.run_dir}')


if __name__ == '__main__':
    sys.exit(main())
