"""The folders of several processes: the first keeps the run's, each other has a temporary one, as if it were the run's.

Started by itself a recipe is one process, and its run's folder the only one; see parallel.
"""
import atexit
import contextlib
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import filelock

from common import files
from common.errors import InputError
from common.parallel import from_first, rank, size

_RESUMED = 'run.json', 'metrics.csv', 'checkpoints/state.json'  # what the others need of a run that is resumed
_SCRATCH, _SECONDS_TO_LOCK = 'recipes-process-', 60  # a temporary folder's name; more than its lock takes to come


class _Folders:
    """What this process has besides the run's folder, or in its place."""
    scratch: Any = None  # Path of its own, unless it is the first
    lock: Any = None     # of that
    place: Any = None    # Path of the folder that all put results in


def scratch():
    """Returns the Path of this process's temporary folder, where one that is not the first keeps its run."""
    if not _Folders.scratch:
        for left in Path(tempfile.gettempdir()).glob(f'{_SCRATCH}*'):  # by processes that were killed
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _SECONDS_TO_LOCK and _lock(left):
                    shutil.rmtree(str(left), ignore_errors=True)
        _Folders.scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH))
        _Folders.lock = _lock(_Folders.scratch)
        atexit.register(shutil.rmtree, str(_Folders.scratch), ignore_errors=True)
    return _Folders.scratch


def _lock(folder):
    """Locks a temporary folder until this process ends, however it does; returns None where another one has it."""
    lock = filelock.FileLock(str(folder / '.lock'))
    return lock if files.try_lock(lock) and lock.is_locked else None


def is_unseen(path):
    """Tells whether a file is not to be written: the first process writes it, too, but for what goes to its place."""
    return rank() > 0 and _Folders.place not in Path(path).parents


def shared_place(run_dir):
    """Returns the Path of the run in process 0, in which the others put results, too.

    Args:
      run_dir: Path of the run; of a process that is not the first, in its own folder.

    Raises:
      InputError: this process does not see it.
    """
    if size() == 1:
        return run_dir
    place = from_first(run_dir.resolve())
    if not place.is_dir():
        raise InputError(f'{place}: not to be seen from {socket.gethostname()}; --output-dir has to be a folder that '
                         'all machines share')
    _Folders.place = place
    return place


def place_of(run_dir, recipe):
    """Returns the Path of the run to resume: as given for process 0, a copy of what they need for the others.

    Args:
      run_dir: Path; None in a process that is not the first.
      recipe: str.
    """
    if size() == 1:
        return run_dir
    found = {} if rank() else {str(path.relative_to(run_dir)): path.read_bytes() for name in _RESUMED
                               for path in (run_dir / name, *run_dir.glob(f'seed_*/{name}')) if path.exists()}
    name, found = from_first((run_dir and run_dir.name, found))
    if not rank():
        return run_dir
    for path, content in found.items():
        (scratch() / recipe / name / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch() / recipe / name / path).write_bytes(content)
    return scratch() / recipe / name
