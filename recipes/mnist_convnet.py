"""A convolutional network that reads handwritten digits, in raw TensorFlow operations.

The idea. A fully connected network sees an image as a row of numbers; a convolutional network keeps its shape:

- *Local receptive fields*: a unit sees 5x5 pixels only. Sliding 5x5 over 28x28 with stride 1 gives 24x24 positions;
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
    python recipes/mnist_convnet.py --predict my.jpg     your own digits, with the latest run
    python recipes/mnist_convnet.py --resume             resume an interrupted run
"""
import sys
import time
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import checkpoints, cli, parallel, plotting, session
from common.session import tf
from datasets import handwriting, mnist
from networks import summary
from training import batches, classifier, optimization, predictions, shared_steps
from training.run import TrainingRun, add_training_options, open_run

RECIPE = 'mnist_convnet'
IMAGE_SIZE = 28
NUM_CLASSES = 10
CONV_SIZE = 5            # pixels, each side of a kernel
CONV1_MAPS, CONV2_MAPS = 32, 64
HIDDEN_UNITS = 1024
WARMUP_STEPS = 50        # the learning rate rises linearly over these
RECORD_EVERY = 10        # steps between two rows of metrics.csv
# What --book sets: the figures of the cookbook, chapter 4. Its weights start from a standard normal distribution, its
# pixels lie in [0, 1], its learning rate stays as it is; its dropout of 0.85 is a keep probability.
BOOK = {'steps': 500, 'batch_size': 128, 'learning_rate': 0.001, 'keep_prob': 0.85}
BOOK_STDDEV = 1.0        # of its initial weights


# ---- The data ----

def look_at_data(data, run_dir, seed, say):
    """Prints the sizes and draws what the images look like, as one should before training on anything."""
    for part in ('train', 'validation', 'test'):
        images_of_part, labels = getattr(data, f'{part}_images'), getattr(data, f'{part}_labels')
        say(f'{part}: images {images_of_part.shape}, labels {labels.shape}')
    names, shown = data.class_names, np.random.RandomState(seed).randint(len(data.train_images))
    plotting.plot_image_grid(run_dir / 'one_image.png', data.train_images[shown:shown + 1],
                             [names[data.train_labels[shown]]], title=f'training image {shown}')
    strip = 255 - data.train_images[:400].reshape(-1, IMAGE_SIZE ** 2)  # reversed gray: ink is black
    plotting.plot_image_grid(run_dir / 'flattened.png', [strip],
                             title=f'the first {len(strip)} images, each a row of {strip.shape[1]} pixels')
    plotting.plot_image_grid(run_dir / 'examples.png', data.train_images[:80],
                             [names[label] for label in data.train_labels[:80]], columns=8)  # room for 'T-shirt/top'


# ---- The network ----

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


def create_weights(book=False):
    """Creates the variables with their initial values; returns Weights.

    Args:
      book: bool, the book's standard normal for all. Its first loss is about 30,000: the logits are that large.

    Source: He et al. 2015, arXiv 1502.01852, eq. 10: a standard deviation of sqrt(2 / fan_in) keeps the size of the
      activations from layer to layer. The output layer starts near zero instead, so that no class is preferred and the
      first loss is ln 10 = 2.30.
    """
    def variable(name, *shape, stddev=None):
        stddev = BOOK_STDDEV if book else np.sqrt(2 / np.prod(shape[:-1])) if stddev is None else stddev
        return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=stddev))

    pooled = (IMAGE_SIZE // 4) ** 2 * CONV2_MAPS
    with tf.variable_scope('weights'):
        return Weights(
            conv1=variable('conv1', CONV_SIZE, CONV_SIZE, 1, CONV1_MAPS),
            conv1_bias=variable('conv1_bias', CONV1_MAPS, stddev=0.0),
            conv2=variable('conv2', CONV_SIZE, CONV_SIZE, CONV1_MAPS, CONV2_MAPS),
            conv2_bias=variable('conv2_bias', CONV2_MAPS, stddev=0.0),
            hidden=variable('hidden', pooled, HIDDEN_UNITS),
            hidden_bias=variable('hidden_bias', HIDDEN_UNITS, stddev=0.0),
            output=variable('output', HIDDEN_UNITS, NUM_CLASSES, stddev=0.001),
            output_bias=variable('output_bias', NUM_CLASSES, stddev=0.0))


def convnet(inputs, weights, keep_prob, dropout_seed):
    """Builds the network; returns Layers.

    Args:
      inputs: float32 [batch, 28, 28, 1], normalized pixels.
      weights: Weights.
      keep_prob: float32 [], the probability that dropout keeps a hidden unit.
      dropout_seed: int32 [2]. The same seed draws the same units.
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
    dropped = optimization.dropout(hidden, keep_prob, dropout_seed)
    with tf.name_scope('output'):
        logits = tf.matmul(dropped, weights.output) + weights.output_bias
    return Layers(conv1=conv1, pool1=pool1, conv2=conv2, pool2=pool2, hidden=hidden, logits=logits)


# ---- Loss and optimizer ----

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


def build_graph(*, seed=0, num_steps=None, learning_rate=0.002, pixel_mean=0.0, pixel_std=255.0, book=False):
    """Adds the network, its loss and its optimizer to the default graph; returns a Graph.

    Args:
      seed: int, of the initial weights and of dropout.
      num_steps: int, steps of the training; None leaves out the optimizer and its variables, twice the size of the
        weights.
      learning_rate: float, the peak of its schedule.
      pixel_mean, pixel_std: float, the training images' mean and standard deviation in [0, 255]. They are saved with
        the weights. The book has 0 and 255.
      book: bool, the book's initial weights, and a constant learning rate.
    """
    tf.set_random_seed(seed)
    inputs = tf.placeholder(tf.float32, [None, IMAGE_SIZE, IMAGE_SIZE], name='images')
    labels = tf.placeholder(tf.int64, [None], name='labels')
    keep_prob = tf.placeholder_with_default(1.0, [], name='keep_prob')
    global_step = tf.train.get_or_create_global_step()
    mean = tf.get_variable('pixel_mean', initializer=np.float32(pixel_mean), trainable=False)
    std = tf.get_variable('pixel_std', initializer=np.float32(pixel_std), trainable=False)

    weights = create_weights(book)
    pixels = tf.expand_dims((inputs - mean) / std, axis=-1)
    layers = convnet(pixels, weights, keep_prob, dropout_seed=tf.stack([seed, tf.cast(global_step, tf.int32)]))

    with tf.name_scope('loss'):
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits_v2(tf.one_hot(labels, NUM_CLASSES), layers.logits)
        loss = tf.reduce_mean(cross_entropy)
    with tf.name_scope('accuracy'):
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(layers.logits, axis=1), labels), tf.float32))
    rate = train_op = None
    if num_steps:
        with tf.name_scope('train'):
            rate = (tf.constant(learning_rate) if book else
                    optimization.cosine(global_step, num_steps, learning_rate, WARMUP_STEPS))
            optimizer = tf.train.AdamOptimizer(rate)
            gradients, (loss, accuracy) = shared_steps.average(
                optimizer.compute_gradients(loss), (loss, accuracy), labels)
            train_op = optimizer.apply_gradients(gradients, global_step)
    filters = tf.summary.image('conv1', tf.transpose(weights.conv1, [3, 0, 1, 2]), max_outputs=CONV1_MAPS)
    return Graph(images=inputs, labels=labels, keep_prob=keep_prob, weights=weights, layers=layers,
                 probabilities=tf.nn.softmax(layers.logits), loss=loss, accuracy=accuracy, learning_rate=rate,
                 train_op=train_op, filters_summary=filters, saver=tf.train.Saver(max_to_keep=0))


# ---- Training ----

def train(sess, graph, data, run_dir, *, num_steps, batch_size=128, keep_prob=0.8, augment=False, seed=0, state=None,
          validate_every=100, draw_filters=False, **options):
    """Trains, from the last checkpoint where there is one.

    Args:
      sess: tf.Session.
      graph: Graph, with its optimizer.
      data: split_data.SplitData.
      run_dir: Path.
      num_steps, batch_size: int.
      keep_prob: float, the probability that dropout keeps a hidden unit.
      augment: bool, shift, turn and scale the images a little.
      seed: int, of the order of the images and their augmentation.
      state: dict, of the last checkpoint; None at the start.
      validate_every: int, steps.
      draw_filters: bool, in TensorBoard's log with each validation.
      **options: of TrainingRun.

    Returns:
      dict, the state at the end; see training.run.NEW_STATE.
    """
    def validate():
        return predict(sess, graph, data.validation_images), data.validation_labels

    save = partial(checkpoints.save, run_dir, graph.saver, sess)
    checkpoints.initialize(sess, graph.saver, run_dir, state)
    with TrainingRun(run_dir, num_steps, validate, save, validate_every=validate_every, record_every=RECORD_EVERY,
                     epoch_steps=Fraction(len(data.train_images), batch_size), state=state, graph=sess.graph,
                     **options) as run:
        for step in run.steps():
            chosen = batches.batch_indices(step, batch_size, len(data.train_images), seed)
            digits = data.train_images[chosen]
            if augment:
                digits = mnist.augment(digits, np.random.RandomState([seed, step]))
            digits, labels = parallel.part(digits), parallel.part(data.train_labels[chosen])
            if draw_filters and step % validate_every == 0:
                run.writer.add_summary(sess.run(graph.filters_summary), step)
            _, loss, accuracy, rate = sess.run([graph.train_op, graph.loss, graph.accuracy, graph.learning_rate], {
                graph.images: digits, graph.labels: labels, graph.keep_prob: keep_prob})
            run.record(loss, accuracy, rate)
    return run.state


# ---- Evaluation, pictures ----

def predict(sess, graph, digits):
    """Computes class probabilities, float32 [num_images, 10], of digits [num_images, 28, 28] in [0, 255]."""
    return classifier.predict(sess, graph.probabilities, graph.images, digits)


def evaluate(sess, graph, data, run_dir):
    """Evaluates the test images, which no choice was based on, and draws curves, filters, activations and mistakes.

    Returns:
      {'test_accuracy': evaluation.Accuracy}.
    """
    classifier.plot_training(run_dir)
    summary.draw(run_dir / 'network.png', graph.images, graph.layers.logits)
    filters, layers = sess.run([graph.weights.conv1, graph.layers], {graph.images: data.test_images[:1]})
    plotting.plot_filters(run_dir / 'filters.png', filters, f'The {CONV1_MAPS} filters of conv1')
    plotting.plot_activations(run_dir / 'activations.png', data.test_images[0], {
        'conv1': layers.conv1[0], 'conv2': layers.conv2[0]}, 'One image, seen by each convolution')
    return classifier.evaluate(run_dir, data.test_labels, predict(sess, graph, data.test_images), data.class_names,
                               lambda indices: data.test_images[indices], columns=8)


def classify_files(arguments, found, device='auto', threads=None):
    """Reads a person's own digits, several in a picture too, and draws what the network saw."""
    dataset = found.settings['dataset']
    paths, readings = predictions.read_images(arguments, lambda path: handwriting.find_digits(
        handwriting.load(path), path, several=dataset == 'mnist'))
    digits = np.concatenate([reading.digits for reading in readings])
    with classifier.trained_network(build_graph, found.folder, found.step, device, threads) as (sess, graph):
        predictions.show_digits(found, paths, readings, predict(sess, graph, digits),
                                mnist.DATASETS[dataset].class_names)


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, data=True)
    training = parser.add_argument_group('training')
    training.add_argument('--dataset', choices=sorted(mnist.DATASETS, reverse=True), default='mnist',
                          help='digits or clothes; with --predict, what the latest run must have been trained on')
    training.add_argument('--steps', type=cli.whole_number(1), default=500, help='batches to train on')
    add_training_options(training, batch_size=128, learning_rate=0.002, keep_prob=0.8, early_stopping=0)
    training.add_argument('--augment', action='store_true', help='shift, turn and scale the training images a little')
    training.add_argument('--validate-every', type=cli.whole_number(1), default=100, metavar='STEPS',
                          help='steps between validations')
    group, names = classifier.add_options(parser, 'read the digits in photographs or drawings, files or folders, '
                                          'with a trained run')
    group.add_argument('--tensorboard', action='store_true', help="add the filters to TensorBoard's log")
    args = cli.parse_args(parser, argv, RECIPE, free=('tensorboard', *names),
                          preset=lambda asked: BOOK if asked.book else {}, shared=True)
    classifier.check_options(args)
    return args


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    if args.predict:
        found = classifier.find_trained_run(args.output_dir, RECIPE, args.run or args.run_dir, dataset=args.dataset)
        return classify_files(args.predict, found, args.device, args.threads)
    say = (lambda *text: None) if args.quiet else print
    data = mnist.load(args.data_dir, args.dataset, args.quiet)
    batches.check_batch_size(args.batch_size, len(data.train_images))
    device = parallel.describe_device(args.device, args.threads)
    run_dir, state = open_run(args.run_dir, args.output_dir, RECIPE, settings=args.settings, seed=args.seed,
                              device=device, source=data.source, num_images=len(data.train_images),
                              checksums=data.checksums)
    started -= state['seconds'] if state else 0.0
    say(f'{device}\n{data.source}\nthis run: {run_dir}')
    look_at_data(data, run_dir, args.seed, say)

    statistics = {} if args.book else {'pixel_mean': data.train_images.mean(), 'pixel_std': data.train_images.std()}
    with tf.Graph().as_default() as tf_graph:
        graph = build_graph(seed=args.seed, num_steps=args.steps, learning_rate=args.learning_rate, book=args.book,
                            **statistics)
        with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
            state = train(sess, graph, data, run_dir, num_steps=args.steps, batch_size=args.batch_size,
                          keep_prob=args.keep_prob, augment=args.augment, seed=args.seed, state=state,
                          validate_every=args.validate_every, patience=args.early_stopping,
                          draw_filters=args.tensorboard, started=started, quiet=args.quiet)
    trained = classifier.trained_network(build_graph, run_dir, state['best_step'], args.device, args.threads)
    with trained as (sess, graph):
        say(f'evaluating {len(data.test_images):,} test images')
        accuracies = evaluate(sess, graph, data, run_dir)
        if args.export:
            say(f'SavedModel: {classifier.export(run_dir, sess, graph.images, graph.probabilities, data.class_names)}')
    seconds = classifier.record_results(run_dir, accuracies, state, started)
    print(f'test accuracy {accuracies["test_accuracy"]} after {state["best_step"]} steps in {seconds:.0f} s; '
          f'pictures in {run_dir}')


if __name__ == '__main__':
    sys.exit(main())
