"""A convolutional network that reads handwritten digits, in raw TensorFlow operations.

The idea. A fully connected network sees an image as a row of numbers; a convolutional network keeps its shape:

- *Local receptive fields*: a unit looks at 5x5 pixels only. Sliding 5x5 over 28x28 with stride 1 gives 24x24 positions;
  with zeros padded around the border (SAME) it gives 28x28, and a stride of 2 would halve that.
- *Shared weights*: all positions use the same 5x5 kernel, so a layer of 32 feature maps has 32 * (5 * 5 + 1) = 832
  weights, where a fully connected layer of as many units would have 20 million.
- *Pooling*: the largest of every 2x2 activations is kept (max pooling; average pooling keeps their mean), which halves
  the resolution and forgives small shifts.

The same three ideas work in one dimension (sound, text: conv1d), in two (images: conv2d) and in three (video, volumes:
conv3d). More: LeCun et al. 1998, Gradient-based learning applied to document recognition.

The network: 28x28 -> conv 5x5, 32 maps, ReLU -> max pool 2x2 -> conv 5x5, 64 maps, ReLU -> max pool 2x2 -> fully
connected, 1024 units, ReLU -> dropout -> 10 logits. 3,274,634 weights.

Usage:
    python recipes/mnist_convnet.py                      500 steps: about 99 % of the test digits
    python recipes/mnist_convnet.py --steps 4300 --augment --keep-prob 0.5 --validate-every 430
                                                         ten epochs: about 99.5 %
    python recipes/mnist_convnet.py --book               the cookbook chapter's settings; it claims nearly 95 %
    python recipes/mnist_convnet.py --predict my.jpg     your own digit, with the latest run
    python recipes/mnist_convnet.py --resume             go on with a run that was stopped
"""
import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import cli, images, plotting, reports, runs, session
from training import batches
from common.errors import ComputationError, InputError
from common.progress import Progress
from common.session import tf
from datasets import mnist

RECIPE = 'mnist_convnet'
IMAGE_SIZE = 28
NUM_CLASSES = 10
CONV_SIZE = 5            # pixels, each side of a kernel
CONV1_MAPS, CONV2_MAPS = 32, 64
HIDDEN_UNITS = 1024
WARMUP_STEPS = 50        # the learning rate rises linearly over these
RECORD_EVERY = 10        # steps between two rows of metrics.csv
METRICS = ('step', 'loss', 'training_accuracy', 'validation_loss', 'validation_accuracy')
EVALUATION_BATCH = 500   # images
SECONDS_BETWEEN_CHECKPOINTS = 20.0
# What --book sets: the chapter's figures. Its weights start from a standard normal distribution, its pixels lie in
# [0, 1], its learning rate stays as it is; its dropout of 0.85 is a keep probability.
BOOK = {'steps': 500, 'batch_size': 128, 'learning_rate': 0.001, 'keep_prob': 0.85}


class Weights(NamedTuple):
    """The network's variables, in the order of the layers."""
    conv1: Any           # [5, 5, 1, 32]
    conv1_bias: Any      # [32]
    conv2: Any           # [5, 5, 32, 64]
    conv2_bias: Any      # [64]
    hidden: Any          # [7 * 7 * 64, 1024]
    hidden_bias: Any     # [1024]
    output: Any          # [1024, 10]
    output_bias: Any     # [10]


class Layers(NamedTuple):
    """What the layers make of a batch."""
    conv1: Any           # [batch, 28, 28, 32], after its ReLU
    pool1: Any           # [batch, 14, 14, 32]
    conv2: Any           # [batch, 14, 14, 64]
    pool2: Any           # [batch, 7, 7, 64]
    hidden: Any          # [batch, 1024]
    logits: Any          # [batch, 10]


class Graph(NamedTuple):
    """The tensors and operations that training and evaluation use."""
    images: Any          # placeholder float32 [batch, 28, 28], in [0, 255]
    labels: Any          # placeholder int64 [batch]
    keep_prob: Any       # placeholder float32 [], 1.0 unless fed
    weights: Weights
    layers: Layers
    probabilities: Any   # float32 [batch, 10]
    loss: Any            # float32 [], mean softmax cross-entropy
    accuracy: Any        # float32 [], fraction of the batch
    learning_rate: Any   # float32 []
    train_op: Any        # one step of Adam; None, as is the learning rate, where there is no training
    filters_summary: Any  # for TensorBoard
    saver: Any           # all variables


def create_weights(book=False):
    """Creates the variables with their initial values.

    Args:
      book: bool, the chapter's standard normal for all. Its first loss is about 30,000: the logits are that large.

    Returns:
      Weights.

    Source: He et al. 2015, arXiv 1502.01852, eq. 10: a standard deviation of sqrt(2 / fan_in) keeps the size of the
      activations from layer to layer. The output layer starts near zero instead, so that no class is preferred and the
      first loss is ln 10 = 2.30.
    """
    def variable(name, shape, stddev):
        return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=1.0 if book else stddev))

    def he(fan_in):
        return np.sqrt(2.0 / fan_in)

    pooled = (IMAGE_SIZE // 4) ** 2 * CONV2_MAPS
    with tf.variable_scope('weights'):
        return Weights(
            variable('conv1', [CONV_SIZE, CONV_SIZE, 1, CONV1_MAPS], he(CONV_SIZE ** 2)),
            variable('conv1_bias', [CONV1_MAPS], 0.0),
            variable('conv2', [CONV_SIZE, CONV_SIZE, CONV1_MAPS, CONV2_MAPS], he(CONV_SIZE ** 2 * CONV1_MAPS)),
            variable('conv2_bias', [CONV2_MAPS], 0.0),
            variable('hidden', [pooled, HIDDEN_UNITS], he(pooled)),
            variable('hidden_bias', [HIDDEN_UNITS], 0.0),
            variable('output', [HIDDEN_UNITS, NUM_CLASSES], 0.001),
            variable('output_bias', [NUM_CLASSES], 0.0))


def convnet(inputs, weights, keep_prob, dropout_seed):
    """Builds the network.

    Args:
      inputs: float32 [batch, 28, 28, 1], normalized pixels.
      weights: Weights.
      keep_prob: float32 [], the probability that dropout keeps a hidden unit.
      dropout_seed: int32 [2]. The same seed draws the same units.

    Returns:
      Layers.
    """
    with tf.name_scope('conv1'):
        conv1 = tf.nn.conv2d(inputs, weights.conv1, strides=[1, 1, 1, 1], padding='SAME')
        conv1 = tf.nn.relu(tf.nn.bias_add(conv1, weights.conv1_bias))
        pool1 = tf.nn.max_pool(conv1, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding='SAME')
    with tf.name_scope('conv2'):
        conv2 = tf.nn.conv2d(pool1, weights.conv2, strides=[1, 1, 1, 1], padding='SAME')
        conv2 = tf.nn.relu(tf.nn.bias_add(conv2, weights.conv2_bias))
        pool2 = tf.nn.max_pool(conv2, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding='SAME')
    with tf.name_scope('hidden'):
        flat = tf.reshape(pool2, [-1, weights.hidden.shape[0]])
        hidden = tf.nn.relu(tf.matmul(flat, weights.hidden) + weights.hidden_bias)
    with tf.name_scope('dropout'):
        # tf.nn.dropout draws from a counter that no checkpoint holds; a mask drawn from seed and step resumes exactly.
        kept = tf.random.stateless_uniform(tf.shape(hidden), dropout_seed) < keep_prob
        dropped = hidden * tf.cast(kept, tf.float32) / keep_prob
    with tf.name_scope('output'):
        logits = tf.matmul(dropped, weights.output) + weights.output_bias
    return Layers(conv1, pool1, conv2, pool2, hidden, logits)


def build_graph(args, pixel_mean=0.0, pixel_std=255.0, training=True):
    """Adds the network, its loss and its optimizer to the default graph.

    Args:
      args: the options seed, steps, learning_rate and book.
      pixel_mean, pixel_std: float, the training images' mean and standard deviation in [0, 255]. They are saved with
        the weights. The book has 0 and 255.
      training: bool; False leaves out the optimizer and its variables, twice the size of the weights.

    Returns:
      Graph.
    """
    tf.set_random_seed(args.seed)
    inputs = tf.placeholder(tf.float32, [None, IMAGE_SIZE, IMAGE_SIZE], name='images')
    labels = tf.placeholder(tf.int64, [None], name='labels')
    keep_prob = tf.placeholder_with_default(1.0, [], name='keep_prob')
    global_step = tf.train.get_or_create_global_step()
    mean = tf.get_variable('pixel_mean', initializer=np.float32(pixel_mean), trainable=False)
    std = tf.get_variable('pixel_std', initializer=np.float32(pixel_std), trainable=False)

    weights = create_weights(args.book)
    pixels = tf.expand_dims((inputs - mean) / std, axis=-1)
    layers = convnet(pixels, weights, keep_prob, tf.stack([args.seed, tf.cast(global_step, tf.int32)]))

    with tf.name_scope('loss'):
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits_v2(tf.one_hot(labels, NUM_CLASSES), layers.logits)
        loss = tf.reduce_mean(cross_entropy)
    with tf.name_scope('accuracy'):
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(layers.logits, axis=1), labels), tf.float32))
    learning_rate = train_op = None
    if training:
        with tf.name_scope('train'):
            learning_rate = tf.constant(args.learning_rate) if args.book else schedule(global_step, args)
            train_op = tf.train.AdamOptimizer(learning_rate).minimize(loss, global_step)
    filters_summary = tf.summary.image('conv1', tf.transpose(weights.conv1, [3, 0, 1, 2]), max_outputs=CONV1_MAPS)
    return Graph(inputs, labels, keep_prob, weights, layers, tf.nn.softmax(layers.logits), loss, accuracy,
                 learning_rate, train_op, filters_summary, tf.train.Saver(max_to_keep=0))


def schedule(global_step, args):
    """Computes the learning rate: a linear warm-up, then half a cosine down to zero at the last step.

    Args:
      global_step: int64 [], steps done.
      args: the options learning_rate and steps.

    Returns:
      float32 [].

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one period.
    """
    step = tf.cast(global_step, tf.float32)
    warmup = tf.minimum(1.0, (step + 1.0) / WARMUP_STEPS)
    return args.learning_rate * warmup * 0.5 * (1.0 + tf.cos(np.pi * step / args.steps))


def train(sess, graph, data, args, first_step, after_step):
    """Trains to args.steps, or until after_step says that it is enough.

    Args:
      sess: tf.Session with initialized or restored variables.
      graph: Graph.
      data: mnist.MnistData.
      args: the options steps, batch_size, seed, keep_prob and augment.
      first_step: int, steps done before.
      after_step: called with (steps done, loss, accuracy on the batch) after each step; True ends the training.

    Raises:
      ComputationError: the loss is not a number any more.
    """
    for step in range(first_step, args.steps):
        chosen = batches.batch_indices(step, args.batch_size, len(data.train_images), args.seed)
        batch = data.train_images[chosen]
        if args.augment:
            batch = mnist.augment(batch, np.random.RandomState([args.seed, step]))
        _, loss, accuracy = sess.run([graph.train_op, graph.loss, graph.accuracy], {
            graph.images: batch, graph.labels: data.train_labels[chosen], graph.keep_prob: args.keep_prob})
        if not np.isfinite(loss):
            raise ComputationError('the loss is %s in step %d; checkpoints before it are kept; try a smaller '
                                   '--learning-rate' % (loss, step + 1))
        if after_step(step + 1, float(loss), float(accuracy)):
            return


def predict(sess, graph, digits):
    """Computes class probabilities in batches that fit any memory.

    Args:
      sess: tf.Session.
      graph: Graph.
      digits: uint8 or float32 [num_images, 28, 28], in [0, 255].

    Returns:
      float32 [num_images, 10].
    """
    return np.concatenate([sess.run(graph.probabilities, {graph.images: digits[start:start + EVALUATION_BATCH]})
                           for start in range(0, len(digits), EVALUATION_BATCH)])


class Journal:
    """What comes after each step of train(): progress, metrics, validation, checkpoints.

    Args:
      sess: tf.Session.
      graph: Graph.
      data: mnist.MnistData.
      args: the options.
      state: what the last checkpoint's journal knew; None at the start.
    """

    def __init__(self, sess, graph, data, args, state):
        self.sess, self.graph, self.data, self.args = sess, graph, data, args
        self.state = state or {
            'step': 0, 'best_step': None, 'validation_loss': float('inf'), 'validation_accuracy': 0.0,
            'disappointments': 0, 'first_loss': None, 'training_seconds': 0.0, 'seconds': 0.0}
        self.metrics = runs.MetricsLog(args.run_dir / 'metrics.csv', METRICS, keep_until=self.state['step'])
        self.writer = tf.summary.FileWriter(str(args.run_dir / 'tensorboard'), sess.graph) if args.tensorboard else None
        self.progress = Progress(args.steps, self.state['step'], 'step', args.quiet)
        self.figures = {}
        self.saved_at = self.clock = time.time()

    def finished(self):
        """Tells whether the training has ended, by its steps or by early stopping."""
        patience = self.args.early_stopping
        return self.state['step'] == self.args.steps or 0 < patience <= self.state['disappointments']

    def after_step(self, step, loss, accuracy):
        """Returns True where the training should end; see train()."""
        self.state['step'] = step
        if self.state['first_loss'] is None:
            self.state['first_loss'] = loss
        self.figures.update(loss=loss, training='%.1f %%' % (100 * accuracy))
        validate = step % self.args.validate_every == 0 or step == self.args.steps
        row = {'step': step, 'loss': loss, 'training_accuracy': accuracy}
        if validate:
            self.state['training_seconds'] += time.time() - self.clock
            row.update(self.validate())
            self.clock = time.time()
        self.progress.update(self.figures)
        if validate or step % RECORD_EVERY == 0:
            self.record(row)
        self.state['training_seconds'] += time.time() - self.clock
        if validate or time.time() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()
        self.clock = time.time()
        return self.finished()

    def validate(self):
        """Measures loss and accuracy on the validation images, and notes whether they are the best so far.

        The loss decides: among 5,000 images two good networks differ by chance in accuracy, less so in the loss.
        """
        probabilities = predict(self.sess, self.graph, self.data.validation_images)
        labels = self.data.validation_labels
        of_labels = probabilities[np.arange(len(labels)), labels]
        found = {'validation_loss': float(-np.log(np.maximum(of_labels, 1e-12)).mean()),
                 'validation_accuracy': float(np.mean(np.argmax(probabilities, axis=1) == labels))}
        self.figures['validation'] = '%.2f %%' % (100 * found['validation_accuracy'])
        if found['validation_loss'] < self.state['validation_loss']:
            self.state.update(found, best_step=self.state['step'], disappointments=0)
        else:
            self.state['disappointments'] += 1
        return found

    def record(self, row):
        """Adds a row to metrics.csv, and to TensorBoard's log where there is one."""
        self.metrics.append(**row)
        if self.writer:
            write_summaries(self.writer, self.sess, self.graph, row)

    def save(self):
        """Saves a checkpoint from which the training goes on exactly as if it had not stopped."""
        self.state['seconds'] = time.time() - self.args.started
        runs.save_checkpoint(self.args.run_dir, self.graph.saver, self.sess, self.state['step'], self.state)
        self.saved_at = time.time()

    def close(self):
        """Ends the bar and the files."""
        self.progress.close()
        self.metrics.close()
        if self.writer:
            self.writer.close()


def write_summaries(writer, sess, graph, row):
    """Writes the figures of a row, and the filters with each validation, to TensorBoard's log."""
    figures = dict(row, learning_rate=sess.run(graph.learning_rate))
    step = figures.pop('step')
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)
                                         for tag, value in figures.items()]), step)
    if 'validation_accuracy' in row:
        writer.add_summary(sess.run(graph.filters_summary), step)
    writer.flush()


def look_at_data(data, run_dir, seed, say):
    """Says the sizes and draws what the images look like, as one should before training on anything."""
    say('{}: {}'.format(data.source, ', '.join('{} {} {}'.format(part, *shapes) for part, *shapes in (
        ('training', data.train_images.shape, data.train_labels.shape),
        ('validation', data.validation_images.shape, data.validation_labels.shape),
        ('test', data.test_images.shape, data.test_labels.shape)))))
    names, shown = data.class_names, np.random.RandomState(seed).randint(len(data.train_images))
    plotting.plot_image_grid(run_dir / 'one_image.png', data.train_images[shown:shown + 1],
                             [names[data.train_labels[shown]]], title='training image %d' % shown)
    strip = 255 - data.train_images[:400].reshape(-1, IMAGE_SIZE ** 2)  # reversed gray: ink is black
    plotting.plot_image_grid(run_dir / 'flattened.png', [strip], title='the first %d images, each a row of %d pixels'
                             % strip.shape)
    plotting.plot_image_grid(run_dir / 'examples.png', data.train_images[:80],
                             [names[label] for label in data.train_labels[:80]], columns=8)  # room for 'T-shirt/top'


def plot_training(metrics, run_dir):
    """Draws the curves of the book: the loss, and the accuracies."""
    plotting.plot_curves(run_dir / 'loss.png', {'training batch': metrics.column('loss')},
                         'Softmax cross-entropy, every %d steps' % RECORD_EVERY, 'step', 'loss', log=True)
    plotting.plot_curves(run_dir / 'accuracy.png', {
        'training batch, with dropout': metrics.column('training_accuracy'),
        'validation': metrics.column('validation_accuracy')}, 'Accuracy', 'step', 'accuracy')


def plot_network(sess, graph, data, run_dir):
    """Draws the first layer's filters, and what each convolution makes of one test image."""
    filters, layers = sess.run([graph.weights.conv1, graph.layers], {graph.images: data.test_images[:1]})
    plotting.plot_filters(run_dir / 'filters.png', filters, 'The %d filters of conv1' % CONV1_MAPS)
    plotting.plot_activations(run_dir / 'activations.png', data.test_images[0], {
        'conv1': layers.conv1[0], 'conv2': layers.conv2[0]}, 'One image, seen by each convolution')


def export(args, run_dir, step):
    """Writes the weights of `step` as a SavedModel: images in, probabilities and classes out.

    Args:
      args: the options of the run.
      run_dir: Path.
      step: int, whose checkpoint to take.

    Returns:
      Path of the SavedModel's folder, run_dir/saved_model.

    Raises:
      UnavailableError: it cannot be written; the disk is full, for instance.
    """
    with tf.Graph().as_default(), session.open_session(device=args.device, threads=args.threads) as sess:
        graph = build_graph(args, training=False)
        runs.restore_checkpoint(run_dir, graph.saver, sess, step)
        outputs = {'probabilities': graph.probabilities, 'classes': tf.argmax(graph.probabilities, axis=1)}
        return runs.save_model(run_dir, sess, {'images': graph.images}, outputs)


def run(args, data):
    """Trains, from the last checkpoint where there is one, and evaluates the best weights.

    Args:
      args: the options; run_dir is the run's folder.
      data: mnist.MnistData.

    Returns:
      (evaluation.Accuracy on the test images, the journal's state).
    """
    state = runs.load_state(args.run_dir)
    with tf.Graph().as_default() as default_graph:
        graph = build_graph(args, *(() if args.book else (data.train_images.mean(), data.train_images.std())))
        initializer = tf.global_variables_initializer()
        default_graph.finalize()
        with session.open_session(default_graph, args.device, args.threads, args.xla == 'on') as sess:
            sess.run(initializer)
            if state:
                runs.restore_checkpoint(args.run_dir, graph.saver, sess, state['step'])
            journal = Journal(sess, graph, data, args, state)
            fit(sess, graph, data, args, journal)
            if journal.state['best_step'] != journal.state['step']:
                runs.restore_checkpoint(args.run_dir, graph.saver, sess, journal.state['best_step'])
            plot_training(journal.metrics, args.run_dir)
            plot_network(sess, graph, data, args.run_dir)
            accuracy = reports.report(args.run_dir, data.test_labels, predict(sess, graph, data.test_images),
                                      data.class_names, lambda indices: data.test_images[indices], columns=8)
            return accuracy, journal.state


def fit(sess, graph, data, args, journal):
    """Trains with progress, checkpoints and an ear for Ctrl-C; see train()."""
    with cli.stop_requested() as stop:
        def after_step(*figures):
            return journal.after_step(*figures) or stop.requested
        try:
            if not journal.finished():
                train(sess, graph, data, args, journal.state['step'], after_step)
        finally:
            journal.close()
    if not journal.finished():
        journal.save()
        raise cli.Interrupted(f"step {journal.state['step']} of {args.steps} is saved")


def check_same_data(run_dir, data):
    """Raises InputError where a run that is resumed was trained on another set, the bundled sample for instance."""
    before = runs.read_record(run_dir)['data']
    if before['training_images'] != len(data.train_images):
        raise InputError('--resume %s: that run trains on %d images, from %s; here are %d, from %s; name its --data-dir'
                         % (run_dir, before['training_images'], before['source'], len(data.train_images), data.source))


def classify_files(args):
    """Classifies a person's own pictures with a trained run, and draws what the network saw.

    Raises:
      InputError: a file is no picture or blank, or there is no trained run.
    """
    digits = np.stack([mnist.prepare_digit(images.load_image(path), path) for path in args.predict])
    chosen = args.run or args.run_dir or True
    run_dir = runs.locate(args.output_dir, RECIPE, chosen, '--run' if args.run else '--predict')
    settings = argparse.Namespace(**runs.read_record(run_dir)['settings'])
    if chosen is True and settings.dataset != args.dataset:
        raise InputError(f'--predict: the latest run, {run_dir}, has learned {settings.dataset}; for that: --dataset {settings.dataset}; or name one that has '
                         f'learned {args.dataset}: --run DIR')
    step = (runs.load_state(run_dir) or {}).get('best_step')
    if step is None:
        raise InputError(f'--predict: the run in {run_dir} has no trained weights yet; train with '
                         'python recipes/mnist_convnet.py, or name another run with --run DIR')
    with tf.Graph().as_default(), session.open_session(device=args.device, threads=args.threads) as sess:
        graph = build_graph(settings, training=False)
        runs.restore_checkpoint(run_dir, graph.saver, sess, step)
        probabilities = predict(sess, graph, digits)
    names = mnist.DATASETS[settings.dataset].class_names
    for path, row in zip(args.predict, probabilities):
        print('{}: {}'.format(path, ', '.join(f'{names[i]} {100 * row[i]:.1f} %' for i in np.argsort(-row)[:3])))
    sheet = run_dir / 'predictions.png'
    plotting.plot_image_grid(sheet, digits, [f'{path.name}: {names[np.argmax(row)]}'
                                             for path, row in zip(args.predict, probabilities)])
    print(f'by the run in {run_dir}, which has learned {settings.dataset}; what it saw: {sheet.name}')


def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, data=True)
    training = parser.add_argument_group('training')
    training.add_argument('--dataset', choices=sorted(mnist.DATASETS, reverse=True), default='mnist',
                          help='digits, or clothes; for --predict, what the latest run has to have learned')
    training.add_argument('--steps', type=cli.whole_number(1), default=500, help='batches to train on')
    training.add_argument('--batch-size', type=cli.whole_number(1), default=128, help='images')
    training.add_argument('--learning-rate', type=cli.real_number(1e-7, 1.0), default=0.002, help='at its highest')
    training.add_argument('--keep-prob', type=cli.real_number(0.01, 1.0), default=0.8,
                          help='probability that dropout keeps a hidden unit')
    training.add_argument('--augment', action='store_true', help='shift, turn and scale the training images a little')
    training.add_argument('--validate-every', type=cli.whole_number(1), default=100, metavar='STEPS',
                          help='from one look at the validation images to the next')
    training.add_argument('--early-stopping', type=cli.whole_number(0), default=0, metavar='N',
                          help='stop after N validations without a lower loss; 0: never')
    training.add_argument('--book', action='store_true', help="the cookbook chapter's settings")
    more = parser.add_argument_group('what else it does')
    more.add_argument('--tensorboard', action='store_true', help="write TensorBoard's log into the run's folder")
    more.add_argument('--export', action='store_true', help='write a SavedModel; with --resume, of that run')
    more.add_argument('--predict', nargs='+', type=Path, metavar='FILE',
                      help='classify photographs or drawings with a trained run: one digit each, on paper that fills '
                      'the picture')
    more.add_argument('--run', type=Path, metavar='DIR', help='the run that --predict takes instead of the latest')
    args = cli.parse_args(parser, argv, RECIPE, free=('tensorboard', 'export', 'predict', 'run'),
                          preset=lambda asked: BOOK if asked.book else {})
    if args.run and not args.predict:
        raise InputError(f'--run {args.run}: the run that --predict takes, and there is no --predict; to go on with a run: '
                         '--resume DIR')
    return args


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.time()
    args = parse_args(argv)
    if args.predict:
        return classify_files(args)
    say = (lambda *text: None) if args.quiet else print
    data = mnist.load(args.data_dir, args.dataset, args.quiet)
    if args.batch_size > len(data.train_images):
        raise InputError('--batch-size %d: there are %d training images; give a smaller batch'
                         % (args.batch_size, len(data.train_images)))
    device = session.describe_device(args.device, args.threads)
    say(device)
    args.run_dir = args.run_dir or runs.create(
        args.output_dir, RECIPE, settings=args.settings, seed=args.seed,
        data={'source': data.source, 'sums': data.checksums, 'training_images': len(data.train_images)})
    check_same_data(args.run_dir, data)
    runs.write_record(args.run_dir, device=device)
    args.started = started - (runs.load_state(args.run_dir) or {}).get('seconds', 0.0)  # what came before counts too
    say(f'this run: {args.run_dir}')
    look_at_data(data, args.run_dir, args.seed, say)

    accuracy, state = run(args, data)
    if args.export:
        say('SavedModel: {}'.format(export(args, args.run_dir, state['best_step'])))
    seconds = time.time() - args.started
    runs.write_record(args.run_dir, seconds=seconds, results={
        'test_accuracy': accuracy.value, 'test_accuracy_low': accuracy.low, 'test_accuracy_high': accuracy.high,
        'test_images': accuracy.total, 'validation_accuracy': state['validation_accuracy'],
        'validation_loss': state['validation_loss'], 'best_step': state['best_step'],
        'first_loss': state['first_loss'], 'seconds': seconds,
        'seconds_per_step': state['training_seconds'] / state['step']})
    print('test accuracy %s after %d steps in %.0f s; pictures in %s'
          % (accuracy, state['best_step'], seconds, args.run_dir))


if __name__ == '__main__':
    sys.exit(main())
