"""Files that are whole or not there (written beside, flushed to disk, renamed), their checksums, locks and kinds."""
import contextlib
import errno
import gzip
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from pathlib import Path

import filelock

from common.errors import InputError

CHUNK = 1 << 20  # bytes
MAX_UNZIPPED = 1 << 30  # bytes of a .gz; MNIST's largest has 47 million
# What a killed process leaves: of `replacing`, of `replacing_dir`, of TensorFlow's checkpoints.
LITTER = re.compile(r'\.[0-9a-f]{32}\.part(\.\w+)?|\..+\.\w{8}\.part|checkpoint\.tmp\w{32}|'
                    r'model-\d+\..*\.tempstate\d+')


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`; what is written there takes the place of `path` at the end.

    The temporary name keeps the extension, since Pillow, matplotlib and ffmpeg choose the format by it. An exception
    removes it, and `path` is as it was.

    Args:
      path: str or Path of the file to make or replace; its folder must exist.

    Yields:
      Path of the temporary file, which is there and empty.
    """
    path = Path(path)
    beside = path.with_name(f'.{uuid.uuid4().hex}.part{path.suffix}')
    try:
        # tempfile makes files for their owner alone; this one has the permissions that the user's umask gives
        os.close(os.open(str(beside), os.O_CREAT | os.O_EXCL, 0o666))
        yield beside
        put_in_place(beside, path)
    except OSError as error:  # a write that fails names no file, or the temporary one
        if error.filename in (None, str(beside)):
            error.filename = str(path)
        raise
    finally:
        remove(beside)


@contextlib.contextmanager
def replacing_dir(path):
    """Gives the name of a folder beside `path`, which is not there yet; what is made of it takes the place of `path`.

    Args:
      path: Path of the folder to make or replace; its parent must exist.

    Yields:
      Path of the folder to make.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', suffix='.part', dir=str(path.parent)) as beside:
        made, old = Path(beside) / 'new', Path(beside) / 'old'
        yield made
        for file in made.rglob('*'):
            flush_to_disk(file)
        if path.exists():
            os.replace(str(path), str(old))
        os.replace(str(made), str(path))
        flush_to_disk(path.parent)


def sweep(folder):
    """Removes what a killed process left half-written in a folder and those in it; the caller holds its lock.

    Args:
      folder: Path.
    """
    for parent, folders, names in os.walk(str(folder)):
        for name in filter(LITTER.fullmatch, folders):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
        for name in filter(LITTER.fullmatch, names):
            remove(Path(parent) / name)
        folders[:] = [name for name in folders if not LITTER.fullmatch(name)]


def put_in_place(beside, path):
    """Gives a finished file, on the same file system, its final name; it has reached the disk before and after.

    Args:
      beside, path: Path.
    """
    flush_to_disk(beside)
    os.replace(str(beside), str(path))
    flush_to_disk(path.parent)


def remove(path):
    """Removes the file at `path`, a Path, if there is one."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def flush_to_disk(path):
    """Returns when the file or folder at `path` has reached the disk."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot flush a folder
            raise
    finally:
        os.close(handle)


def make_dir(path, option):
    """Makes the folder `path` and those above it, and checks that a file can be written there.

    Args:
      path: str or Path.
      option: the option that named it, for the message, such as '--output-dir'.

    Returns:
      Path.

    Raises:
      InputError: where it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(path)):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f'{option} {path}: cannot write there ({error.strerror}); choose a writable folder'
                         ) from error
    return path


def check_is_text(path, option):
    """Checks that a folder's full name is UTF-8: TensorFlow writes to no other.

    Raises:
      InputError: it is not.
    """
    path = os.path.abspath(str(path))
    try:
        path.encode('utf-8')
    except UnicodeEncodeError:
        taken, do = sys.getfilesystemencoding(), 'rename it'
        with contextlib.suppress(UnicodeDecodeError):
            os.fsencode(path).decode('utf-8')
            do = f'this locale takes names for {taken}: set the variable PYTHONUTF8=1'
        raise InputError(f'{option} {path}: its name is not UTF-8, the only names that TensorFlow writes to; {do}')


def shorten(name, most=120):
    """Cuts a name off after `most` bytes: the file system has room for 255, with what comes behind it."""
    return os.fsencode(name)[:most].decode('utf-8', 'ignore') if len(os.fsencode(name)) > most else name


def check_no_input(path, inputs):
    """Keeps the result that --output names from taking the place of a file that goes in.

    Args:
      path: str or Path of the file to be written, or None.
      inputs: str or Paths of what is read, or None among them.

    Raises:
      InputError: they are the same file.
    """
    read = [file for file in inputs if file and os.path.isfile(str(file))]
    if path and any(os.path.isfile(str(path)) and os.path.samefile(str(path), str(file)) for file in read):
        raise InputError(f'--output {path} is also an input file; choose another name')


def check_writable(path, option):
    """Finds out, before the work, whether the file `path` can be made or replaced; leaves everything as it was.

    Args:
      path: str or Path; folders above it may be missing.
      option: the option that named it, for the message.

    Raises:
      InputError: a folder, or a place that cannot be made or written to.
    """
    path = Path(path)
    made = []
    try:
        if path.exists() and not path.is_file():
            raise InputError(f'{option} {path}: a folder; name a file in it' if path.is_dir() else
                             f'{option} {path}: not a regular file; choose another name')
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            made.append(folder)
        with tempfile.TemporaryFile(dir=str(path.parent)):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f'{option} {path}: cannot write there ({error.strerror})')
    finally:
        for folder in reversed(made):
            try:
                folder.rmdir()
            except OSError:  # somebody else is using it by now
                break


def digest(path, algorithm='sha256', unzip=False):
    """Computes a file's checksum.

    Args:
      path: str or Path.
      algorithm: str, a name that hashlib knows.
      unzip: bool, of the content of a .gz instead of the file itself.

    Returns:
      str, hexadecimal.

    Raises:
      OSError: the file cannot be read.
      OSError, EOFError, zlib.error: no .gz, a damaged one, or one that unpacks to more than MAX_UNZIPPED.
    """
    result = hashlib.new(algorithm)
    with (gzip.open(str(path)) if unzip else open(str(path), 'rb')) as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b''):
            result.update(chunk)
            if unzip and stream.tell() > MAX_UNZIPPED:
                raise EOFError(f'unpacks to more than {MAX_UNZIPPED} bytes')
    return result.hexdigest()


def check_no_link(path):
    """Checks that a file or folder which is about to be written is not a link to another.

    Raises:
      InputError: it is one.
    """
    if path.is_symlink():
        raise InputError(f'{path}: a link to {os.readlink(str(path))}, which would be overwritten; remove the link')


def try_lock(lock):
    """Takes a filelock.FileLock; returns False where another process has it, True on file systems without locks."""
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    except NotImplementedError:  # there two processes may do the work, each whole
        pass
    return True


def check_regular(path, kind=None):
    """Checks that `path` is a file: a pipe or a device would be read for ever.

    Args:
      path: str or Path.
      kind: str, what the file is expected to be, 'picture'; it then has to be there, with something in it.

    Raises:
      InputError: a folder, pipe or device; with `kind` also missing, empty or unreadable.
    """
    if kind is None:
        if os.path.lexists(str(path)) and not os.path.isfile(str(path)):
            raise InputError(f'{path}: not a regular file')
        return
    try:
        status = os.stat(str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f'{path}: no such file')
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror})')
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f'{path}: a folder, not a {kind}')
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f'{path}: not a regular file; expected a {kind}')
    if not status.st_size:
        raise InputError(f'{path}: an empty file, not a {kind}')


@contextlib.contextmanager
def one_at_a_time(path, doing, quiet=False):
    """Lets one process at a time do something; the others wait, and then find it done.

    Args:
      path: Path of the lock's file, which stays: to remove it would let two in at once.
      doing: str, what is done and where, for the line that tells those who wait.
      quiet: bool, wait without a word.

    Raises:
      InputError: `path` is a link.
    """
    check_no_link(path)
    lock = filelock.FileLock(str(path))
    if not try_lock(lock):
        if not quiet:
            print(f'waiting for another process that {doing}', file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# ---- What people have instead of the file that is wanted, for a message to call it by its name ----

KINDS = tuple((re.compile(beginning, re.DOTALL | re.IGNORECASE), kind) for beginning, kind in (  # the first counts
    (rb'\x89PNG|\xff\xd8\xff|GIF8|BM....\0\0\0\0|II\*\0|MM\0\*|RIFF....WEBP', 'an image'),
    (rb'....ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)', 'a HEIC picture, as iPhones take them'),
    (rb'....ftyp(avif|avis)', 'an AVIF picture'),
    (rb'....ftyp', 'a video, or a raw picture of a camera'),
    (rb'\xff\x0a|\0\0\0\x0cJXL ', 'a JPEG XL picture'),
    (rb'%PDF', 'a PDF document'),
    (rb'%!PS|\xc5\xd0\xd3\xc6', 'a PostScript file'),
    (rb'.{128}DICM', 'a DICOM file'),
    (rb'\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg', 'an SVG drawing'),
    (rb'\s*<(!doctype|html|head|body|\?xml)', 'a web page, such as a failed download leaves behind'),
    (rb'\x89HDF', 'a Keras model (HDF5)'),
    (rb'....TFL3', 'a TensorFlow Lite model'),
    (rb'PK\x03\x04', 'an archive, such as Keras 3 and PyTorch write'),
    (rb'\x1f\x8b', 'a gzip archive'),
    (rb'Rar!\x1a\x07', 'a RAR archive'),
    (rb'7z\xbc\xaf\x27\x1c', 'a 7-Zip archive'),
    (rb'version https://git-lfs', 'a Git LFS pointer, which stands for a file that was not downloaded'),
    (rb'\x80[\x02-\x05]', 'a Python pickle (never read, since it can run code)'),
    (rb'\x93NUMPY', 'a NumPy array'),
    (rb'MATLAB 7\.3', 'a MATLAB 7.3 file (MatConvNet publishes version 5)'),
    (rb'\x08[\x03-\x0c]\x12', 'an ONNX model')))


def name_kind(head):
    """Returns what a file that begins with `head`, about 1,000 bytes, is called; None where none of KINDS fits."""
    return next((kind for beginning, kind in KINDS if beginning.match(head)), None)
