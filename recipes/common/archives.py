"""Safe unpacking of tar, zip and gz: whatever an archive says, nothing lands outside the folder or beyond the bound."""
import contextlib
import gzip
import io
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from common import files
from common.errors import InputError
from common.files import name_kind

CHUNK = 1 << 20  # bytes
MAX_FILES = 100000
HEADER_BYTES = 1024  # what a tar spends on a member besides its content: a header, and padding to full blocks
TAR_ENDINGS = ('.tar', '.tar.gz', '.tgz')
ZIP_ENDINGS = ('.zip', '.whl')


def unpack(archive, folder, max_bytes, members=None, on_file=lambda: None):
    """Unpacks the files of an archive; they get their names when all of them are whole.

    Only plain files are made, and the folders they lie in. The bytes that come out are counted, so the bound holds
    whatever the headers say.

    Args:
      archive: str or Path of a .tar, .tar.gz, .tgz, .zip, .whl or .gz file.
      folder: str or Path, exists; files in it that have a member's name are replaced.
      max_bytes: int, the most that may be unpacked, all files together.
      members: names of the members wanted (the others are passed over), or None for all. A .gz has one member, named
        like the file without its ending.
      on_file: function, called after every file.

    Returns:
      list of Path, the files in the archive's order.

    Raises:
      InputError: a truncated or damaged archive, a member that is no plain file (link, device), whose path leads out
        of the folder or that appears twice, more than max_bytes or MAX_FILES, a wanted member that is not there.
      OSError: the archive cannot be read, the folder cannot be written to, the disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    wanted = None if members is None else set(members)
    with tempfile.TemporaryDirectory(prefix='.unpacking-', dir=str(folder)) as temporary:
        names = _unpack_into(Path(temporary), archive, max_bytes, wanted, on_file)
        missing = sorted((wanted or set()) - set(names))
        if missing:
            raise InputError(f"{archive}: does not contain {', '.join(missing)}")
        for name in names:
            target = folder.joinpath(*_parts(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(str(Path(temporary).joinpath(*_parts(name))), str(target))
    return [folder.joinpath(*_parts(name)) for name in names]


def read(archive, file_names, max_bytes):
    """Reads files of an archive one after the other into memory; the disk is not touched.

    Args:
      archive: str or Path, as for unpack.
      file_names: the names of the files wanted, in whatever folder they are. The others are passed over, but have to be
        such as could be unpacked.
      max_bytes: int, the most that may be unpacked, all files together.

    Yields:
      (name, content): str, with its folder; bytes. Only after the last one is the archive known to be whole.

    Raises:
      InputError: as unpack does, but not for a name that appears twice or is missing.
      OSError: the archive cannot be read.
    """
    archive, left = Path(archive), max_bytes
    with _damage_named(archive):
        for count, (name, stream) in enumerate(_plain_files(archive, max_bytes, None), 1):
            if count > MAX_FILES:
                raise InputError(f'contains more than {MAX_FILES} files')
            if _parts(name)[-1] in file_names:
                content = stream.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise InputError(f'unpacks to more than {max_bytes} bytes')
                yield name, content


def _unpack_into(folder, archive, max_bytes, wanted, on_file):
    """Unpacks into an empty folder; returns the names of the members."""
    names, left = [], max_bytes
    with _damage_named(archive):
        for name, stream in _plain_files(archive, max_bytes, wanted):
            target = folder.joinpath(*_parts(name))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open('xb') as out:
                    for chunk in iter(lambda: stream.read(CHUNK), b''):
                        left -= len(chunk)
                        if left < 0:
                            raise InputError(f'unpacks to more than {max_bytes} bytes')
                        out.write(chunk)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise InputError(f'the name {name} appears twice')
            files.flush_to_disk(target)
            names.append(name)
            on_file()
            if len(names) > MAX_FILES:
                raise InputError(f'contains more than {MAX_FILES} files')
    return names


@contextlib.contextmanager
def _damage_named(archive):
    """Turns what the libraries raise on a bad archive, and what this module does, into one line that names it."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{archive}: {error}')
    except (EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise InputError(f'{archive}: {_what_is_wrong(archive, error)}')
    except OSError as error:
        if error.errno:  # the disk's; the errors of the gzip module have no number
            raise
        raise InputError(f'{archive}: {_what_is_wrong(archive, error)}')


def _what_is_wrong(archive, error):
    if isinstance(error, RuntimeError) and 'encrypted' in str(error):
        return 'encrypted; unpack it yourself, with its password'
    with archive.open('rb') as file:
        head = file.read(1000)
    kind = None if head.startswith((b'PK', b'\x1f\x8b')) else name_kind(head)
    expected = 'a zip' if archive.name.lower().endswith(ZIP_ENDINGS) else 'a tar or gzip'
    return (f'{kind}, in place of {expected} archive' if kind else f'truncated or damaged ({error})') + '; get it again'


def _parts(name):
    """Returns the parts of a member's path, after making sure that it stays within the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith('/') or '..' in parts or '\\' in name or ':' in parts[0] or '\0' in name:
        raise InputError(f'the name {name!r} leads out of the folder')
    return parts


def _plain_files(archive, max_bytes, wanted):
    """Yields (name, stream) for each member, in order; refuses what is no plain file, if it is wanted at all."""
    name = archive.name.lower()
    if name.endswith(ZIP_ENDINGS):
        return _files_of_zip(archive, wanted)
    if name.endswith(TAR_ENDINGS):
        return _files_of_tar(archive, max_bytes, wanted)
    if name.endswith('.gz'):
        return _file_of_gz(archive, wanted)
    raise InputError(f"not an archive by its name; known are {', '.join(TAR_ENDINGS + ZIP_ENDINGS)}, .gz")


def _files_of_zip(archive, wanted):
    with zipfile.ZipFile(str(archive)) as zipped:
        for info in zipped.infolist():
            name = info.filename.replace('\\', '/')  # as some programs for Windows write it
            if name.endswith('/') or wanted is not None and name not in wanted:
                continue
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):  # the upper half is Unix's st_mode
                raise InputError(f'{name} is a link or a device')
            with zipped.open(info) as stream:
                yield name, stream


def _files_of_tar(archive, max_bytes, wanted):
    with (archive.open('rb') if archive.name.lower().endswith('.tar') else gzip.open(str(archive))) as source:
        # Headers are read into memory and members passed over by reading them: both count.
        stream = _Bounded(source, max_bytes + MAX_FILES * HEADER_BYTES)
        # forwards only: bytes are counted as they come
        with tarfile.open(fileobj=stream, mode='r|') as tar:  # type: ignore[arg-type]
            for info in tar:
                if info.isdir() or wanted is not None and info.name not in wanted:
                    continue
                if not info.isreg():
                    raise InputError(f'{info.name} is a link or a device')
                yield info.name, tar.extractfile(info)
        while stream.read(CHUNK):  # on to the checksum at the end of a gz, which comes after the end of the tar
            pass


def _file_of_gz(archive, wanted):
    name = archive.name[:-len('.gz')]
    if archive.stat().st_size == 0:  # which the gzip module takes for a file that holds nothing
        raise EOFError('empty')
    if wanted is None or name in wanted:
        with gzip.open(str(archive)) as stream:
            yield name, stream


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than so many bytes."""

    def __init__(self, stream, max_bytes):
        self.stream, self.left, self.max_bytes = stream, max_bytes, max_bytes

    def read(self, size=CHUNK):
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise InputError(f'unpacks to more than {self.max_bytes} bytes')
        return data
