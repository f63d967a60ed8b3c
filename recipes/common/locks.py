"""One process at a time, where two would do the same work or write the same files."""
import contextlib
import sys

import filelock


@contextlib.contextmanager
def one_at_a_time(path, doing, quiet=False):
    """Lets one process at a time do something; the others wait, and then find it done.

    Args:
      path: Path of the lock's file, which stays: to remove it would let two in at once.
      doing: str, what is done and where, for the line that tells those who wait.
      quiet: bool, wait without a word.
    """
    lock = filelock.FileLock(str(path))
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # file systems without locks exist; there two may do the work, each whole
        pass
    except filelock.Timeout:
        if not quiet:
            print(f'waiting for another process that {doing}', file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
