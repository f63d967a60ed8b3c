"""Classifies photographs of ten kinds of things with a convolutional network in tflearn's layers (CIFAR-10).

The idea. tflearn wraps TensorFlow's operations into layers: `tflearn.conv_2d(images, 32, 3, activation='relu')` makes
the weights, the convolution and the ReLU. The cookbook's network for CIFAR-10 takes eight such lines. Its chapter
claims 88 % after 50 epochs; the log it prints shows 81.9 %, on test images that served as validation images. Here
45,000 images train, 5,000 choose the weights, and 10,000 are evaluated once, at the end.

Two networks:

- `--network book`, the chapter's: conv 3x3, 32 maps -> max pool -> conv 3x3, 64 -> conv 3x3, 64 -> max pool -> fully
  connected, 512 -> dropout -> 10 logits.
- `--network airbench`, better in the same time: seven convolutions of up to 256 maps, trained by Muon, after a record;
  see networks/airbench.py.

Two ways to train: our own loop, which resumes after a kill to the same bits (`--resume`), or, with `--book`, the
chapter's network as the chapter trains it, by tflearn's DNN.fit.

Usage:
    python recipes/cifar10_tflearn.py                    the book's network, 50 epochs, better trained
    python recipes/cifar10_tflearn.py --network airbench --tta   a better network, in about the same time
    python recipes/cifar10_tflearn.py --book             the chapter's network and training
    python recipes/cifar10_tflearn.py --predict cat.jpg  your own picture, with the latest run
    python recipes/cifar10_tflearn.py --resume           resume an interrupted run
"""
import contextlib
import sys
import time
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import checkpoints, cli, files, images, parallel, plotting, runs, session
from common.errors import InputError
from common.session import tf, tflearn
from datasets import augmentation, cifar10
from datasets.augmentation import AUGMENTATIONS
from networks import airbench, convolution_gradients, summary
from training import batches, classifier, muon, optimization, predictions, seeds, tflearn_trainer
from training.run import TrainingRun, load_state, measure_predictions, open_run

RECIPE = 'cifar10_tflearn'
IMAGE_SIZE, NUM_CHANNELS, NUM_CLASSES = 32, 3, 10
WARMUP_STEPS = 500       # of the book's network: the learning rate rises linearly over these
# What each network is trained with. The weight decay is per step and in units of the learning rate.
SETTINGS = {
    'book': {'epochs': 50, 'batch_size': 96, 'learning_rate': 1e-3, 'keep_prob': 0.5, 'label_smoothing': 0.1,
             'weight_decay': 0.05},
    'airbench': airbench.SETTINGS}
# What --book sets: the figures of the cookbook, chapter 4.
BOOK = {'epochs': 50, 'batch_size': 96, 'learning_rate': 1e-3, 'keep_prob': 0.5, 'label_smoothing': 0.0,
        'weight_decay': 0.0, 'augment': 'book'}


# ---- The data ----

class Statistics(NamedTuple):
    """What the network needs to know about the training images; saved with its weights."""
    mean: Any = np.zeros(3)                   # of each channel, in [0, 255]
    std: Any = np.ones(3)
    patches: Any = np.zeros([2, 2, 3, 24])    # airbench's first layer; see airbench.whitening_filters


def measure(train_images, book=False):
    """Returns the Statistics of uint8 [num_images, 32, 32, 3]; in the book's, all channels share mean and std."""
    mean, std = cifar10.channel_statistics(train_images, together=book)
    return Statistics(mean=mean, std=std, patches=airbench.whitening_filters((train_images[:5000] - mean) / std))


def make_batch(step, data, batch_size, augment='standard', seed=0):
    """Returns (uint8 [batch, 32, 32, 3], int64 [batch] labels) of a step, augmented: the same for the same seed."""
    num_images = len(data.train_images)
    chosen, random = batches.batch_indices(step, batch_size, num_images, seed), np.random.RandomState([seed, step])
    given = {'mirrored': batches.mirrored(step, chosen, num_images, seed)} if augment == 'alternating' else {}
    return AUGMENTATIONS[augment](data.train_images[chosen], random, **given), data.train_labels[chosen]


def look_at_data(data, run_dir, augment, seed, say):
    """Prints the sizes and draws training images, as they are and as the training augments them."""
    say(', '.join(f'{part} {getattr(data, part + "_images").shape}' for part in ('train', 'validation', 'test')))
    plotting.plot_image_grid(run_dir / 'examples.png', data.train_images[:100],
                             [data.class_names[label] for label in data.train_labels[:100]], columns=20)
    if augment:
        augmented = AUGMENTATIONS[augment](np.repeat(data.train_images[:10], 10, axis=0), np.random.RandomState(seed))
        plotting.plot_image_grid(run_dir / 'augmented.png', augmented, columns=10,
                                 title=f'Ten images, ten times each, augmented: {augment}')


# ---- The network ----

def book_network(pixels, drop, conv_init='uniform_scaling', hidden_init='truncated_normal',
                 output_init='truncated_normal'):
    """Builds the book's network in tflearn's layers.

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


# ---- Loss and optimizer ----

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


def minimize(loss, network, num_steps, learning_rate, weight_decay, **figures):
    """Returns (float32 [] learning rate, (tf.Operation of one step, the figures)), as the network is trained."""
    global_step = tf.train.get_or_create_global_step()
    with tf.name_scope('train'):
        if network == 'airbench':
            rate, kernels, others = airbench.rates(learning_rate, tf.cast(global_step, tf.float32) / num_steps)
            return rate, muon.minimize(loss, global_step, rate, kernels, others, weight_decay=weight_decay, **figures)
        rate = optimization.cosine(global_step, num_steps, learning_rate, WARMUP_STEPS)
        decay = weight_decay * rate if weight_decay else None
        return rate, optimization.minimize_with_decay(loss, tf.train.AdamOptimizer(rate), global_step, decay,
                                                      **figures)


def build_graph(*, network='book', seed=0, keep_prob=0.5, label_smoothing=0.0, weight_decay=0.0, learning_rate=1e-3,
                num_steps=None, statistics=Statistics()):
    """Adds the network, and what trains it, to the default graph; returns a Graph.

    Args:
      network: str, one of SETTINGS.
      seed: int, of the initial weights and of dropout.
      keep_prob: float, the probability that dropout keeps a hidden unit of the book's network in training.
      label_smoothing: float, the fraction of each label that goes to all classes alike.
      weight_decay: float, per step and in units of the learning rate; decoupled from the gradient.
      learning_rate: float, the peak of its schedule.
      num_steps: int, steps of the training; None for a graph that does not train.
      statistics: Statistics; in a graph whose variables are restored, any.
    """
    tf.set_random_seed(seed)
    inputs = tf.placeholder(tf.float32, [None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], name='images')
    labels = tf.placeholder(tf.int64, [None], name='labels')
    is_training = tf.placeholder_with_default(False, [], name='is_training')
    global_step = tf.train.get_or_create_global_step()
    mean = tf.get_variable('pixel_mean', initializer=np.float32(statistics.mean), trainable=False)
    std = tf.get_variable('pixel_std', initializer=np.float32(statistics.std), trainable=False)
    pixels = (inputs - mean) / std
    if network == 'airbench':
        logits, filters = airbench.network(pixels, is_training, np.float32(statistics.patches))
    else:
        mask_seed = tf.stack([seed, tf.cast(global_step, tf.int32)])
        he = tf.variance_scaling_initializer(2.0, mode='fan_in', distribution='untruncated_normal')
        near_zero = tf.random_normal_initializer(stddev=0.001)  # so that the first loss is ln 10, no class preferred
        logits, filters = book_network(
            pixels, lambda layer: optimization.dropout(layer, tf.where(is_training, keep_prob, 1.0), mask_seed),
            he, he, near_zero)

    with tf.name_scope('loss'):
        smooth = tf.one_hot(labels, NUM_CLASSES) * (1.0 - label_smoothing) + label_smoothing / NUM_CLASSES
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(smooth, logits))
    with tf.name_scope('accuracy'):
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
    rate = train_op = None
    if num_steps:
        rate, (train_op, (loss, accuracy)) = minimize(loss, network, num_steps, learning_rate, weight_decay,
                                                      figures=(loss, accuracy), labels=labels)
    return Graph(images=inputs, labels=labels, is_training=is_training, filters=filters,
                 probabilities=tf.nn.softmax(logits), loss=loss, accuracy=accuracy, learning_rate=rate,
                 train_op=train_op, saver=tf.train.Saver(max_to_keep=0))


# ---- Training ----

def train(sess, graph, data, run_dir, *, num_steps, batch_size, augment='standard', seed=0, state=None, **options):
    """Trains, from the last checkpoint where there is one, while a thread prepares the batches to come.

    Args:
      sess: tf.Session.
      graph: Graph that trains.
      data: split_data.SplitData.
      run_dir: Path.
      num_steps, batch_size: int.
      augment: str, one of AUGMENTATIONS.
      seed: int, of the order of the images and their augmentation.
      state: dict, of the last checkpoint; None at the start.
      **options: of TrainingRun.

    Returns:
      dict, the state at the end; see training.run.NEW_STATE.
    """
    def validate():
        return predict(sess, graph, data.validation_images), data.validation_labels

    save = partial(checkpoints.save, run_dir, graph.saver, sess)
    checkpoints.initialize(sess, graph.saver, run_dir, state)
    epoch_steps = Fraction(len(data.train_images), batch_size)
    # The accuracy decides on the best weights: with smoothed labels the loss of sure and right predictions rises.
    with TrainingRun(run_dir, num_steps, validate, save, validate_every=epoch_steps, epoch_steps=epoch_steps,
                     state=state, best_by='validation_accuracy', graph=sess.graph, **options) as run:
        prepared = batches.prefetch(lambda step: make_batch(step, data, batch_size, augment, seed),
                                    range(run.state['step'], num_steps))
        with contextlib.closing(prepared):
            for _, (inputs, labels) in zip(run.steps(), prepared):
                _, loss, accuracy, rate = sess.run([graph.train_op, graph.loss, graph.accuracy, graph.learning_rate], {
                    graph.images: parallel.part(inputs), graph.labels: parallel.part(labels), graph.is_training: True})
                run.record(loss, accuracy, rate)
    return run.state


def book_model(learning_rate, keep_prob, config, tensorboard_dir):
    """Adds the book's network, its preprocessing, augmentation and optimizer to the default graph: a tflearn.DNN."""
    preprocessing, augmentation = tflearn.ImagePreprocessing(), tflearn.ImageAugmentation()
    preprocessing.add_featurewise_zero_center()
    preprocessing.add_featurewise_stdnorm()
    augmentation.add_random_flip_leftright()
    augmentation.add_random_rotation(max_angle=25.0)
    tf.add_to_collection(tf.GraphKeys.GRAPH_CONFIG, config)
    network = tflearn.input_data([None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS],
                                 data_preprocessing=preprocessing, data_augmentation=augmentation)
    network, _ = book_network(network, lambda layer: tflearn.dropout(layer, keep_prob))
    network = tflearn.regression(tflearn.softmax(network), optimizer='adam', loss='categorical_crossentropy',
                                 learning_rate=learning_rate)
    return tflearn.DNN(network, tensorboard_verbose=0, tensorboard_dir=str(tensorboard_dir))


def train_with_tflearn(data, run_dir, *, num_epochs, batch_size, learning_rate, keep_prob, seed=0, device='auto',
                       threads=None, quiet=False):
    """Trains as the book does; saves the last weights as a checkpoint of ours, so that all else is as in other runs.

    There is none on the way: tflearn's random state is not stored in checkpoints. Returns the state, as train does.
    """
    started = time.monotonic()
    build_model = partial(book_model, learning_rate, keep_prob, session.session_config(device, threads),
                          run_dir / 'tensorboard')
    weights = tflearn_trainer.fit(build_model, data, num_epochs, batch_size, seed, 'cifar10_cnn',
                                  run_dir / 'metrics.csv', quiet)
    with tf.Graph().as_default(), session.open_session(device=device, threads=threads) as sess:
        graph = build_graph(statistics=measure(data.train_images, book=True))
        return tflearn_trainer.save(
            run_dir, sess, graph.saver, weights, num_epochs * -(-len(data.train_images) // batch_size), started,
            lambda: measure_predictions(predict(sess, graph, data.validation_images), data.validation_labels))


# ---- Evaluation, pictures ----

def predict(sess, graph, inputs):
    """Computes class probabilities, float32 [num_images, 10], of images [num_images, 32, 32, 3] in [0, 255]."""
    return classifier.predict(sess, graph.probabilities, graph.images, inputs)


def evaluate(sess, graph, data, run_dir, tta=False, shift=0):
    """Evaluates the test images, which no choice was based on, and draws curves, filters and mistakes.

    Args:
      tta: bool, measure the mean over each image and other views of it, too.
      shift: int, pixels; see augmentation.views.

    Returns:
      {name: evaluation.Accuracy}; see classifier.evaluate.
    """
    classifier.plot_training(run_dir, x='epoch')
    summary.draw(run_dir / 'network.png', graph.images, graph.probabilities)
    filters = sess.run(graph.filters)
    plotting.plot_filters(run_dir / 'filters.png', filters, f'The {filters.shape[3]} filters of the first layer')
    others = sum(weight * predict(sess, graph, view)
                 for weight, view in augmentation.views(data.test_images, shift)) if tta else None
    return classifier.evaluate(run_dir, data.test_labels, predict(sess, graph, data.test_images), data.class_names,
                               lambda indices: data.test_images[indices], others, columns=8)


def classify_files(args):
    """Classifies a person's own images with a trained run, and draws what the network saw."""
    found, paths = classifier.find_trained_run(args.output_dir, RECIPE, args.run or args.run_dir), args.predict
    inputs = np.stack(parallel.each(lambda path: cifar10.prepare(images.load_image(path)), paths))
    with classifier.trained_network(build_graph, found.folder, found.step, args.device, args.threads,
                                    network=found.settings['network']) as (sess, graph):
        predictions.show_predictions(found, paths, inputs, predict(sess, graph, inputs), cifar10.CLASS_NAMES)


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, data=True)
    training = parser.add_argument_group('training')

    def add(name, kind, text):
        defaults = ', '.join(f'{settings[name]:g} for {network}' for network, settings in SETTINGS.items())
        training.add_argument('--' + name.replace('_', '-'), type=kind, help=f'{text} (default: {defaults})')

    training.add_argument('--network', choices=tuple(SETTINGS), default='book',
                          help="the book's network, or a better one with its own settings")
    add('epochs', cli.whole_number(1), 'passes over the training images')
    training.add_argument('--steps', type=cli.whole_number(1), help='batches to train on, instead of epochs')
    add('batch_size', cli.whole_number(1), 'images')
    add('learning_rate', cli.real_number(1e-7, 10.0), 'peak learning rate')
    add('keep_prob', cli.real_number(0.01, 1.0), "probability that dropout keeps a hidden unit of the book's network")
    add('label_smoothing', cli.real_number(0.0, 0.9), 'label smoothing')
    add('weight_decay', cli.real_number(0.0, 10.0), 'decoupled weight decay (AdamW): w *= 1 - lr * this')
    training.add_argument('--augment', choices=sorted(AUGMENTATIONS, reverse=True), default='standard',
                          help='standard: mirror, shift, cut out a square; alternating, what airbench has: mirror in '
                               'every second epoch, shift; book: mirror, rotate')
    training.add_argument('--early-stopping', type=cli.whole_number(0), default=0, metavar='N',
                          help='stop after N validations without a higher accuracy; 0: never')
    training.add_argument('--runs', type=cli.whole_number(1), default=1,
                          help='number of seeds; from 2 on, mean and standard deviation are reported')
    training.add_argument('--book', action='store_true', help="the settings of chapter 4 of the TensorFlow 1.x Deep "
                          "Learning Cookbook, trained by tflearn's DNN.fit, which cannot be resumed")
    _, free = classifier.add_options(
        parser, "classify images with a trained run; each one's center square",
        'also report accuracy averaged over image and mirror image; airbench: shifted ones, too')
    args = cli.parse_args(parser, argv, RECIPE, free=free, preset=preset, shared=True)
    check_options(args)
    return args


def preset(asked):
    """Returns the defaults of the other options, for this network or for the book's way."""
    if asked.book and asked.network != 'book':
        raise InputError(f"--book trains the book's network: leave out --network {asked.network}")
    return BOOK if asked.book else SETTINGS[asked.network]


def check_options(args):
    """Raises InputError where an option would do nothing."""
    classifier.check_options(args)
    if args.network != 'book' and args.keep_prob != 1.0:
        raise InputError(f'--keep-prob {args.keep_prob:g}: the {args.network} network has no dropout; leave it out')
    fixed = dict(BOOK, xla='off', steps=None, early_stopping=0)
    for name in ('augment', 'label_smoothing', 'weight_decay', 'xla', 'steps', 'early_stopping'):
        if args.book and getattr(args, name) != fixed[name]:
            raise InputError(f"--book trains in the book's way, with --{name.replace('_', '-')} {fixed[name]}, not "
                             f'{getattr(args, name)}; leave one of them out')


def begin(args, say):
    """Reads the data, opens the run and draws what it trains on; returns (split_data.SplitData, Path of the run)."""
    if not args.run_dir:
        files.check_writable(args.output_dir / RECIPE / runs.RECORD, '--output-dir')
    data = cifar10.load(args.data_dir, args.quiet)
    batches.check_batch_size(args.batch_size, len(data.train_images))
    device = parallel.describe_device(args.device, args.threads)
    run_dir, _ = open_run(args.run_dir, args.output_dir, RECIPE, settings=args.settings, seed=args.seed, device=device,
                          source=data.source, num_images=len(data.train_images), checksums=data.checksums)
    say(f'{device}\n{data.source}\nthis run: {run_dir}')
    look_at_data(data, run_dir, None if args.book else args.augment, args.seed, say)
    return data, run_dir


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    if args.book:
        parallel.check_alone('--book')
    if args.predict:
        return classify_files(args)
    say = (lambda *text: None) if args.quiet else print
    data, run_dir = begin(args, say)
    started -= seeds.seconds_before(run_dir)
    num_steps = args.steps or -(-args.epochs * len(data.train_images) // args.batch_size)
    statistics = None if args.book else measure(data.train_images)
    trained_network = partial(classifier.trained_network, build_graph, device=args.device, threads=args.threads,
                              network=args.network)
    results = []
    for seed, folder in seeds.each_seed(run_dir, RECIPE, args.seed, args.runs, args.settings):
        say(f'seed {seed}: {folder}')
        state = load_state(folder)
        if args.book:
            state = state or train_with_tflearn(
                data, folder, num_epochs=args.epochs, batch_size=args.batch_size, learning_rate=args.learning_rate,
                keep_prob=args.keep_prob, seed=seed, device=args.device, threads=args.threads, quiet=args.quiet)
        else:
            with tf.Graph().as_default() as tf_graph:
                graph = build_graph(network=args.network, seed=seed, keep_prob=args.keep_prob, num_steps=num_steps,
                                    label_smoothing=args.label_smoothing, weight_decay=args.weight_decay,
                                    learning_rate=args.learning_rate, statistics=statistics)
                with session.open_session(tf_graph, args.device, args.threads, args.xla == 'on') as sess:
                    state = train(sess, graph, data, folder, num_steps=num_steps, batch_size=args.batch_size,
                                  augment=args.augment, seed=seed, state=state, patience=args.early_stopping,
                                  started=started, quiet=args.quiet)
        with trained_network(folder, state['best_step']) as (sess, graph):
            say(f'evaluating {len(data.test_images):,} test images')
            accuracies = evaluate(sess, graph, data, folder, args.tta,
                                  airbench.TTA_SHIFT if args.network == 'airbench' else 0)
        results.append(seeds.record_results(folder, accuracies, state, len(data.train_images) / args.batch_size))
    trained_for = cli.plural(args.steps, 'step') if args.steps else cli.plural(args.epochs, 'epoch')
    most, way = 'at most ' if args.early_stopping else '', " in the book's way" if args.book else ''
    seconds = seeds.report(run_dir, results, started, f'{most}{trained_for} of the {args.network} network{way}')
    if args.export:
        found = classifier.find_trained_run(args.output_dir, RECIPE, run_dir)
        with trained_network(found.folder, found.step) as (sess, graph):
            say(f'SavedModel: {classifier.export(run_dir, sess, graph.images, graph.probabilities, data.class_names)}')
    print(f'{seconds:.0f} s; pictures in {run_dir}')


if __name__ == '__main__':
    sys.exit(main())
