"""What the recipes do with a classifier besides training it: predict, evaluate, draw, find a trained one, export."""
import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import checkpoints, evaluation, files, parallel, plotting, runs
from common.errors import InputError
from common.metrics import curve, read_metrics
from common.options import recorded_settings
from common.session import open_session, tf
from training import seeds
from training.run import load_state

BATCH_SIZE = 500        # images, of small ones
NUM_MISTAKES = 40       # drawn


def predict(sess, probabilities, inputs, images, batch_size=BATCH_SIZE):
    """Computes class probabilities in batches that fit any memory.

    Args:
      sess: tf.Session.
      probabilities: float32 [batch, num_classes], the tensor.
      inputs: placeholder of the images.
      images: array [num_images, ...].
      batch_size: int.

    Returns:
      float32 [num_images, num_classes].
    """
    return np.concatenate(parallel.each(lambda start: sess.run(probabilities, {
        inputs: images[start:start + batch_size]}), range(0, len(images), batch_size)))


@contextlib.contextmanager
def trained_network(build_graph, folder, step, device='auto', threads=None, **options):
    """Opens a session with the weights of a run's checkpoint, in a graph without optimizer.

    Args:
      build_graph: function that adds the network to the default graph; what it returns has a `saver`.
      folder, step: of the checkpoint; see TrainedRun.
      device, threads: see session.open_session.
      **options: of build_graph.

    Yields:
      (tf.Session, what build_graph returned).
    """
    with tf.Graph().as_default(), open_session(device=device, threads=threads) as sess:
        graph = build_graph(**options)
        checkpoints.restore(folder, graph.saver, sess, step)
        yield sess, graph


def evaluate(run_dir, labels, probabilities, class_names, load_images, others=None, **grid):
    """Measures the accuracy; writes classes.txt and draws confusion_matrix.png and mistakes.png.

    Args:
      run_dir: Path.
      labels: int [num_images], the true classes.
      probabilities: float [num_images, num_classes].
      class_names: sequence of str.
      load_images: function of int [n], indices, to that many images as plotting.plot_image_grid takes them.
      others: float [num_images, num_classes], probabilities of the mirror images, or the sum of those of several views
        where the images count 1; None without --tta.
      **grid: options of plotting.plot_image_grid.

    Returns:
      {name: evaluation.Accuracy}: 'test_accuracy'; with `others` also 'tta_accuracy', of the mean over each image and
      its other views (test-time augmentation).
    """
    predictions = np.argmax(probabilities, axis=1)
    matrix = evaluation.confusion_matrix(labels, predictions, len(class_names))
    with files.replacing(run_dir / 'classes.txt') as beside:
        beside.write_text(evaluation.format_class_figures(matrix, class_names) + '\n',
                          encoding='utf-8', errors='surrogateescape')  # of a folder whose name is no UTF-8
    plotting.plot_confusion_matrix(run_dir / 'confusion_matrix.png', matrix, class_names, 'Test images')
    worst = evaluation.most_confident_mistakes(labels, probabilities, NUM_MISTAKES)
    captions = [f'{class_names[guess]} {100 * row[guess]:.0f} %\ntrue: {class_names[label]}'
                for label, guess, row in zip(labels[worst], predictions[worst], probabilities[worst])]
    plotting.plot_image_grid(run_dir / 'mistakes.png', load_images(worst), captions,
                             title='The most confident mistakes: predicted class, its probability, true class', **grid)
    accuracies = {'test_accuracy': evaluation.accuracy(labels, predictions)}
    if others is not None:
        accuracies['tta_accuracy'] = evaluation.accuracy(labels, np.argmax(probabilities + others, axis=1))
    return accuracies


def right_and_wrong(labels, probabilities, count, seed):
    """Chooses images to explain: right predictions at random, and the most confident wrong ones.

    Args:
      labels: int [num_images].
      probabilities: float [num_images, num_classes].
      count: int, the most of each.
      seed: int.

    Returns:
      {'right': int [at most count], 'wrong': int [at most count]}, indices.
    """
    right = np.flatnonzero(np.argmax(probabilities, axis=1) == labels)
    right = right[np.random.RandomState(seed).permutation(len(right))[:count]]
    return {'right': np.sort(right), 'wrong': evaluation.most_confident_mistakes(labels, probabilities, count)}


def record_results(run_dir, accuracies, state, started):
    """Writes the results of a run into its run.json.

    Args:
      run_dir: Path.
      accuracies: from `evaluate`.
      state: dict, of the training.run.TrainingRun at its end.
      started: float, the time.monotonic() at which the run would have started without interruptions.

    Returns:
      float, the seconds that it took; see runs.total_seconds.
    """
    figures, seconds = evaluation.figures(accuracies), runs.total_seconds(run_dir, started)
    for name in ('validation_accuracy', 'validation_loss', 'best_step', 'first_loss'):
        figures[name] = state[name]
    runs.write_record(run_dir, seconds=seconds, results=dict(
        figures, seconds=seconds, seconds_per_step=state['training_seconds'] / max(state['step'], 1)))
    return seconds


def plot_training(run_dir, name='metrics', x='step', prefix='', title=''):
    """Draws <prefix>loss.png and <prefix>accuracy.png from the metrics of a training.run.TrainingRun.

    Args:
      run_dir: Path.
      name: str, of the file with the metrics.
      x: 'step' or 'epoch'.
      prefix, title: str, the beginnings of the files' names and of the titles.
    """
    rows = read_metrics(run_dir / f'{name}.csv')
    for quantity, training, label, log in (('loss', 'loss', 'cross-entropy', True),
                                           ('accuracy', 'training_accuracy', 'accuracy', False)):
        plotting.plot_curves(run_dir / f'{prefix}{quantity}.png', {
            'training': curve(rows, training, x), 'validation': curve(rows, f'validation_{quantity}', x)},
            f'{title}{quantity.capitalize()} (training: mean over the steps, with dropout and augmentation)', x,
            label, log=log)


class TrainedRun(NamedTuple):
    """A run with trained weights."""
    run_dir: Path
    folder: Path            # the run's own or, of several seeds, the folder of the one that validated best
    step: int               # of the best checkpoint in the folder
    settings: dict          # as recorded


def find_trained_run(output_dir, recipe, chosen=None, **wanted):
    """Finds the run that --predict takes; in several processes the first does.

    Args:
      output_dir: Path.
      recipe: str.
      chosen: Path of the run; None for the latest.
      **wanted: settings that the latest run must have.

    Returns:
      TrainedRun.

    Raises:
      InputError: there is no such run, or it has no trained weights yet.
    """
    if parallel.rank():
        return parallel.from_first(None)
    option = '--run' if chosen else '--predict'
    run_dir = runs.locate(output_dir, recipe, chosen or True, option)
    settings = runs.read_record(run_dir).get('settings', {})
    for name, value in wanted.items():
        if not chosen and name in settings and settings[name] != value:
            raise InputError(f'--predict: the latest run, {run_dir}, was trained on {settings[name]}; use --{name} '
                             f'{settings[name]}; or name a run trained on {value} with --run DIR')
    folders = seeds.folders(run_dir)
    trained = [(state['validation_accuracy'], folder, state['best_step'])
               for state, folder in zip(map(load_state, folders), folders)
               if state and state.get('best_step') is not None]
    if not trained:
        raise InputError(f'{option}: the run in {run_dir} has no trained weights yet; train one first: python '
                         f'recipes/{recipe}.py, or name another run with --run DIR')
    _, folder, step = max(trained)
    return parallel.from_first(TrainedRun(run_dir=run_dir, folder=folder, step=step,
                                          settings=recorded_settings(run_dir)))


def export(run_dir, sess, inputs, probabilities, class_names):
    """Writes a SavedModel: 'images' in; 'probabilities', 'classes' (numbers) and 'labels' (names) out.

    Args:
      run_dir: Path; the SavedModel goes to its saved_model/.
      sess: tf.Session with the weights.
      inputs: placeholder of images, pixels in [0, 255].
      probabilities: float32 [batch, num_classes].
      class_names: sequence of str.

    Returns:
      Path of the SavedModel's folder.

    Raises:
      UnavailableError: it cannot be written; the disk is full, for instance.
    """
    classes = tf.argmax(probabilities, axis=1)
    names = [name.encode('utf-8', 'surrogateescape') for name in class_names]
    labels = tf.gather(tf.constant(names), classes)
    return checkpoints.save_model(run_dir, sess, {'images': inputs}, {
        'probabilities': probabilities, 'classes': classes, 'labels': labels})


def add_options(parser, predict_help, tta_help=None):
    """Adds the options of what is done with trained weights to a recipe's parser; see check_options.

    Args:
      parser: argparse.ArgumentParser.
      predict_help: str, what --predict takes.
      tta_help: str, what --tta reports, where there is that option.

    Returns:
      (the argument group, for more of them; tuple of the options' names).
    """
    group = parser.add_argument_group('after training')
    group.add_argument('--export', action='store_true', help='write a SavedModel; with --resume, of that run')
    group.add_argument('--predict', nargs='+', type=Path, metavar='FILE', help=predict_help)
    group.add_argument('--run', type=Path, metavar='DIR', help='the run that --predict takes (default: the latest)')
    if tta_help:
        group.add_argument('--tta', action='store_true', help=tta_help)
    return group, ('export', 'predict', 'run', *['tta'] * bool(tta_help))


def check_options(args):
    """Raises InputError where one of these options would do nothing."""
    if args.run and not args.predict:
        raise InputError(f'--run {args.run} needs --predict; to resume a run, give --resume DIR')
    if args.predict and args.export:
        raise InputError('--predict classifies your images and does nothing else; leave out --export')
