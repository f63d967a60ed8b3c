"""The three ways a recipe ends early, which common/cli.py turns into exit codes; and notes on what does not end it."""
import difflib
import sys

_noted = set()  # the kinds of notes that have been printed


class InputError(ValueError):
    """What was asked cannot be done as asked: an option, a path, a file of the wrong kind (exit code 2)."""


class UnavailableError(RuntimeError):
    """Something is unavailable: a download, memory, disk space (exit code 3)."""


class ComputationError(RuntimeError):
    """The computation failed, with a NaN for instance; the last good state is kept (exit code 1)."""


def did_you_mean(name, names):
    """Returns the names nearest to a wrong one, as "did you mean 'conv4_2' or 'conv4_1'?"; '' where none is near."""
    names = list(names)
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or [
        longer for longer in names if name in longer][:3]
    return f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else ''


def note(kind, line):
    """Prints a line to stderr, the first of its kind alone: what is true of one image is often true of a thousand."""
    if kind not in _noted:
        _noted.add(kind)
        print(f'note: {line}', file=sys.stderr, flush=True)
