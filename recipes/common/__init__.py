"""Plumbing that every recipe shares: files, pixels, plots, the command line.

The first of it that is imported also sees to Ctrl-C while a recipe is still importing, which takes a second or two.
"""
import os
import sys

_excepthook = sys.excepthook


def _end_quietly(kind, error, traceback):
    if not issubclass(kind, KeyboardInterrupt):
        return _excepthook(kind, error, traceback)
    print(f'{os.path.basename(sys.argv[0])}: interrupted: nothing was saved', file=sys.stderr)
    raise SystemExit(130)  # from a hook Python takes this as its exit code


sys.excepthook = _end_quietly
