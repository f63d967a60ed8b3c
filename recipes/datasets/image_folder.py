"""A folder of labeled images: every file checked, split into training, validation and test.

Every image is decoded before a network sees the first: files that cannot be read are reported and skipped, never
deleted. Where there is no split, one is drawn from the seed and the files' names, class by class; it consists of lists,
and the files stay where they are.
"""
import contextlib
import hashlib
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np
from PIL import Image

from common import cli, images, session
from common.errors import InputError, UnavailableError
from common.files import digest
from common.progress import Progress
from datasets import layouts
from datasets.layouts import PARTS

# Fractions of the training images, where validation and test are drawn from these.
VALIDATION_FRACTION, TEST_FRACTION = 0.15, 0.15
# Fraction of the validation images, where there are such but no test images: one set chooses, the other reports.
TEST_FRACTION_OF_VALIDATION = 0.5
MAX_THREADS = 8  # an image of 12 megapixels takes 150 MB while it is decoded
MICROSOFT_URL = ('https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/'
                 'kagglecatsanddogs_5340.zip')


class Split(NamedTuple):
    """The images of one part, by class and then by name."""
    paths: np.ndarray    # [num_images] of Path
    sha256: np.ndarray   # [num_images] of str, the files' checksums, hexadecimal
    labels: np.ndarray   # int64 [num_images], positions in class_names


class ImageFolder(NamedTuple):
    """A data set of labeled images, checked and split; every class is in every part."""
    class_names: Tuple[str, ...]    # sorted
    train: Split
    validation: Split
    test: Split
    skipped: Tuple[Tuple[Path, str], ...]   # each image that is in no part, and why
    description: str                # one line: what was found and how it was split


def summarize(data):
    """Returns lines that say what an ImageFolder holds, how it is split, and what is skipped."""
    counts = ', '.join(f'{len(getattr(data, part).labels)} {part}' for part in PARTS)
    return '\n'.join([f'{data.description}: {counts}', f'classes: {", ".join(data.class_names)}',
                      *(f'skipped: {path}: {why}' for path, why in data.skipped)])


def load(data_dir, seed=0, quiet=False):
    """Finds the images, decodes every one, and splits them where they are not split.

    Layouts: see datasets.layouts. With train/ and validation/ but no test/, half of the validation images are held
    out as test; with no validation/, 15 % of the training images become validation, and 15 % test unless there is a
    test/. The split depends on the seed and on the files' names within the data set, on nothing else.

    An image that is byte for byte in a later part too (training, validation, test) is skipped in the earlier, unless
    nothing of a class would remain: then a warning says that the accuracy will be overestimated.

    Args:
      data_dir: str or Path of a folder or an archive.
      seed: int.
      quiet: bool, no progress; warnings still.

    Returns:
      ImageFolder.

    Raises:
      InputError: no images, one class only, too few images or only bad ones of a class, classes that differ between
        the parts, a folder that cannot be read, a damaged archive.
      UnavailableError: the project's data folder contains no images (says how to get some), or the disk is too full
        to unpack an archive.
    """
    layout = _find(Path(data_dir), quiet)
    class_names = _class_names(layout)
    sha256, unreadable = _check_all(layout, quiet)
    fractions = _missing_parts(layout)
    _refuse_too_few(layout, fractions, sha256, unreadable)
    parts = _draw_missing(layout, fractions, sha256, seed)
    repeated = _skip_repeated(parts, sha256)
    splits = {part: _as_split([parts[part][name] for name in class_names], sha256) for part in PARTS}
    return ImageFolder(class_names=class_names, **splits, skipped=layout.unlabeled + tuple(unreadable + repeated),
                       description=f'{layout.description}; {_describe(layout, fractions, seed)}')


def fingerprint(data):
    """Returns the SHA-256 of which images are in which part of an ImageFolder, with which labels; hexadecimal."""
    result = hashlib.sha256()
    for part in (data.train, data.validation, data.test):
        result.update(f'{" ".join(part.sha256)}\n{" ".join(map(str, part.labels))}\n'.encode())
    return result.hexdigest()


def take(split, chosen):
    """Returns the Split of some of a Split's images; `chosen` is an int array or a slice."""
    return Split(paths=split.paths[chosen], sha256=split.sha256[chosen], labels=split.labels[chosen])


def load_images(paths, size, threads):
    """Reads images and brings each to a square, whatever its proportions, as Keras's load_img does.

    Args:
      paths: sequence of Path.
      size: int, pixels of a side.
      threads: int; more than MAX_THREADS count as so many.

    Returns:
      uint8 [len(paths), size, size, 3], RGB in [0, 255], bilinear and antialiased.

    Raises:
      InputError: an image that cannot be read.
    """
    def read(path):
        image = Image.fromarray(np.rint(images.load_image(path)).astype(np.uint8))
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

    batch = np.empty((len(paths), size, size, 3), np.uint8)
    with _in_threads(read, paths, threads) as results:
        for k, pixels in enumerate(results):
            batch[k] = pixels
    return batch


@contextlib.contextmanager
def _in_threads(function, paths, threads):
    """Gives an iterator over function(path); when it is left early, what has not begun is not done."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:
        warnings.filterwarnings('ignore', module='PIL')  # of odd EXIF data, say; what matters is an error
        with contextlib.closing(pool.map(function, paths)) as results:  # type: ignore[type-var]  # a generator
            yield results


def _as_split(paths_by_class, sha256):
    flat = [path for paths in paths_by_class for path in paths]
    paths = np.empty(len(flat), object)
    paths[:] = flat
    labels = np.repeat(np.arange(len(paths_by_class)), [len(paths) for paths in paths_by_class])
    return Split(paths=paths, sha256=np.array([sha256[path] for path in flat]), labels=labels.astype(np.int64))


def _find(data_dir, quiet):
    """Returns the Layout, which contains an image at least."""
    is_default = os.path.abspath(str(data_dir)) == os.path.abspath(str(cli.default_dir('data')))
    layout = None if is_default and not data_dir.exists() else layouts.find(data_dir, quiet)
    if is_default and (layout is None or not layout.is_split and sum(map(bool, layout.parts['train'].values())) < 2):
        raise UnavailableError(  # other data sets may be there, with images too
            f'no images to learn from in {data_dir}; expected one folder per class, cat.123.jpg, or an archive of '
            'these\n'
            f'  cats and dogs, 0.8 GB: download {MICROSOFT_URL}\n'
            '  the same from Kaggle: https://www.kaggle.com/c/dogs-vs-cats/data (train.zip, with an account); '
            'put either zip there as it is, or name it with --data-dir')
    if layout and any(_all_paths(layout)):
        return layout
    if layout and layout.unlabeled:
        path, reason = layout.unlabeled[0]
        raise InputError(f'{path}: {reason}')
    raise InputError(f'{data_dir}: no images; expected one folder of images per class, with or without train/ and '
                     'validation/ around them')


def _all_paths(layout):
    return [path for by_class in layout.parts.values() for paths in by_class.values() for path in paths]


def _class_names(layout):
    """Returns the classes, sorted, after making sure that there are two and that the parts agree on them."""
    train = layout.parts['train']
    for part, by_class in layout.parts.items():
        differing = [f'only in {where}: {", ".join(sorted(names))}' for where, names in (
            ('train', set(train) - set(by_class)), (part, set(by_class) - set(train))) if names]
        if differing:
            raise InputError(f'{layout.root}: train and {part} have different classes ({"; ".join(differing)}); '
                             'give both the same folders')
    for part, by_class in layout.parts.items():
        for name, paths in sorted(by_class.items()):
            if not paths:
                raise InputError(f'{layout.root}: class {name!r} has no images{_in_part(layout, part)}; add some, or '
                                 'remove its folder')
    if len(train) < 2:
        raise InputError(f'{layout.root}: only one class, {next(iter(train))!r}; expected at least two')
    return tuple(sorted(train))


def _in_part(layout, part):
    return f' in {part}' if layout.is_split else ''


def _check_all(layout, quiet):
    """Decodes every image.

    Returns:
      ({Path: SHA-256} of those that can be read, list of (Path, why not) of the others).
    """
    def check(path):
        try:
            images.load_image(path)
            return digest(path), None
        except InputError as error:
            return None, str(error).replace(f'{path}: ', '', 1)
        except OSError as error:
            return None, f'cannot be read ({error.strerror})'

    paths = _all_paths(layout)
    sha256, unreadable = {}, []
    with _in_threads(check, paths, session.num_cpus()) as results, \
            Progress(len(paths), unit='image', quiet=quiet) as progress:
        for path, (checksum, problem) in zip(paths, results):
            if problem:
                unreadable.append((path, problem))
            else:
                sha256[path] = checksum
            progress.update({'unreadable': len(unreadable)})
    return sha256, unreadable


def _missing_parts(layout):
    """Returns {part that is missing: the fraction of _source(layout) that it is drawn from there}."""
    if 'validation' in layout.parts:
        return {} if 'test' in layout.parts else {'test': TEST_FRACTION_OF_VALIDATION}
    return {'validation': VALIDATION_FRACTION, **({} if 'test' in layout.parts else {'test': TEST_FRACTION})}


def _source(layout):
    return 'validation' if 'validation' in layout.parts else 'train'


def _describe(layout, fractions, seed):
    if not fractions:
        return 'split as it is'
    drawn = ' and '.join(f'{100 * fraction:.0f} % as {part}' for part, fraction in fractions.items())
    return f'of each class{_in_part(layout, _source(layout))}, {drawn}, drawn with seed {seed}'


def _refuse_too_few(layout, fractions, sha256, unreadable):
    """Makes sure that every class has an image for every part, and more than one to learn from."""
    for part, by_class in layout.parts.items():
        needed = max(1 + len(fractions) if part == _source(layout) else 1, 2 if part == 'train' else 1)
        for name, paths in sorted(by_class.items()):
            count, where = sum(path in sha256 for path in paths), _in_part(layout, part)
            if count >= needed:
                continue
            bad = [f'{path}: {why}' for path, why in unreadable if path in paths]
            problem = (f'{count or "none"} of its {len(paths)} images{where} can be read; the first that cannot is '
                       f'{bad[0]}' if bad else f'only {count} {"image" if count == 1 else "images"}{where}')
            raise InputError(f'{layout.root}: class {name!r}: {problem}; expected at least {needed}; add some, or '
                             'remove the class')


def _draw_missing(layout, fractions, sha256, seed):
    """Draws the parts that are missing, class by class.

    Args:
      layout: Layout.
      fractions: from _missing_parts.
      sha256: dict whose keys are the images that can be read.
      seed: int.

    Returns:
      {part: {class: list of Path}} of all three parts.
    """
    parts = {part: {name: [path for path in paths if path in sha256] for name, paths in by_class.items()}
             for part, by_class in layout.parts.items()}
    source = parts[_source(layout)]
    for name, paths in source.items():
        # By a hash of the file's name: an image more or less leaves nearly all the others in their parts.
        left = sorted(paths, key=lambda path: hashlib.sha256(
            f'{seed}/{name}/{path.name}'.encode('utf-8', 'surrogateescape')).digest())
        for part, fraction in fractions.items():
            count = max(1, int(fraction * len(paths) + 0.5))
            parts.setdefault(part, {})[name], left = sorted(left[:count]), left[count:]
        source[name] = sorted(left)
    return parts


def _skip_repeated(parts, sha256):
    """Takes images that are in a later part too out of the earlier; returns list of (Path, why)."""
    skipped, later = [], {}
    for part in reversed(PARTS):
        left = {name: [path for path in paths if sha256[path] not in later] for name, paths in parts[part].items()}
        repeated = [path for paths in parts[part].values() for path in paths if sha256[path] in later]
        if not all(left.values()):
            first = repeated[0]
            print(f'warning: {len(repeated)} images of {part} are in a later part too ({first} is '
                  f'{later[sha256[first]]}); they stay, since a class would have none without them, and accuracy will '
                  'be overestimated', file=sys.stderr, flush=True)
        else:
            parts[part] = left
            skipped.extend((path, f'the same image as {later[sha256[path]]}') for path in repeated)
        later.update((sha256[path], path) for paths in parts[part].values() for path in paths)
    return skipped
