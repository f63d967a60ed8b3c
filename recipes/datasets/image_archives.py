"""Archives of labeled images, which are unpacked beside themselves, once."""
import contextlib
import os
import shutil
import zipfile

from common import archives, files
from common.errors import InputError, UnavailableError
from common.images import IMAGE_EXTENSIONS
from common.progress import Progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ENDINGS = ('.zip', '.tar', '.tar.gz', '.tgz')
UNPACKED_FROM = '.unpacked-from'  # in a folder that was unpacked: the archive's SHA-256, size and time of change


def find(paths):
    """Returns, of a folder's files, the zips that hold images, or zips.

    Args:
      paths: list of Path. Beside train.zip those of test images do not count, as Kaggle's.
    """
    found = [path for path in paths
             if path.name.lower().endswith('.zip') and os.path.isfile(str(path)) and _may_hold_images(str(path))]
    training = [path for path in found if path.name.lower().startswith('train')]
    return training if len(training) == 1 else found


def _may_hold_images(archive):
    try:
        with zipfile.ZipFile(archive) as zipped:
            return any(os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS | {'.zip'} for name in zipped.namelist())
    except (zipfile.BadZipFile, ValueError, OSError):  # unpack says what is wrong with it
        return True


def unpack(archive, quiet=False):
    """Unpacks an archive beside itself, unless that was done before; returns the Path of the folder.

    Args:
      archive: Path with one of ENDINGS.
      quiet: bool, without a word.

    Raises:
      InputError: it is damaged, cannot be unpacked beside itself, or is not what the folder there was unpacked from.
      UnavailableError: not enough disk space.
    """
    ending = next(ending for ending in ENDINGS if archive.name.lower().endswith(ending))
    folder = archive.with_name(archive.name[:-len(ending)])
    if not folder.exists():
        files.make_dir(folder.parent, f'unpacking {archive.name}:')
        with archive.open('rb') as locked:
            with contextlib.suppress(OSError, AttributeError):  # some network file systems, and Windows
                fcntl.flock(locked, fcntl.LOCK_EX)
            if not folder.exists():  # by now: another process may have made it
                _unpack(archive, folder, quiet)
    else:
        _check_unpacked_from(archive, folder)
    return folder


def _check_unpacked_from(archive, folder):
    """Raises InputError where the archive is not that of which `folder` was made, but was cut or replaced since."""
    note = folder / UNPACKED_FROM
    files.check_regular(note)
    if note.exists():  # else the user has unpacked it, or an earlier version
        known, stamp = note.read_bytes()[:200].decode(errors='replace').split(), _stamp(archive)
        if known[1:] == stamp:  # a large one takes its time to read
            return
        if known[:1] != [files.digest(archive)]:
            raise InputError(f'{archive}: not the archive that {folder} was unpacked from; remove that folder to '
                             'unpack this one, or give it as --data-dir')
        with contextlib.suppress(OSError), files.replacing(note) as beside:
            beside.write_text(' '.join([*known[:1], *stamp]))


def _stamp(archive):
    status = archive.stat()
    return [str(status.st_size), str(status.st_mtime_ns)]


def _unpack(archive, folder, quiet):
    """Makes `folder` of an archive's content, whole or not at all."""
    free = shutil.disk_usage(str(folder.parent)).free
    (num_files, needed), stamp = _size_unpacked(archive), _stamp(archive)
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
        (beside / UNPACKED_FROM).write_text(' '.join([files.digest(archive), *stamp]))
        os.replace(str(beside), str(folder))
        files.flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(str(beside), ignore_errors=True)


def _size_unpacked(archive):
    """Returns (number of files, bytes) that a zip unpacks to by its own account; zeros where it is no whole zip."""
    try:
        with zipfile.ZipFile(str(archive)) as zipped:
            inside = [info for info in zipped.infolist() if not info.filename.endswith(('/', '\\'))]
            return len(inside), sum(info.file_size for info in inside)
    except (zipfile.BadZipFile, ValueError, OSError):  # unpack says what is wrong with it
        return 0, 0
