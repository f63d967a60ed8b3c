"""A run's folder: its settings and results (run.json), its lock, and arrays that --resume needs."""
import atexit
import io
import json
import os
import sys
import time
import uuid
import zipfile
from pathlib import Path
from typing import Dict

import filelock
import numpy as np

from common import session
from common.errors import InputError, UnavailableError
from common.files import check_no_link, check_regular, make_dir, remove, replacing, sweep, try_lock
from common.record import FIELDS, check_fields

RECORD, LATEST, LOCK = 'run.json', 'latest', '.lock'
LARGEST_JSON = 2 ** 28  # bytes of run.json: one with many pictures has kilobytes
SECONDS_OF_A_LINK = 60.0  # to its final name, far more than it takes
defaults: Dict[str, dict] = {}  # {recipe: its settings where none is given}; cli.parse_args keeps it, for the record
_held = {}  # {Path of a run that this process works on: its lock}


def create(output_dir, recipe, **record):
    """Makes a new run's folder, output_dir/<recipe>/<date_time>, with its run.json, and points `latest` at it.

    The run is held: see `hold`.

    Args:
      output_dir: str or Path.
      recipe: str, the recipe's name.
      **record: what is known at the start; see write_record.

    Returns:
      Path of the folder.

    Raises:
      InputError: the folder cannot be made or written to, or a folder is called `latest`.
    """
    parent = make_dir(Path(output_dir) / recipe, '--output-dir')
    latest = parent / LATEST
    if latest.is_dir() and not latest.is_symlink():
        raise InputError(f'{latest}: a folder, where the link to the latest run belongs; move it away')
    run_dir = _make_unique(parent, time.strftime('%Y-%m-%d_%H%M%S'))
    hold(run_dir)
    write_record(run_dir, recipe=recipe, command=sys.argv, started=time.strftime('%Y-%m-%d %H:%M:%S %z'),
                 stack=session.stack(), versions=versions(), defaults=defaults.get(recipe, {}), **record)
    for old in parent.glob(f'.{LATEST}.*'):  # of a process that was killed between the next two lines
        if time.time() - old.lstat().st_mtime > SECONDS_OF_A_LINK:
            remove(old)
    link = parent / f'.{LATEST}.{uuid.uuid4().hex}'  # in containers process numbers repeat
    link.symlink_to(run_dir.name)
    os.replace(str(link), str(latest))
    return run_dir


def _make_unique(parent, name):
    """Two runs may start in one second: the second is called name-2."""
    for number in range(1, 1000):
        run_dir = parent / (name if number == 1 else f'{name}-{number}')
        try:
            run_dir.mkdir()
            return run_dir
        except FileExistsError:
            continue
    raise UnavailableError(f'no free name for a run in {parent}')


def hold(run_dir):
    """Keeps other processes off a run until `release_all`, or until this process ends, however it does.

    create() and cli.parse_args, for --resume, call this, and cli.exit_codes releases: recipes have nothing to do.

    Args:
      run_dir: Path.

    Raises:
      InputError: another process works on the run, or something in it leads elsewhere.
    """
    for path in run_dir.rglob('*'):
        check_no_link(path)
    lock = _held.setdefault(run_dir.resolve(), filelock.FileLock(str(run_dir / LOCK)))
    atexit.register(release_all)
    if not try_lock(lock):
        raise InputError(f'--resume {run_dir}: another process is working on that run; wait for it or stop it')
    if lock.is_locked:  # else a file system without locks, where another process may be writing
        sweep(run_dir)


def held():
    """Returns the folders of the runs that this process works on: a list of Path."""
    return list(_held)


def release_all():
    """Lets other processes have the runs that this one holds."""
    for lock in _held.values():
        lock.release(force=True)
    _held.clear()


def versions():
    """Returns {package: version} of Python and those packages that this process has imported."""
    found = {'python': '.'.join(map(str, sys.version_info[:3]))}
    for name in ('tensorflow', 'keras', 'tf_keras', 'tflearn', 'numpy', 'scipy', 'matplotlib', 'PIL', 'h5py', 'onnx',
                 'cv2'):
        version = getattr(sys.modules.get(name), '__version__', None)
        if version:
            found[name] = version
    return found


def locate(output_dir, recipe, resume, option='--resume'):
    """Finds the run to resume, or to predict with.

    Args:
      output_dir: str or Path.
      recipe: str.
      resume: True for the recipe's latest run, or the run's folder.
      option: str, the option that asked, for the message.

    Returns:
      Path of the run's folder, with links resolved.

    Raises:
      InputError: there is no such run, its record is damaged, or it is another recipe's.
    """
    parent = Path(output_dir) / recipe
    if resume is True and not list(parent.glob(f'*/{RECORD}')):
        verb = 'train' if option == '--predict' else 'start'
        raise InputError(f'{option}: no run in {parent}; {verb} one first: python recipes/{recipe}.py')
    # `latest` comes after the dates; where its run was removed, the last of these
    run_dir = sorted(parent.glob(f'*/{RECORD}'))[-1].parent if resume is True else Path(resume)
    try:
        found = read_record(run_dir).get('recipe')
    except OSError:
        raise InputError(f'{option} {run_dir}: not a run; name a folder that contains a {RECORD}')
    if found != recipe:
        raise InputError(f'{option} {run_dir}: a run of {found}, not of {recipe}')
    return run_dir.resolve()


def total_seconds(run_dir, started):
    """Returns what a run took: what its record says where it was finished before, else the seconds since `started`."""
    return read_record(run_dir).get('seconds') or time.monotonic() - started


def check_stack(run_dir):
    """Sees to it that an unfinished run is resumed with the TensorFlow that it started with.

    Raises:
      InputError: it began with the other one, whose last digits differ: the result would be neither's.
    """
    record, here = read_record(run_dir), session.stack()
    began = record.get('stack', 'tf1')  # the only one when runs did not record it
    if began != here and 'results' not in record:
        raise InputError(f'--resume {run_dir}: started with {session.STACKS[began]}; {session.STACKS[here]} rounds '
                         'differently, so that the result would not be the same. Resume it with '
                         f'STACK={began}, or start a new run')


def read_record(run_dir):
    """Returns the dict in the run's run.json; raises InputError where it is not what a recipe wrote."""
    path = Path(run_dir) / RECORD
    return check_fields(path, read_json(path, 'recipe'), FIELDS)


def recorded(run_dir, name):
    """Returns a field of the run's run.json; raises InputError where it is not there."""
    record = read_record(run_dir)
    if name not in record:
        raise InputError(f'{Path(run_dir) / RECORD}: damaged: without {name}; start a new run')
    return record[name]


def write_record(run_dir, **fields):
    """Adds `fields` to the run's run.json, in place of those of the same name.

    Args:
      run_dir: Path.
      **fields: what JSON can represent, Paths and numpy numbers. By convention: settings, device, data, and in the end
        seconds (the whole command) and results (figures by name, accuracies as fractions).
    """
    path = Path(run_dir) / RECORD
    record = read_record(run_dir) if path.exists() else {}
    record.update(fields)
    write_json(path, record)


def read_json(path, key):
    """Returns the dict in a file of a run; raises InputError where it is none, or has not `key`."""
    check_regular(path)
    try:
        data = json.loads(path.read_text(encoding='utf-8')) if path.stat().st_size < LARGEST_JSON else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or key not in data:
        raise InputError(f'{path}: damaged, not what a recipe wrote')
    return data


def write_json(path, data):
    """Writes a dict as JSON, Paths and numpy's numbers in it too; see files.replacing."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(data, indent=2, default=_plain) + '\n', encoding='utf-8')


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f'run.json cannot represent {type(value)!r}')


def check_unchanged(run_dir, **facts):
    """Records what a resumed run has to share with its beginning besides its settings.

    Args:
      run_dir: Path.
      **facts: what JSON brings back equal: checksums, names, numbers, lists of them.

    Raises:
      InputError: one of them has changed since the run began.
    """
    record = read_record(run_dir)
    for name, value in facts.items():
        if record.get(name, value) != value:
            values = f' ({record[name]} then, {value} now)'  # checksums would tell nobody anything
            raise InputError(f"--resume {run_dir}: {name} changed since that run started"
                             f"{values if len(values) < 100 else ''}; start a new run")
    write_record(run_dir, **facts)


def save_arrays(path, **arrays):
    """Saves numpy arrays, and what numpy makes arrays of, as .npz; see files.replacing."""
    with replacing(path) as beside, beside.open('wb') as file:
        np.savez(_FailsOnce(file), **arrays)


class _FailsOnce:
    """A file that fails once: what a ZipFile still wants to write, in its __del__, then goes to memory."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        def call(*args):
            try:
                return getattr(self.file, name)(*args)
            except OSError:  # of seek and tell, too, which write what was buffered
                self.file = io.BytesIO()
                raise
        return call


def load_arrays(path):
    """Loads what save_arrays saved.

    Returns:
      dict of name to array.

    Raises:
      InputError: the file is not there, cut off, or holds more than arrays.
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(str(path)) as archive:  # where it is none, np.load leaves an object that complains
            if sum(member.file_size for member in archive.infolist()) > os.path.getsize(str(path)):
                raise ValueError('compressed')  # by somebody else, perhaps to gigabytes
        with np.load(str(path), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # numpy raises a dozen kinds for a broken zip
        raise InputError(f'{path}: not a state that this recipe saved ({error})')
