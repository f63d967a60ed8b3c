"""One file over HTTP: goes on where it broke off, tries again, and gives up in seconds where there is no network."""
import concurrent.futures
import re
import sys
import threading
import time

import requests
import urllib3
from tqdm import tqdm

CONNECT_SECONDS = 5
ANSWER_SECONDS = 8  # the name, the connection, redirects and the headers together
READ_SECONDS = 10  # silence in the middle
FIRST_PAUSE_SECONDS = 1  # before trying again; doubled each time
MAX_FAILURES = 3  # one after the other
PROGRESS_BYTES = 1 << 20  # an attempt that brought so much starts the count of failures anew
MAX_BYTES = 4 << 30  # of a file whose size nobody published
CHUNK = 1 << 16


class Failed(Exception):
    """This URL does not give the file; the message says why."""


class Unreachable(Failed):
    """The host does not answer at all, so it need not be asked for its other files."""


class _BrokenOff(Exception):
    """It may work when tried again."""


def transfer(url, path, size=None, quiet=False):
    """Downloads into `path`, going on after the bytes that are there already.

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
            _remove(path)
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
        _remove(path)
        start = 0
    with _request(url, start) as response:
        start, total = _check_answer(response, path, start, size)
        most = MAX_BYTES if total is None else total
        with path.open('ab' if start else 'wb') as out, _bar(path, url, start, total, quiet) as bar:
            for chunk in _chunks(response):
                out.write(chunk)
                bar.update(len(chunk))
                if out.tell() > most:
                    out.truncate(0)
                    raise Failed('sends more than the %d bytes expected' % most)
            received = out.tell()
    if total is not None and received < total:
        raise _BrokenOff('broke off after %d of %d bytes' % (received, total))


def _request(url, start):
    # Nothing compressed on the way: lengths and ranges are to be those of the file itself.
    headers = {'Accept-Encoding': 'identity'}
    if start:
        headers['Range'] = 'bytes=%d-' % start
    asked = time.time()
    try:
        return _within(ANSWER_SECONDS, lambda: requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)))
    except (concurrent.futures.TimeoutError, requests.Timeout):
        raise Unreachable('no answer in %.1f seconds' % (time.time() - asked))
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
    said = 'HTTP %d %s' % (status, response.reason)
    if status == 206:
        match = re.match(r'bytes (\d+)-\d+/(\d+)$', response.headers.get('Content-Range', ''))
        if not match or int(match.group(1)) != start:
            _remove(path)
            raise _BrokenOff('sends another part of the file than was asked for')
        total = int(match.group(2))
    elif status == 200:
        start, total = 0, int(length) if length.isdigit() else size
    elif status == 416:  # the part here is longer than the file there
        _remove(path)
        raise _BrokenOff(said)
    elif status in (408, 429) or status >= 500:
        raise _BrokenOff(said)
    else:
        raise Failed(said)
    if size is not None and total != size:
        raise Failed('offers %d bytes, expected %d' % (total, size))
    return start, total


def _chunks(response):
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise _BrokenOff(f'broke off: {_cause(error)}')


def _bar(path, url, start, total, quiet):
    terminal = sys.stderr.isatty()
    if not quiet and not terminal:
        print('downloading {}{}'.format(url, ', from byte %d on' % start if start else ''), file=sys.stderr, flush=True)
    return tqdm(total=total, initial=start, desc=url.rsplit('/', 1)[-1], unit='B', unit_scale=True, dynamic_ncols=True,
                disable=quiet or not terminal)


def _cause(error):
    """Returns the innermost reason, which is the one a person understands: 'Name or service not known'."""
    inner = error.__cause__ or next((part for part in error.args if isinstance(part, Exception)), None)
    return _cause(inner) if inner else getattr(error, 'strerror', None) or str(error) or type(error).__name__


def _length(path):
    return path.stat().st_size if path.exists() else 0


def _remove(path):
    if path.exists():
        path.unlink()
