"""The page of a run, report.html in its folder, and that of all runs, index.html; made of what is in the folders alone.

A run's folder may come from elsewhere: what is read of it are regular files in it, every text is escaped, a picture
that goes into the page has been decoded, and the page itself runs no script and loads nothing from a network.
"""
import base64
import math
import os
import re
import stat
import sys
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from common import captions, files, images, metrics, runs, summaries
from common.errors import InputError

REPORT, INDEX, THUMBNAIL = 'report.html', 'index.html', '.thumbnail.jpg'
TEMPLATES = Path(__file__).with_name('templates')
EMBEDDED = 4_600_000      # bytes that pictures may take up within a page, of the 5 MB that it stays below
MOST_PICTURES = 60        # shown on a page; the others are listed
MOST_PIXELS = 2 ** 24     # of a picture that goes into a page, and of one that a thumbnail is made of
THUMBNAIL_SIZE = 240      # pixels of the longer side
LARGEST_TABLE = 2 ** 26   # bytes of a CSV file
MOST_CURVES, CURVE_POINTS = 40, 400
MEDIA_TYPES = {'PNG': 'image/png', 'JPEG': 'image/jpeg', 'GIF': 'image/gif', 'WEBP': 'image/webp'}
_NO_CURVE = {'step', 'frame', 'epoch', 'picture', 'batch', 'octave', 'height', 'width', 'seconds'}


class Entry(NamedTuple):
    """A file or folder of a run."""
    name: str       # in the run's folder; a folder's ends in a slash
    path: Path
    size: int       # bytes, of a folder all its files'
    note: str       # what it is


class Picture(NamedTuple):
    """A picture or film, as the page shows it."""
    name: str
    source: str     # for the attribute src: the picture itself, or its place beside the page
    width: int      # pixels; 0 where it is not known
    height: int
    title: str
    text: str


class Curve(NamedTuple):
    """Columns of a table over its steps, as the page draws them."""
    title: str
    lines: list     # of (label, points of an SVG polyline within 600 x 160, last value)
    low: str        # of the vertical axis
    high: str
    first: str      # of the horizontal one
    last: str
    text: str       # what it shows, for those who cannot see it


# ---- The pages ----

def write(run_dir):
    """Writes report.html, and a thumbnail for the index, into a run's folder.

    Args:
      run_dir: Path.

    Returns:
      Path of the page.

    Raises:
      InputError: it is no run's folder, or its record is damaged.
    """
    run_dir = Path(run_dir).resolve()
    if not is_file(run_dir / runs.RECORD):
        raise InputError(f'{run_dir}: not a run; name a folder that contains a {runs.RECORD}')
    record = runs.read_record(run_dir)
    entries, tables = list_files(run_dir), read_tables(run_dir)
    pictures = find_pictures(entries, record)
    changed, settings = summaries.settings(record)
    repeat, resume = summaries.commands(record, run_dir)
    write_thumbnail(run_dir, [entry.path for entry, _ in pictures] + [run_dir / 'frames' / '000000.png'])
    _render(
        'report.html', run_dir / REPORT, recipe=record['recipe'], started=record.get('started', 'at an unknown time'),
        device=record.get('device'), versions=summaries.versions(record), finished=summaries.is_finished(record),
        sentence=summaries.sentence(record, _progress(tables)), figures=summaries.figures(record),
        interval=summaries.INTERVAL, troubles=summaries.troubles(record), repeat=repeat, resume=resume,
        changed=changed, settings=settings, facts=summaries.facts(record), curves=draw_curves(tables),
        pictures=show_pictures(pictures), num_more=max(0, len(pictures) - MOST_PICTURES), entries=entries,
        index=f'../../{INDEX}' if run_dir.parent.name == record['recipe'] else None)
    return run_dir / REPORT


def write_index(output_dir):
    """Writes index.html, a list of all runs, the last one first, into an output folder.

    Args:
      output_dir: Path.

    Returns:
      Path of the page.
    """
    rows = []
    for run_dir in find_runs(output_dir):
        try:
            record = runs.read_record(run_dir)
            said = summaries.sentence(record, _progress(read_tables(run_dir)))
        except (InputError, OSError):
            record, said = {'recipe': run_dir.parent.name}, 'The record of this run is damaged.'
        page, thumbnail = run_dir / REPORT, run_dir / THUMBNAIL
        rows.append({'recipe': record['recipe'], 'started': str(record.get('started', run_dir.name)), 'sentence': said,
                     'link': _url(page if is_file(page) else run_dir, output_dir),
                     'thumbnail': _url(thumbnail, output_dir) if is_file(thumbnail) else None})
    rows.sort(key=lambda row: row['started'], reverse=True)
    _render('index.html', Path(output_dir) / INDEX, rows=rows)
    return Path(output_dir) / INDEX


def find_runs(output_dir):
    """Returns the folders of all runs in an output folder, list of Path; links are no runs."""
    found = [path.parent for path in Path(output_dir).glob(f'*/*/{runs.RECORD}')]
    return sorted(path for path in found if not path.is_symlink() and not path.parent.is_symlink())


def write_held(code, quiet=False):
    """Writes the page of the run that this process works on, and the list of all runs; prints where it is.

    The run never suffers from it: where the page cannot be written, one line says so.

    Args:
      code: int, the run's exit code; after one that an error or Ctrl-C gave, the run's own last line stays the last.
      quiet: bool, print nothing where all is well.
    """
    held = runs.held()
    if not held:
        return
    try:
        path = write(held[0])
        if path.parent.parent.name == runs.read_record(held[0])['recipe']:
            write_index(held[0].parents[1])
    except (Exception, KeyboardInterrupt) as error:
        if code < 3:
            reason = getattr(error, 'strerror', None) or f'{type(error).__name__}: {error}'
            print(f'warning: no {REPORT} in {held[0]} ({reason}); python recipes/report.py writes it', file=sys.stderr)
        return
    if code < 3 and not quiet:
        print(f'report: {path}')


def _render(template, path, **values):
    """Fills in a template, with everything escaped, and writes the page."""
    import jinja2  # a run ends well without it
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(str(TEMPLATES)), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters['size'] = _size
    text = environment.get_template(template).render(**values)
    with files.replacing(path) as beside:
        beside.write_text(text, encoding='utf-8', errors='backslashreplace')  # names that are no UTF-8, lone surrogates


# ---- Files ----

def list_files(run_dir):
    """Lists the files and folders of a run, those of its seeds too; hidden ones and links are left out.

    Args:
      run_dir: Path.

    Returns:
      list of Entry, by name.
    """
    found = []
    for folder in [run_dir, *sorted(run_dir.glob('seed_*'))]:
        if folder.is_symlink() or not folder.is_dir():
            continue
        prefix = '' if folder == run_dir else f'{folder.name}/'
        for path in sorted(folder.iterdir()):
            if path.name.startswith('.') or path.name == REPORT or path.is_symlink():
                continue
            name = f'{prefix}{path.name}' + ('/' if path.is_dir() else '')
            if path.is_dir() or is_file(path):
                found.append(Entry(name=name, path=path, size=_total(path), note=captions.find(name)[1].title))
    return found


def _total(path):
    """Returns the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(os.lstat(os.path.join(folder, name)).st_size
               for folder, _, names in os.walk(str(path)) for name in names)


def is_file(path):
    """Tells whether a regular file is there, itself and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(str(path)).st_mode)
    except OSError:
        return False


def _size(num_bytes):
    """Writes a number of bytes for a reader."""
    return f'{num_bytes / 1e6:,.1f} MB' if num_bytes >= 1e5 else f'{num_bytes / 1e3:,.1f} kB'


def _url(path, start):
    """Returns a file's address as seen from a folder."""
    relative = os.path.relpath(str(path), str(start)).replace(os.sep, '/')
    return urllib.parse.quote(os.fsencode(relative))


# ---- Pictures ----

def find_pictures(entries, record):
    """Chooses the pictures and films of a run: its results first, then in the order of common.captions.

    Args:
      entries: list of Entry.
      record: dict, of run.json.

    Returns:
      list of (Entry, captions.Caption).
    """
    results = {f'{picture.get("name", "")}.png': picture for picture in record.get('pictures', [])}
    found = []
    for entry in entries:
        if re.search(r'\.(png|jpe?g|webp|gif|mp4)$', entry.name):
            order, caption = captions.find(entry.name)
            if entry.name in results:
                order, caption = -1, captions.Caption(title='Result', text=_measures(results[entry.name]))
            elif entry.name.endswith(('.mp4', '.gif')) and caption.title == 'Film':
                order = -1
            found.append((order, len(found), entry, caption))
    return [(entry, caption) for _, _, entry, caption in sorted(found)]


def _measures(picture):
    return ', '.join(f'{summaries.spoken(name)} {summaries.spell(name, value)}' for name, value in picture.items()
                     if name.endswith('loss') and type(value) in (int, float)) or 'What the run has made.'


def show_pictures(pictures):
    """Returns the first MOST_PICTURES as list of Picture: within the page while there is room, then beside it."""
    shown, room = [], EMBEDDED
    for entry, caption in pictures[:MOST_PICTURES]:
        source, width, height = urllib.parse.quote(os.fsencode(entry.name)), 0, 0
        text = caption.text
        if not entry.name.endswith('.mp4'):
            try:
                kind, width, height = images.measure(entry.path)
                if entry.size * 4 / 3 < room and width * height <= MOST_PIXELS and kind in MEDIA_TYPES:
                    images.load_image(entry.path)  # a picture, and whole
                    content = base64.b64encode(entry.path.read_bytes()).decode('ascii')
                    source = f'data:{MEDIA_TYPES[kind]};base64,{content}'
                    room -= len(content)
            except InputError as error:
                text = f'This picture cannot be shown: {str(error).replace(str(entry.path), entry.name)}.'
                source = ''
        shown.append(Picture(name=entry.name, source=source, width=width, height=height, title=caption.title,
                             text=text))
    return shown


def write_thumbnail(run_dir, paths):
    """Writes a small copy of the first of several pictures that can be read; of none, none."""
    for path in filter(is_file, paths):
        try:
            _, width, height = images.measure(path)
            if width * height <= MOST_PIXELS:
                images.save_image(run_dir / THUMBNAIL, images.fit(images.load_image(path), THUMBNAIL_SIZE))
                return
        except InputError:
            continue


# ---- Curves ----

def read_tables(run_dir):
    """Reads the tables of numbers of a run: {name: list of rows, dicts of numbers}."""
    tables = {}
    for path in sorted(run_dir.glob('*.csv')):
        if is_file(path) and path.stat().st_size < LARGEST_TABLE:
            try:
                rows = metrics.read_metrics(path)
            except (InputError, ValueError):  # a table of texts, of predictions say
                continue
            if rows:
                tables[path.stem] = rows
    return tables


def _progress(tables):
    """Says how far an unfinished run came, by the last row of its tables."""
    for name, rows in reversed(list(tables.items())):
        x = next(iter(rows[-1]))
        return f'{"" if name == "metrics" else name + ", "}{x} {rows[-1][x]}'
    return ''


def draw_curves(tables):
    """Draws the columns of tables over their first one; training and validation of a quantity share axes.

    Args:
      tables: of read_tables.

    Returns:
      list of Curve.
    """
    curves = []
    for name, rows in tables.items():
        x, quantities = next(iter(rows[0])), {}
        for column in list(rows[0])[1:]:
            points = [(row[x], row[column]) for row in rows if _is_finite(row[x]) and _is_finite(row[column])]
            if column not in _NO_CURVE and len(points) > 1:
                quantities.setdefault(re.sub('^(training|validation)_', '', column), {})[column] = points
        heading = '' if name == 'metrics' else f'{name}: '
        curves += [_draw(heading + summaries.spoken(quantity), x, lines) for quantity, lines in quantities.items()]
    return curves[:MOST_CURVES]


def _is_finite(value):
    return type(value) in (int, float) and -1e300 < value < 1e300


def _draw(title, x, lines):
    every = [point for points in lines.values() for point in points]
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*every))
    is_log = low > 0 and high / low > 100

    def place(point):
        across = (point[0] - left) / ((right - left) or 1)
        up = (math.log(point[1] / low) / math.log(high / low) if is_log else (point[1] - low) / ((high - low) or 1))
        return f'{600 * across:.1f},{160 * (1 - up):.1f}'
    drawn = []
    for label, points in lines.items():
        every_nth = points[::math.ceil(len(points) / CURVE_POINTS)]
        drawn.append((summaries.spoken(label), ' '.join(map(place, [*every_nth, points[-1]])),
                      summaries.number(points[-1][1])))
    text = '; '.join(f'{summaries.spoken(label)} from {summaries.number(points[0][1])} to '
                     f'{summaries.number(points[-1][1])}' for label, points in lines.items())
    return Curve(title=title + (', logarithmic' if is_log else ''), lines=drawn, low=summaries.number(low),
                 high=summaries.number(high), first=f'{x} {summaries.number(left)}',
                 last=f'{x} {summaries.number(right)}', text=text)
