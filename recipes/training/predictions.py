"""What a trained classifier says of a person's own files: --predict reads, prints, draws and writes it."""
import contextlib
import csv
import errno
import sys

import numpy as np

from common import files, parallel, plotting, shared_folders
from common.errors import InputError
from common.images import find_images, load_image
from networks import grad_cam

SHOWN_CLASSES = 3       # printed of each file
UNCERTAIN = 0.8         # probability of a digit below which a note says so


def read_images(arguments, read):
    """Reads the images that --predict names, in files and folders; those that cannot be read are reported and skipped.

    Args:
      arguments: list of Path.
      read: function of a Path, raises InputError where it cannot read it.

    Returns:
      (list of Path, at least one; list of what `read` returned of each).

    Raises:
      InputError: the only file named cannot be read, or none of them.
    """
    def attempt(path):
        try:
            return read(path)
        except InputError as error:
            return error
    paths, found, named = [], [], find_images(arguments, '--predict')
    parallel.check_same(named, 'the images that --predict names')
    for path, one in zip(named, parallel.each(attempt, named)):
        if not isinstance(one, InputError):
            found.append(one)
            paths.append(path)
        elif arguments == [path]:
            raise one
        else:
            print(f'skipped: {one}', file=sys.stderr)
    if not paths:
        raise InputError('--predict: none of the images can be read')
    return paths, found


def readable_images(arguments):
    """Returns the list of Path of the images that --predict names and that can be read; see read_images."""
    return read_images(arguments, lambda path: load_image(path).shape)[0]


def print_predictions(paths, probabilities, class_names):
    """Prints a line for each file: the classes that the network finds most probable."""
    for path, row in zip(paths, probabilities):
        best = np.argsort(-row)[:SHOWN_CLASSES]
        print(f'{path}: ' + ', '.join(f'{class_names[k]} {100 * row[k]:.1f} %' for k in best))


def show_predictions(found, paths, images, probabilities, class_names):
    """Prints the predictions for a person's files, and draws them as the network saw them: predictions.png.

    Args:
      found: TrainedRun.
      paths: list of Path.
      images: array [num_images, height, width(, 3)] in [0, 255], as the network saw them.
      probabilities: float [num_images, num_classes].
      class_names: sequence of str.
    """
    print_predictions(paths, probabilities, class_names)
    sheet = found.run_dir / 'predictions.png'
    with where_writable(found.run_dir):
        plotting.plot_image_grid(sheet, images, [f'{path.name}: {class_names[np.argmax(row)]}'
                                                 for path, row in zip(paths, probabilities)])
    model = ', '.join(found.settings[name] for name in ('dataset', 'network') if name in found.settings)
    print(f'model: {found.folder} ({model}); inputs as the network sees them: {sheet}')


def show_digits(found, paths, readings, probabilities, class_names):
    """Prints the digits read from each of a person's files, and draws these with their boxes: predictions.png.

    Args:
      found: TrainedRun.
      paths: list of Path.
      readings: list of handwriting.Reading, one of each.
      probabilities: float [num_digits, num_classes], of the digits of all of them, one after the other.
      class_names: sequence of str.
    """
    shown, captions, left = [], [], list(probabilities)
    for path, reading in zip(paths, readings):
        rows, left = left[:len(reading.digits)], left[len(reading.digits):]
        names = [class_names[np.argmax(row)] for row in rows]
        if len(rows) == 1:
            print_predictions([path], rows, class_names)
        else:
            print(f'{path}: {"".join(names)} (' + ', '.join(
                f'{name} {100 * row.max():.1f} %' for name, row in zip(names, rows)) + ')')
        notes = reading.notes + ['uncertain'] * bool(min(row.max() for row in rows) < UNCERTAIN)
        if notes:
            print(f'  {"; ".join(notes)}')
        shown += [plotting.with_boxes(reading.picture, reading.boxes), *reading.digits]
        captions += ['\n'.join([f'{path.name}: {"".join(names)}', *notes]), *names]
    model, sheet = f'model: {found.folder} ({found.settings["dataset"]})', found.run_dir / 'predictions.png'
    with where_writable(found.run_dir):
        plotting.plot_image_grid(sheet, shown, captions)
        model += f'; digits as the network sees them: {sheet}'
    print(model)


def show_explained(found, sess, explainer, paths, load_images, class_names, at_once):
    """Prints the predictions for a person's files, and writes predictions.csv and, with heat maps, predictions.png.

    Args:
      found: TrainedRun.
      sess, explainer, paths, load_images, class_names, at_once: see grad_cam.draw.
    """
    probabilities = grad_cam.draw(found.run_dir / 'predictions.png', sess, explainer, paths, load_images, class_names,
                                  at_once, writing=where_writable(found.run_dir))
    print_predictions(paths, probabilities, class_names)
    with where_writable(found.run_dir):
        write_predictions(found.run_dir / 'predictions.csv', paths, probabilities, class_names)
    print(f'model: {found.run_dir}; where the network looked: predictions.png there; as a table: predictions.csv')


def write_predictions(path, image_paths, probabilities, class_names, labels=None):
    """Writes a table (CSV), a line per image: its file, class, the class's probability, the probability of each class.

    Args:
      path: Path.
      image_paths: sequence of Path.
      probabilities: float [num_images, num_classes].
      class_names: sequence of str.
      labels: int [num_images], for a column with the true classes.
    """
    if shared_folders.is_unseen(path):
        return
    with files.replacing(path) as beside, beside.open('w', newline='', encoding='utf-8', errors='surrogateescape') as f:
        writer = csv.writer(f)
        writer.writerow(['file', *(['true_class'] if labels is not None else []), 'class', 'probability',
                         *(f'p_{name}' for name in class_names)])
        for k, (image, row) in enumerate(zip(image_paths, probabilities)):
            writer.writerow([str(image), *([class_names[labels[k]]] if labels is not None else []),
                             class_names[np.argmax(row)], f'{row.max():.6f}', *(f'{p:.6f}' for p in row)])


@contextlib.contextmanager
def where_writable(run_dir):
    """Lets what is written besides an answer fail with a warning, in a run's folder that can only be read."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        print(f'warning: {run_dir}: not writable; predictions are only printed', file=sys.stderr)
