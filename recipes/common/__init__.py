"""Plumbing that every recipe shares: files, pixels, plots, the command line.

Its import also sees to what can end a recipe while that is still importing: Ctrl-C and its kin, for it takes a second
or two, and packages that are not there.
"""
import logging
import os
import signal
import sys
import threading

interrupts = []  # the signals that asked for the end; some code swallows a KeyboardInterrupt, TensorFlow's imports do
_excepthook = sys.excepthook
_RECIPES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def interrupt(number, frame):
    """Answers Ctrl-C, SIGTERM and SIGHUP: takes note of the signal, and raises KeyboardInterrupt, after a __del__."""
    interrupts.append(number)
    logging.getLogger('tensorflow').disabled = True  # it would complain of what the end leaves unused
    while frame and frame.f_code.co_name != '__del__':
        frame = frame.f_back
    if not frame:
        raise KeyboardInterrupt
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))  # there, it would be printed and lost
    again.daemon = True
    again.start()


def check_interrupted():
    """Raises the KeyboardInterrupt that a signal has raised before, and that was swallowed."""
    if interrupts:
        raise KeyboardInterrupt


def _end_quietly(kind, error, traceback):
    name = os.path.basename(sys.argv[0])
    if issubclass(kind, KeyboardInterrupt):
        print(f'{name}: interrupted: nothing was saved', file=sys.stderr)
        raise SystemExit(130)  # from a hook Python takes this as its exit code
    missing = error.name if issubclass(kind, ModuleNotFoundError) else None
    if missing and not os.path.exists(os.path.join(_RECIPES, missing.split('.')[0])):
        print(f'{name}: error: this Python ({sys.executable}) has no package {missing}; make an environment with: '
              'make venv, then enter it with: . .venv/bin/activate', file=sys.stderr)
        raise SystemExit(3)
    _excepthook(kind, error, traceback)


sys.excepthook = _end_quietly
logging.getLogger('matplotlib').setLevel(logging.ERROR)  # it warns where HOME, for its list of fonts, cannot be written
for _name in ('SIGINT', 'SIGTERM', 'SIGHUP'):  # on Windows there is no SIGHUP
    if threading.current_thread() is threading.main_thread() and hasattr(signal, _name) and (
            signal.getsignal(getattr(signal, _name)) in (signal.SIG_DFL, signal.default_int_handler)):
        signal.signal(getattr(signal, _name), interrupt)
