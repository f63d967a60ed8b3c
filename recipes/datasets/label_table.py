"""A table (CSV) that says which class each image is: Kaggle's labels.csv, `id,breed` and a line per image."""
import csv
import io
import re
from pathlib import Path, PurePosixPath
from typing import Dict, NamedTuple, Optional

from common.errors import InputError
from common.files import check_regular
from common.images import IMAGE_EXTENSIONS

NAME = re.compile(r'(?:train(?:ing)?[_ -]?)?labels?\.csv|train\.csv', re.IGNORECASE)
MAX_BYTES = 1 << 27


class Labels(NamedTuple):
    """What a table says about the images."""
    parts: Dict[str, dict]  # part to {class name: list of Path, sorted}; a part without any class is not in it
    left_out: list          # of (Path, str): images without a row, rows without an image, and what is wrong with them
    columns: str            # the names of the two columns that were read, for the user


def read(table, pools, roots):
    """Reads a table: the first column names an image, with or without folder and extension, the second its class.

    Args:
      table: Path; commas, semicolons or tabs; UTF-8 or, as Excel writes it, UTF-16. Further columns are left aside.
      pools: {part: list of Path}, the images. A name that is in several parts means the first.
      roots: {part: list of Path}, folders that names with a folder may start from.

    Returns:
      Labels, with some images for training.

    Raises:
      InputError: no regular file, larger than MAX_BYTES, not a table, one column per class, or about other things: most
        of its rows name no image, and most images have no row.
    """
    rows = _read_rows(table)
    pools = {part: _by_name(paths, roots[part]) for part, paths in pools.items()}
    header = ['name', 'class']
    if rows and _find(rows[0][0], pools) is None and not _names_an_image(rows[0], rows[1:]):
        header = rows.pop(0)
    _refuse_one_hot(table, header, rows)
    classes, left_out = {}, []  # {(part, Path): class}
    for name, label in ((row[0], row[1].strip()) for row in rows):
        found = _find(name, pools)
        if found is None:
            left_out.append((table.parent / name, f'in {table.name}, but there is no such image'))
        elif not label:
            left_out.append((found[1], f'without a class in {table.name}'))
        elif classes.setdefault(found, label) not in (label, None):
            left_out.append((found[1], f'of two classes in {table.name}: {classes[found]}, {label}'))
            classes[found] = None
    parts = {}
    for (part, path), label in classes.items():
        if label:
            parts.setdefault(part, {}).setdefault(label, []).append(path)
    mentioned = {path for _, path in classes} | {path for path, _ in left_out}
    images = {path for part, pool in pools.items() if part in parts for path in pool.values() if path}
    if 'train' not in parts or 2 * len(classes) < min(len(rows), len(images)):
        raise InputError(f'{table}: names hardly any of the images')
    left_out += [(path, f'not in {table.name}') for path in sorted(images - mentioned)]
    return Labels(parts={part: {name: sorted(paths) for name, paths in sorted(parts[part].items())}
                         for part in pools if part in parts},
                  left_out=left_out, columns=f'{header[0]}, {header[1]}')


def _read_rows(table):
    check_regular(table, 'table')
    try:
        with open(str(table), 'rb') as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f'{table}: cannot be read ({error.strerror})')
    if len(content) > MAX_BYTES:
        raise InputError(f'{table}: more than {MAX_BYTES:,} bytes; expected a table with the classes of the images')
    encoding = 'utf-16' if content[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
    text = content.decode(encoding, 'surrogateescape' if encoding == 'utf-8-sig' else 'replace')
    first = text.partition('\n')[0]
    try:
        rows = list(csv.reader(io.StringIO(text, newline=''), delimiter=max(',;\t', key=first.count)))
    except csv.Error as error:
        raise InputError(f'{table}: not a table ({error})')
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    for row in rows:
        if len(row) < 2 or not row[0]:
            raise InputError(f'{table}: the line {",".join(row)!r:.60} has no name or no class; expected a name and a '
                             'class in each')
    return rows


def _keys(name):
    """Returns what a file may be called in a table: with its extension and without."""
    path = PurePosixPath(name.replace('\\', '/').lower())
    return [str(path)] + ([str(path.with_suffix(''))] if path.suffix in IMAGE_EXTENSIONS else [])


def _by_name(paths, roots):
    """Returns {name: Path, or None for a name that several images have}."""
    found: Dict[str, Optional[Path]] = {}
    for path in paths:
        names = {path.name} | {path.relative_to(root).as_posix() for root in roots if root in path.parents}
        for key in {key for name in names for key in _keys(name)}:
            found[key] = None if key in found else path
    return found


def _find(name, pools):
    """Returns (part, Path) of the image that a row names, or None."""
    key = _keys(name)[0]
    return next(((part, pool[key]) for part, pool in pools.items() if pool.get(key)), None)


def _names_an_image(row, others):
    """Returns whether the first row is one of an image that is missing, and no heading."""
    return _keys(row[0])[1:] or row[1] in {other[1] for other in others}


def _refuse_one_hot(table, header, rows):
    if len(header) > 2 and rows and all(set(row[1:]) <= {'0', '1', '0.0', '1.0'} for row in rows):
        raise InputError(f'{table}: one column for each class ({", ".join(header[1:4])}, ...); expected one column '
                         'with the classes')
