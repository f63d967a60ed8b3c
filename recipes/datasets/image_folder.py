"""Labeled photographs: a folder of them, checked, split into training, validation and test.

Every picture is decoded before a network sees the first: those that cannot be read are listed and left out, never
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
from typing import Dict, NamedTuple, Tuple

import numpy as np
from PIL import Image

from common import cli, images, session
from common.errors import InputError, UnavailableError
from common.files import digest
from common.progress import Progress
from datasets import layouts

PARTS = ('train', 'validation', 'test')
# Shares of the training pictures, where validation and test are drawn from these.
VALIDATION_SHARE, TEST_SHARE = 0.15, 0.15
# Share of the validation pictures, where there are such but no test pictures: one set chooses, the other reports.
TEST_SHARE_OF_VALIDATION = 0.5
MAX_THREADS = 8  # a photograph of 12 megapixels takes 150 MB while it is decoded
MICROSOFT_URL = ('https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/'
                 'kagglecatsanddogs_5340.zip')
HOW_TO_GET_DATA = (
    'no photographs to learn from in %s; expected one folder per class, cat.123.jpg, or an archive of these\n'
    '  cats and dogs, 0.8 GB: fetch ' + MICROSOFT_URL + '\n'
    '  the same from Kaggle: https://www.kaggle.com/c/dogs-vs-cats/data (train.zip, with an account); '
    'put either zip there as it is, or name it with --data-dir')


class Split(NamedTuple):
    """Pictures of one part.

    Attributes:
      paths: tuple of Path, by class and then by name.
      labels: int64 [num_images], positions in class_names.
    """
    paths: Tuple[Path, ...]
    labels: np.ndarray


class ImageFolder(NamedTuple):
    """A data set of photographs, checked and split.

    Attributes:
      class_names: tuple of str, sorted.
      train, validation, test: Split. No part is without a class.
      left_out: tuple of (Path, str): each picture that is in no part, and why.
      how: str, one line: what was found and how it was split.
      sums: dict from Path to str, the SHA-256 of each file in a part.
    """
    class_names: Tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    left_out: Tuple[Tuple[Path, str], ...]
    how: str
    sums: Dict[Path, str]


def load(data_dir, seed=0, quiet=False):
    """Finds the pictures, decodes every one, and splits them where they are not split.

    Layouts: see datasets.layouts. With train/ and validation/ but no test/, half of the validation pictures are held
    out as test; with no validation/, 15 % of the training pictures become validation, and 15 % test unless there is a
    test/. The split depends on the seed and on the files' names within the data set, on nothing else.

    A picture that is byte for byte in a later part too (training, validation, test) is left out of the earlier, unless
    nothing of a class would remain: then a warning says what the figures are worth.

    Args:
      data_dir: str or Path of a folder or an archive.
      seed: int.
      quiet: bool, no progress; warnings still.

    Returns:
      ImageFolder.

    Raises:
      InputError: no pictures, one class only, too few pictures or only bad ones of a class, classes that differ between
        the parts, a folder that cannot be read, a damaged archive.
      UnavailableError: the project's data folder holds no photographs (says how to get some), or the disk is too full
        to unpack an archive.
    """
    data_dir = Path(data_dir)
    layout = _find(data_dir, quiet)
    class_names = _class_names(layout)
    sums, unreadable = _check_all(layout, quiet)
    shares = _missing_shares(layout)
    _refuse_too_few(layout, shares, sums, unreadable)
    parts = _draw_missing(layout, shares, sums, seed)
    repeated = _leave_out_repeated(parts, sums)
    paths = {part: [path for name in class_names for path in parts[part][name]] for part in PARTS}
    splits = [Split(tuple(paths[part]), np.repeat(np.arange(len(class_names)), [
        len(parts[part][name]) for name in class_names]).astype(np.int64)) for part in PARTS]
    return ImageFolder(class_names, *splits, left_out=layout.strays + tuple(unreadable + repeated),
                       how=f'{layout.description}; {_describe(layout, shares, seed)}',
                       sums={path: sums[path] for part in PARTS for path in paths[part]})


def load_batch(paths, size, threads):
    """Reads pictures and brings each to a square, whatever its proportions, as Keras's load_img does.

    Args:
      paths: sequence of Path.
      size: int, pixels of a side.
      threads: int; more than MAX_THREADS count as so many.

    Returns:
      uint8 [len(paths), size, size, 3], RGB in [0, 255], bilinear and antialiased.

    Raises:
      InputError: a picture that cannot be read.
    """
    def read(path):
        picture = Image.fromarray(np.rint(images.load_image(path)).astype(np.uint8))
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))

    batch = np.empty((len(paths), size, size, 3), np.uint8)
    with _in_threads(read, paths, threads) as pictures:
        for k, picture in enumerate(pictures):
            batch[k] = picture
    return batch


@contextlib.contextmanager
def _in_threads(function, paths, threads):
    """Gives an iterator over function(path); when it is left early, what has not begun is not done."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:
        warnings.filterwarnings('ignore', module='PIL')  # of odd EXIF data, say; what matters is an error
        with contextlib.closing(pool.map(function, paths)) as results:
            yield results


def _find(data_dir, quiet):
    """Returns the Layout, which holds a picture at least."""
    is_default = os.path.abspath(str(data_dir)) == os.path.abspath(str(cli.default_dir('data')))
    layout = None if is_default and not data_dir.exists() else layouts.find(data_dir, quiet)
    if is_default and (layout is None or not layout.is_split and sum(map(bool, layout.parts['train'].values())) < 2):
        raise UnavailableError(HOW_TO_GET_DATA % data_dir)  # other data sets may lie there, with pictures too
    if layout and any(_all_paths(layout)):
        return layout
    if layout and layout.strays:
        raise InputError('{}: {}'.format(*layout.strays[0]))
    raise InputError(f'{data_dir}: no pictures; expected one folder of pictures per class, with or without train/ and '
                     'validation/ around them')


def _all_paths(layout):
    return [path for by_class in layout.parts.values() for paths in by_class.values() for path in paths]


def _class_names(layout):
    """Returns the classes, sorted, after making sure that there are two and that the parts agree on them."""
    train = layout.parts['train']
    for part, by_class in layout.parts.items():
        differing = ['only in {}: {}'.format(where, ', '.join(sorted(names))) for where, names in (
            ('train', set(train) - set(by_class)), (part, set(by_class) - set(train))) if names]
        if differing:
            raise InputError('{}: train and {} have different classes ({}); give both the same folders'.format(layout.root, part, '; '.join(differing)))
    for part, by_class in layout.parts.items():
        for name, paths in sorted(by_class.items()):
            if not paths:
                raise InputError(f'{layout.root}: class {name!r} has no pictures{_in_part(layout, part)}; add some, or remove its folder')
    if len(train) < 2:
        raise InputError('{}: one class only, {!r}; expected the pictures of at least two'.format(layout.root, *train))
    return tuple(sorted(train))


def _in_part(layout, part):
    return f' in {part}' if layout.is_split else ''


def _check_all(layout, quiet):
    """Decodes every picture.

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
    sums, unreadable = {}, []
    with _in_threads(check, paths, session.num_cpus()) as results, \
            Progress(len(paths), unit='image', quiet=quiet) as progress:
        for path, (sum_, problem) in zip(paths, results):
            if problem:
                unreadable.append((path, problem))
            else:
                sums[path] = sum_
            progress.update({'unreadable': len(unreadable)})
    return sums, unreadable


def _missing_shares(layout):
    """Returns {part that is missing: its share of the part that it is drawn from}, where that is _source(layout)."""
    if 'validation' in layout.parts:
        return {} if 'test' in layout.parts else {'test': TEST_SHARE_OF_VALIDATION}
    return {'validation': VALIDATION_SHARE, **({} if 'test' in layout.parts else {'test': TEST_SHARE})}


def _source(layout):
    return 'validation' if 'validation' in layout.parts else 'train'


def _describe(layout, shares, seed):
    if not shares:
        return 'split as it is'
    drawn = ' and '.join(f'{100 * share:.0f} % as {part}' for part, share in shares.items())
    return 'of each class%s, %s, drawn with seed %d' % (_in_part(layout, _source(layout)), drawn, seed)


def _refuse_too_few(layout, shares, sums, unreadable):
    """Makes sure that every class has a picture for every part, and more than one to learn from."""
    for part, by_class in layout.parts.items():
        needed = max(1 + len(shares) if part == _source(layout) else 1, 2 if part == 'train' else 1)
        for name, paths in sorted(by_class.items()):
            count = sum(path in sums for path in paths)
            if count >= needed:
                continue
            bad = [f'{path}: {why}' for path, why in unreadable if path in paths]
            found = 'none' if not count else 'a single one' if count == 1 else 'only %d' % count
            problem = ('%s of its %d pictures%s can be read; the first that cannot is %s' % (
                found, len(paths), _in_part(layout, part), bad[0]) if bad else
                '{}{}'.format('a single picture' if count == 1 else 'only %d pictures' % count, _in_part(layout, part)))
            raise InputError('%s: class %r: %s; expected at least %d; add some, or remove the class'
                             % (layout.root, name, problem, needed))


def _draw_missing(layout, shares, sums, seed):
    """Draws the parts that are missing, class by class.

    Args:
      layout: Layout.
      shares: from _missing_shares.
      sums: dict whose keys are the pictures that can be read.
      seed: int.

    Returns:
      {part: {class: list of Path}} of all three parts.
    """
    parts = {part: {name: [path for path in paths if path in sums] for name, paths in by_class.items()}
             for part, by_class in layout.parts.items()}
    source = parts[_source(layout)]
    for name, paths in source.items():
        # By a hash of the file's name: a picture more or less leaves nearly all the others in their parts.
        left = sorted(paths, key=lambda path: hashlib.sha256(
            ('%d/%s/%s' % (seed, name, path.name)).encode('utf-8', 'surrogateescape')).digest())
        for part, share in shares.items():
            count = max(1, int(share * len(paths) + 0.5))
            parts.setdefault(part, {})[name], left = sorted(left[:count]), left[count:]
        source[name] = sorted(left)
    return parts


def _leave_out_repeated(parts, sums):
    """Takes pictures that are in a later part too out of the earlier; returns list of (Path, why)."""
    left_out, later = [], {}
    for part in reversed(PARTS):
        kept = {name: [path for path in paths if sums[path] not in later] for name, paths in parts[part].items()}
        gone = [path for paths in parts[part].values() for path in paths if sums[path] in later]
        if not all(kept.values()):
            print('warning: %d pictures of %s are in a later part too (%s is %s); they stay, since none of a class '
                  'would be left without them, and the figures flatter'
                  % (len(gone), part, gone[0], later[sums[gone[0]]]), file=sys.stderr, flush=True)
        else:
            parts[part] = kept
            left_out.extend((path, f'the same picture as {later[sums[path]]}') for path in gone)
        later.update((sums[path], path) for paths in parts[part].values() for path in paths)
    return left_out
