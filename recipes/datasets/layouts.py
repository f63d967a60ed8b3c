"""The ways in which people keep labeled images, and which class each file belongs to.

Known are one folder per class, with or without train/, validation/ and test/ around them; Kaggle's flat names,
`cat.123.jpg`; a table beside the images, labels.csv; and archives of any of these, which are unpacked beside
themselves. No image is moved, copied or opened.
"""
import functools
import os
import re
from pathlib import Path
from typing import Dict, NamedTuple, Tuple

from common.errors import InputError
from common.files import check_regular
from common.images import IMAGE_EXTENSIONS
from datasets import image_archives, label_table

PARTS = 'train', 'validation', 'test'
# Words in the names of a split's folders: train, training_set, seg_train, Training_Data, valset. The last are pictures
# to be classified, without classes.
PART_WORD = re.compile('(?:(?P<train>train|training)|(?P<validation>validation|valid|val|dev|eval|evaluation)|'
                       '(?P<test>test|testing)|(?P<unlabeled>pred|predict|predictions?|unlabell?ed))'
                       '(?:sets?|data|images?)?')
FILLERS = frozenset('data dataset set images image imgs img pictures photos seg stage split'.split())
WORD = re.compile(r'[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+')
# Kaggle's names: the class, a number, an extension.
FLAT_NAME = re.compile(r'([^.]+)\.\d+\.\w+')
# Folders that systems put between people's own: macOS into archives, Synology's servers for their thumbnails, disks.
SYSTEM_FOLDERS = ('__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information')
MAX_DEPTH = 3  # folders between the one that is named and the one that holds the classes


class Layout(NamedTuple):
    """Which files there are, by part and class."""
    root: Path                  # the folder that holds the parts or the classes
    parts: Dict[str, dict]      # part to {class name: list of Path, sorted}; without a split, all are in 'train'
    is_split: bool              # whether there are folders for the parts
    unlabeled: Tuple[Tuple[Path, str], ...]     # images whose class is unknown, and why
    description: str            # what was found, for the user


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
        if not data_dir.name.lower().endswith(image_archives.ENDINGS):
            raise InputError(f'{data_dir}: a file; expected a folder of images, or an archive '
                             f'({", ".join(image_archives.ENDINGS)})')
        return find(image_archives.unpack(data_dir, quiet), quiet)
    if not os.path.isdir(str(data_dir)):  # a pipe or a device
        check_regular(data_dir)
    _inside.cache_clear()  # folders change
    layout = _find_in_folder(data_dir, MAX_DEPTH, {})
    if layout:
        return layout
    found = image_archives.find([Path(entry.path) for entry in _entries(data_dir)])
    if len(found) > 1:
        raise InputError(f'{data_dir}: more than one archive: {", ".join(path.name for path in found)}; '
                         'name one of them')
    return find(image_archives.unpack(found[0], quiet), quiet) if found else None


def check_classes(data_dir, class_names, run_dir):
    """Raises InputError where the images in `data_dir` have other classes than the run in `run_dir` has learned."""
    layout = find(data_dir)
    found = sorted(layout.parts['train']) if layout else []
    if found != sorted(class_names):
        raise InputError(f'--predict: the run in {run_dir} has the classes {", ".join(class_names)}, but --data-dir '
                         f'{data_dir} contains {", ".join(found) or "no classes"}; name another run with --run DIR')


def _find_in_folder(folder, depth, known):
    """Returns the Layout of a folder, or of the one data set within it, or None.

    Args:
      folder: Path.
      depth: int, how many folders further down to look.
      known: dict, what was found already: links can lead to the same folder in very many ways.
    """
    key = os.path.realpath(str(folder)), depth
    if key not in known:
        known[key] = None  # for links that lead back
        known[key] = _read_folder(folder, depth, known)
    return known[key]


def _read_folder(folder, depth, known):
    parts, problem = _part_folders(folder), ''
    table = _table_of(folder, parts)
    if table:
        try:
            return _read_table(folder, parts, table)
        except InputError as error:  # it may be about something else
            problem = str(error)
    try:
        layout = _read_structure(folder, parts, depth, known)
    except InputError as error:
        raise InputError('; '.join(filter(None, (str(error), problem))))
    if problem and (not layout or len(layout.parts['train']) < 2):
        raise InputError(problem)
    return layout._replace(description=f'{layout.description}; not used: {problem}') if problem else layout


def _read_structure(folder, parts, depth, known):
    """Returns the Layout that the names of folders and files tell, or None."""
    if 'train' in parts and not _is_class(parts['train']):
        return _read_parts(folder, parts)
    with_images = [inner for inner in _folders(folder) if _images(inner)]
    if 'train' not in parts and any(path not in with_images for path in parts.values()):
        raise InputError(f'{folder}: contains {" and ".join(path.name for path in parts.values())}, but no train; '
                         'rename the folder of training images to train')
    if depth:
        inside = [_find_in_folder(inner, depth - 1, known) for inner in _folders(folder) if inner not in with_images]
        inside = list({id(layout): layout for layout in inside if layout}.values())
        _refuse_unnamed_parts(folder, inside)
        # Beside a folder of images, one of folders is a class too, as for Keras; unless it contains train.
        inside = [layout for layout in inside if len(with_images) < 2 and (
            layout.is_split or not with_images and len(layout.parts['train']) > 1)]
        if len(inside) > 1:
            raise InputError(f'{folder}: more than one data set: {", ".join(str(layout.root) for layout in inside)}; '
                             'name one of them')
        if inside:
            return inside[0]
    by_class, unlabeled, kind = _read_classes(folder)
    if not any(by_class.values()) and not unlabeled:
        return None
    loose = sorted(path.name for path in parts.values() if path.name in by_class)
    if 'train' not in parts and len(by_class) - len(loose) >= 2:  # pictures to classify, beside the classes
        by_class = {name: paths for name, paths in by_class.items() if name not in loose}
        kind += ''.join(f'; {name} has no classes and is not used' for name in loose)
    _refuse_parts_as_classes(folder, by_class)
    return Layout(root=folder, parts={'train': by_class}, is_split=False, unlabeled=tuple(unlabeled),
                  description=f'{folder}, {kind}')


def _part_and_rest(name):
    """Returns (part or None, the other words) of a folder's name: 'flowers_train' is 'train', ['flowers']."""
    words = [word.lower() for word in WORD.findall(name)]
    matches = list(filter(None, map(PART_WORD.fullmatch, words)))
    parts = {match.lastgroup for match in matches}
    rest = [word for word in words if word not in FILLERS and not PART_WORD.fullmatch(word)]
    return (parts.pop() if len(parts) == 1 else None), rest


def _part_folders(folder):
    """Returns {'train' and so on, or 'unlabeled': Path} of the folders of a split."""
    groups = {}
    for inner in _folders(folder):
        part, rest = _part_and_rest(inner.name)
        if part:
            groups.setdefault(tuple(rest), {}).setdefault(part, []).append(inner)
    # Names such as flowers_train and flowers_test count where they hold classes.
    named = [group for rest, group in groups.items() if rest and len(group) > 1 and 'train' in group
             and not _is_class(group['train'][0])]
    found = groups.get((), named[0] if len(named) == 1 else {})
    for part, paths in found.items():
        if len(paths) > 1:
            found[part] = paths = [path for path in paths if _images_below(path)] or paths
        if len(paths) > 1 and part in PARTS:
            raise InputError(f'{folder}: both {paths[0].name} and {paths[1].name}; expected one of them')
    return {part: paths[0] for part, paths in found.items()}


def _is_class(folder):
    """Returns whether a folder is one class's, though it may be called train."""
    images = _images(folder)
    return (bool(images) and not any(FLAT_NAME.fullmatch(path.name) for path in images)
            and sum(bool(_images_below(inner)) for inner in _folders(folder)) < 2)


def _refuse_unnamed_parts(folder, layouts):
    """Raises InputError where folders hold the same classes, but none of them is called train."""
    roots = {}
    for layout in layouts:
        names = tuple(sorted(layout.parts['train']))
        if len(names) > 1 and not layout.is_split:
            roots.setdefault(names, []).append(layout.root.name)
    for names, same in roots.items():
        if len(same) > 1:
            raise InputError(f'{folder}: {same[0]} and {same[1]} contain the same folders ({", ".join(names[:4])}); '
                             'call the parts of a data set train, validation and test, or name one of them')


def _refuse_parts_as_classes(folder, by_class):
    """Raises InputError where classes differ by the name of a part alone: train and test, cats_train and cats_test."""
    seen = {}
    for name in sorted(by_class):
        part, rest = _part_and_rest(name)
        other = seen.setdefault(tuple(rest), (part, name)) if part else (part, name)
        if part != other[0] or part and not rest and len(by_class) == 1:
            names = f'{other[1]} and {name} are parts' if part != other[0] else f'{name} is a part'
            raise InputError(f'{folder}: {names} of a data set, not its classes; expected in each a folder for every '
                             'class, or labels.csv, a table of names and classes')


def _read_parts(folder, part_folders):
    parts, unlabeled, kinds, unused = {}, [], [], []
    for part in sorted(set(part_folders) & set(PARTS), key=PARTS.index):
        by_class, unlabeled_of_part, kind = _read_classes(part_folders[part])
        # As Kaggle's test images are: 1.jpg, or all in one folder, as Keras wants them.
        if part == 'test' and len(by_class) < 2 and not set(by_class) & set(parts['train']):
            unused.append(f'; {part_folders[part].name} has no classes and is not used')
            continue
        parts[part] = by_class
        unlabeled.extend(unlabeled_of_part)
        kinds.append(kind)
    for inner in _folders(folder):
        if inner not in [part_folders.get(part) for part in PARTS] and _images_below(inner):
            unused.append(f'; {inner.name} is no part of the split and is not used')
    unlabeled += [(path, 'beside the parts of the split') for path in _images(folder)]
    names = ' + '.join(part_folders[part].name for part in parts)
    return Layout(root=folder, parts=parts, is_split=True, unlabeled=tuple(unlabeled),
                  description=f'{folder}, {names}, {" or ".join(sorted(set(kinds)))}{"".join(unused)}')


def _table_of(folder, parts):
    """Returns the Path of the table with the images' classes, in the folder or beside the training images, or None."""
    for place in [folder] + ([parts['train']] if 'train' in parts else []):
        names = [entry.name for entry in _entries(place)]
        for name in sorted(names, key=lambda name: not name.lower().startswith('labels')):
            if label_table.NAME.fullmatch(name):
                return place / name
    return None


def _read_table(folder, part_folders, table):
    """Returns the Layout that a table of classes describes."""
    pools = {part: _images_below(path) for part, path in part_folders.items()}
    elsewhere = set().union(*pools.values())
    pools['train'] = pools.get('train', []) + [path for path in _images_below(folder) if path not in elsewhere]
    pools = {part: pools[part] for part in PARTS if pools.get(part)}
    roots = {part: [folder, table.parent] + [path for path in (part_folders.get(part),) if path] for part in pools}
    found = label_table.read(table, pools, roots)
    unused = ''.join(f'; {path.name} has no classes and is not used' for part, path in sorted(part_folders.items())
                     if part not in found.parts)
    names = ' + '.join(part_folders[part].name for part in found.parts if part in part_folders)
    return Layout(root=folder, parts=found.parts, is_split='train' in part_folders, unlabeled=tuple(found.left_out),
                  description=f'{folder}{", " if names else ""}{names}, the classes in {table.name} '
                              f'({found.columns}){unused}')


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


@functools.lru_cache(maxsize=None)
def _inside(place):
    """Returns the names of (folders, images) in the folder whose real path is `place`, the first with theirs.

    An image is what has an image's extension and is no folder; a dangling link too, so that it is reported.
    """
    folders, images = {}, []
    for entry in _entries(place):
        if _is_dir(entry):
            folders[entry.name] = os.path.realpath(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_EXTENSIONS:
            images.append(entry.name)
    return folders, images


def _folders(folder):
    return [folder / name for name in _inside(os.path.realpath(str(folder)))[0]]


def _images(folder):
    return [folder / name for name in _inside(os.path.realpath(str(folder)))[1]]


def _is_dir(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _images_below(folder):
    """Returns the images in a folder and, after them, in those inside it: each folder once wherever links lead.

    A link to a folder around this one is not followed: it would lead to the other classes.
    """
    start = os.path.realpath(str(folder))
    found, seen, queue = [], set(map(str, Path(start).parents)), [(folder, start)]
    for path, place in queue:  # which grows: the shortest way through the links is the one that is found
        if place not in seen:
            seen.add(place)
            folders, images = _inside(place)
            found += [path / name for name in images]
            queue += [(path / name, inner) for name, inner in folders.items() if inner not in seen]
    return sorted(found, key=lambda path: [(1, part) for part in path.parts[:-1]] + [(0, path.name)])
