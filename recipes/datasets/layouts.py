"""The ways in which people keep labeled images, and which class each file belongs to.

Known are one folder per class, with or without train/, validation/ and test/ around them; Kaggle's flat names,
`cat.123.jpg`; and archives of any of these, which are unpacked beside themselves. No image is moved, copied or opened.
"""
import contextlib
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Dict, NamedTuple, Tuple

from common import archives, files
from common.errors import InputError, UnavailableError
from common.images import IMAGE_EXTENSIONS
from common.progress import Progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What the folders of a split are called, in lower case.
PART_NAMES = {'train': ('train', 'training'), 'validation': ('validation', 'valid', 'val'), 'test': ('test', 'testing')}
PARTS = tuple(PART_NAMES)
ARCHIVE_ENDINGS = ('.zip', '.tar', '.tar.gz', '.tgz')
# Kaggle's names: the class, a number, an extension.
FLAT_NAME = re.compile(r'([^.]+)\.\d+\.\w+')
# Folders that systems put between people's own: macOS into archives, Synology's servers for their thumbnails, disks.
SYSTEM_FOLDERS = ('__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information')
MAX_DEPTH = 3  # folders between the one that is named and the one that holds the classes


class Layout(NamedTuple):
    """Which files there are, by part and class.

    Attributes:
      root: Path, the folder that holds the parts or the classes.
      parts: dict from 'train', 'validation', 'test' to {class name: list of Path, sorted}. Where there is no split, all
        are in 'train'.
      is_split: bool, whether there are folders for the parts.
      unlabeled: tuple of (Path, str): images whose class cannot be told, and why.
      description: str, what was found, for the user.
    """
    root: Path
    parts: Dict[str, dict]
    is_split: bool
    unlabeled: Tuple[Tuple[Path, str], ...]
    description: str


def find(data_dir, quiet=False):
    """Finds the labeled images in a folder, or in a folder within it, or in an archive.

    Args:
      data_dir: Path of a folder or an archive.
      quiet: bool, unpack an archive without a word.

    Returns:
      Layout; None where there is no image.

    Raises:
      InputError: no such folder, one that cannot be read, more than one data set, an archive that is damaged or that
        cannot be unpacked beside itself.
      UnavailableError: not enough disk space to unpack.
    """
    if os.path.isfile(str(data_dir)):
        if not data_dir.name.lower().endswith(ARCHIVE_ENDINGS):
            raise InputError(f'{data_dir}: a file; expected a folder of images, or an archive '
                             f'({", ".join(ARCHIVE_ENDINGS)})')
        return _find_in_archive(data_dir, quiet)
    layout = _find_in_folder(data_dir, MAX_DEPTH)
    if layout:
        return layout
    found = _archives_of_images(data_dir)
    if len(found) > 1:
        raise InputError(f'{data_dir}: more than one archive: {", ".join(path.name for path in found)}; '
                         'name the one you mean')
    return _find_in_archive(found[0], quiet) if found else None


def check_classes(data_dir, class_names, run_dir):
    """Raises InputError where the images in `data_dir` have other classes than the run in `run_dir` has learned."""
    layout = find(data_dir)
    found = sorted(layout.parts['train']) if layout else []
    if found != sorted(class_names):
        raise InputError(f'--predict: the run in {run_dir} has learned {", ".join(class_names)}, but --data-dir '
                         f'{data_dir} contains {", ".join(found) or "no classes"}; name another run with --run DIR')


def _find_in_folder(folder, depth):
    """Returns the Layout of a folder, or of the one data set within it, or None."""
    parts = _part_folders(folder)
    if 'train' in parts and not _is_class(parts['train']):
        return _read_parts(folder, parts)
    if parts and 'train' not in parts:
        raise InputError(f'{folder}: contains {" and ".join(path.name for path in parts.values())}, but no train; '
                         'rename the folder of training images to train')
    with_images = [inner for inner in _folders(folder) if _images(inner)]
    if len(with_images) < 2 and depth:
        inside = [_find_in_folder(inner, depth - 1) for inner in _folders(folder) if inner not in with_images]
        # Beside a folder of images, one of folders is a class too, as for Keras; unless it contains train.
        inside = [layout for layout in inside if layout and (
            layout.is_split or not with_images and len(layout.parts['train']) > 1)]
        if len(inside) > 1:
            raise InputError(f'{folder}: more than one data set: {", ".join(str(layout.root) for layout in inside)}; '
                             'name the one you mean')
        if inside:
            return inside[0]
    by_class, unlabeled, kind = _read_classes(folder)
    if not any(by_class.values()) and not unlabeled:
        return None
    return Layout(root=folder, parts={'train': by_class}, is_split=False, unlabeled=tuple(unlabeled),
                  description=f'{folder}, {kind}')


def _part_folders(folder):
    """Returns {'train' and so on: Path} of the folders of a split."""
    found = {}
    for inner in _folders(folder):
        for part, names in PART_NAMES.items():
            if inner.name.lower() in names:
                if part in found:
                    raise InputError(f'{folder}: both {found[part].name} and {inner.name}; expected one of them')
                found[part] = inner
    return found


def _is_class(folder):
    """Returns whether a folder is one class's, though it may be called train."""
    images = _images(folder)
    return bool(images) and not any(FLAT_NAME.fullmatch(path.name) for path in images)


def _read_parts(folder, part_folders):
    parts, unlabeled, kinds, unused = {}, [], [], ''
    for part in sorted(part_folders, key=PARTS.index):
        by_class, unlabeled_of_part, kind = _read_classes(part_folders[part])
        # As Kaggle's test images are: 1.jpg, or all in one folder, as Keras wants them.
        if part == 'test' and len(by_class) < 2 and not set(by_class) & set(parts['train']):
            unused = f'; {part_folders[part].name} has no classes and is not used'
            continue
        parts[part] = by_class
        unlabeled.extend(unlabeled_of_part)
        kinds.append(kind)
    names = ' + '.join(part_folders[part].name for part in parts)
    return Layout(root=folder, parts=parts, is_split=True, unlabeled=tuple(unlabeled),
                  description=f'{folder}, {names}, {" or ".join(sorted(set(kinds)))}{unused}')


def _read_classes(folder):
    """Returns ({class name: list of Path}, unlabeled, what kind it is) of a folder with classes."""
    inner_folders, images = _folders(folder), _images(folder)
    if len(inner_folders) == 1 and not images:  # train/train/cat.0.jpg, as Kaggle's archives unpack
        by_class, unlabeled, kind = _read_classes(inner_folders[0])
        if len(by_class) > 1:
            return by_class, unlabeled, kind
    if inner_folders:
        unlabeled = [(path, "not in a class's folder") for path in images]
        return {inner.name: _images_below(inner) for inner in inner_folders}, unlabeled, 'one folder per class'
    by_class, unlabeled = {}, []
    for path in images:
        match = FLAT_NAME.fullmatch(path.name)
        if match:
            by_class.setdefault(match.group(1), []).append(path)
        else:
            unlabeled.append((path, 'no class in its name; expected one like cat.123.jpg'))
    return by_class, unlabeled, 'the class in the name'


def _entries(folder):
    """Returns the os.DirEntry of what is in a folder, sorted, without what is hidden."""
    try:
        with os.scandir(str(folder)) as entries:
            return sorted((entry for entry in entries
                           if not entry.name.startswith('.') and entry.name not in SYSTEM_FOLDERS),
                          key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f'{folder}: no such folder')
    except OSError as error:
        raise InputError(f'{folder}: cannot be read ({error.strerror})')


def _folders(folder):
    return [Path(entry.path) for entry in _entries(folder) if _is_dir(entry)]


def _images(folder):
    """Returns what has an image's extension and is no folder; a dangling link too, so that it is reported."""
    return [Path(entry.path) for entry in _entries(folder)
            if os.path.splitext(entry.name)[1].lower() in IMAGE_EXTENSIONS and not _is_dir(entry)]


def _is_dir(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _images_below(folder, above=()):
    """Returns the images in a folder and in those inside it, each folder once wherever links lead."""
    place = os.path.realpath(str(folder))
    if place in above:
        return []
    found = _images(folder)
    for inner in _folders(folder):
        found.extend(_images_below(inner, above + (place,)))
    return found


def _archives_of_images(folder):
    """Returns a folder's zips that hold images, or zips; beside train.zip not those of test images, as Kaggle's."""
    found = [Path(entry.path) for entry in _entries(folder)
             if entry.name.lower().endswith('.zip') and os.path.isfile(entry.path) and _may_hold_images(entry.path)]
    training = [path for path in found if path.name.lower().startswith('train')]
    return training if len(training) == 1 else found


def _may_hold_images(archive):
    try:
        with zipfile.ZipFile(archive) as zipped:
            return any(os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS | {'.zip'} for name in zipped.namelist())
    except (zipfile.BadZipFile, ValueError, OSError):  # unpack says what is wrong with it
        return True


def _find_in_archive(archive, quiet):
    """Unpacks an archive beside itself, unless that was done before, and returns the Layout of what it contains."""
    ending = next(ending for ending in ARCHIVE_ENDINGS if archive.name.lower().endswith(ending))
    folder = archive.with_name(archive.name[:-len(ending)])
    if not folder.exists():
        files.make_dir(folder.parent, f'unpacking {archive.name}:')
        with archive.open('rb') as locked:
            with contextlib.suppress(OSError, AttributeError):  # some network file systems, and Windows
                fcntl.flock(locked, fcntl.LOCK_EX)
            if not folder.exists():  # by now: another process may have made it
                _unpack(archive, folder, quiet)
    return find(folder, quiet)


def _unpack(archive, folder, quiet):
    """Makes `folder` of an archive's content, whole or not at all."""
    free = shutil.disk_usage(str(folder.parent)).free
    num_files, needed = _size_unpacked(archive)
    if needed > free:
        raise UnavailableError(f'{archive}: unpacks to {needed:,} bytes, but only {free:,} are free beside it')
    if not quiet:
        print(f'unpacking {archive} into {folder}', flush=True)
    beside = folder.with_name(f'.{folder.name}.part')
    shutil.rmtree(str(beside), ignore_errors=True)  # of a process that was killed
    beside.mkdir()
    try:
        with Progress(num_files, unit='file', quiet=quiet or not num_files) as progress:
            archives.unpack(archive, beside, max_bytes=free, on_file=progress.update)
        os.replace(str(beside), str(folder))
        files.flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(str(beside), ignore_errors=True)


def _size_unpacked(archive):
    """Returns (number of files, bytes) that a zip unpacks to by its own account; zeros where it is no whole zip."""
    try:
        with zipfile.ZipFile(str(archive)) as zipped:
            inside = [info for info in zipped.infolist() if not info.is_dir()]
            return len(inside), sum(info.file_size for info in inside)
    except (zipfile.BadZipFile, ValueError, OSError):  # unpack says what is wrong with it
        return 0, 0
