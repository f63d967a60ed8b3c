"""The command line that every recipe shares: its options, exit codes, Ctrl-C, and what --resume may change."""
import argparse
import contextlib
import errno
import functools
import os
import shlex
import signal
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any

from common import (check_interrupted, interrupt, interrupts, options, parallel, report, runs, session,
                    shared_folders)
from common.errors import ComputationError, InputError, UnavailableError

PROJECT_DIR = Path(__file__).resolve().parents[2]
# Options that a resumed run may be given again: where things are and how it reports, nothing that changes the result.
_FREE = ('data_dir', 'models_dir', 'output_dir', 'device', 'resume', 'quiet')

_stop_requests = []  # those of the loops that run, the innermost last
_resume_options = []  # those a resumed run needs again, as a command line has them; parse_args finds them


class Interrupted(Exception):
    """The user stopped the run; the message says what is saved. `exit_codes` adds how to resume (exit code 130)."""


def exit_codes(main):
    """Makes main(argv=None) return an exit code, and print one line where it ends early.

    0 done; 1 the computation failed; 2 a mistake in what was asked; 3 something is unavailable; 130 Ctrl-C, SIGTERM or
    a closed terminal (SIGHUP); 141 nobody reads the output any more (`| head`). Anything else is a bug, and keeps its
    traceback. Runs that main held are released.
    """
    @functools.wraps(main)
    def wrapper(argv=None):
        name = Path(sys.modules[main.__module__].__file__ or 'recipe').name
        _open_closed_streams()
        if hasattr(sys.stdout, 'reconfigure'):  # a file's name may hold bytes that are no text; stderr shows them so
            sys.stdout.reconfigure(errors='backslashreplace')
        streams = sys.stdout, sys.stderr
        outputs: Any = [_Output(stream) for stream in streams]
        sys.stdout, sys.stderr = outputs
        try:
            with _handling(interrupt):
                code = _exit_code(main, argv, name)
                if not parallel.rank():
                    report.write_held(code, quiet='--quiet' in (sys.argv if argv is None else argv))
                sys.stdout.flush()
                lost = outputs[0].error
                if lost and not code:
                    code = _end(name, 'error', f'cannot write to stdout ({lost.strerror}); nothing else went wrong', 3)
            return parallel.end(code)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
            return parallel.end(128 + signal.SIGPIPE)
        except Exception:
            if parallel.size() > 1 and parallel.speaker(name):
                traceback.print_exc()
            parallel.end(1)
            raise
        finally:
            sys.stdout, sys.stderr = streams
            runs.release_all()
            interrupts.clear()
    return wrapper


class _Output:
    """stdout or stderr, whose full disk does not end the work: what cannot be written any more is left out."""

    def __init__(self, stream):
        self.stream, self.error = stream, None

    def write(self, text):
        return self._try(self.stream.write, text)

    def flush(self):
        return self._try(self.stream.flush)

    def _try(self, function, *text):
        try:
            return function(*text)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            self.error = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            return None

    def __getattr__(self, name):
        return getattr(self.stream, name)


def _open_closed_streams():
    """Opens what a shell has closed (>&-): a file of ours would get its number, and what is printed."""
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w' if number else 'r'))


def _exit_code(main, argv, name):
    try:
        parallel.join()
        code = main(argv) or 0
        parallel.agree_to_end()
        return code
    except SystemExit as error:  # argparse, after --help or its own message
        if error.code:
            parallel.speaker(name)  # the first has said it
        else:
            parallel.agree_to_end()
        return error.code or 0
    except (Interrupted, KeyboardInterrupt) as error:
        _ignore_signals()
        return _end(name, 'interrupted', _what_is_saved(main, error), 130)
    except InputError as error:
        runs.release_all()  # a mistake leaves everything as it was
        return _end(name, 'error', error, 2)
    except UnavailableError as error:
        return _end(name, 'error', error, 3)
    except ComputationError as error:
        return _end(name, 'error', error, 1)
    except MemoryError as error:
        return _end(name, 'error', f'out of memory: {error}', 3)
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):  # no file's
            raise
        verb = 'write' if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else 'use'
        return _end(name, 'error', f"cannot {verb} {error.filename or 'a file'}: {error.strerror}", 3)
    except Exception as error:
        if not session.ran_out_of_memory(error):
            raise
        return _end(name, 'error', f'out of memory: {str(error).splitlines()[0]}', 3)


def _what_is_saved(main, error):
    """Says what an interrupted run leaves and how to resume it; a bare Ctrl-C comes while a sheet is drawn, say."""
    if not runs.held():
        return str(error) or 'nothing was saved'
    program = Path(sys.modules[main.__module__].__file__ or '').resolve()
    words = (*parallel.launcher(), sys.executable, program, '--resume', runs.held()[0], *_resume_options)
    command = ' '.join(shlex.quote(str(word)) for word in words)
    return f"{str(error) or 'the last checkpoint is kept'}. Resume with: {command}"


def _end(name, kind, message, code):
    speaker = parallel.speaker(name)
    if speaker:
        print(f'{speaker}: {kind}: {message}', file=sys.stderr)
    return code


def make_parser(doc, data=False, models=False, running=True):
    """Makes a parser with the shared options.

    Args:
      doc: str, the recipe's docstring; its first line describes it.
      data: bool, the recipe reads a data set (--data-dir).
      models: bool, the recipe reads published weights (--models-dir).
      running: bool, it makes runs; without, --output-dir and --help are all that is shared.

    Returns:
      argparse.ArgumentParser.
    """
    parser = options.Parser(description=doc.strip().splitlines()[0], usage='%(prog)s [options]', add_help=False,
                            formatter_class=options.HelpFormatter, allow_abbrev=False)
    parser.register('type', Path, options.to_path)
    folders = parser.add_argument_group(options.FOLDERS)
    if data:
        folders.add_argument('--data-dir', type=Path, default=default_dir('data'), metavar='DIR', help='data sets')
    if models:
        folders.add_argument('--models-dir', type=Path, default=default_dir('models'), metavar='DIR',
                             help='published weights')
    folders.add_argument('--output-dir', type=Path, default=PROJECT_DIR / 'output', metavar='DIR', help='runs')
    group = parser.add_argument_group(options.RUNNING)
    if running:
        group.add_argument('--seed', type=whole_number(0, 2 ** 31 - 1), default=0,
                           help='same seed, same machine, same result')
        group.add_argument('--device', choices=('auto', 'cpu', 'gpu'), default='auto', help='auto: a CUDA GPU, if any')
        group.add_argument('--threads', type=whole_number(1, 1024), default=parallel.threads(), help='threads on a CPU')
        group.add_argument('--xla', choices=('off', 'on'), default='off', help='compile the graph with XLA')
        group.add_argument('--resume', nargs='?', type=Path, const=True, default=None, metavar='DIR',
                           help='resume the latest run, or the one in DIR')
        group.add_argument('--quiet', action='store_true', help='print the result only')
    group.add_argument('-h', '--help', action='help', help='print this list')
    return parser


def default_dir(name):
    """Returns the Path of data/ or models/ of this project, or what RECIPES_DATA_DIR or RECIPES_MODELS_DIR names."""
    return Path(os.environ.get(f'RECIPES_{name.upper()}_DIR') or PROJECT_DIR / name)


def parse_args(parser, argv, recipe, free=(), changeable=(), preset=None, shared=False):
    """Parses the command line; where it resumes a run, the settings are that run's.

    An option that changes the defaults of others (--book, say) does so through `preset`, in every recipe:
    `preset=lambda asked: BOOK if asked.book else {}`.

    Args:
      parser: from make_parser.
      argv: list of str; None for the process's own.
      recipe: str, the recipe's name.
      free: names of further options that change nothing about the result.
      changeable: names of such options that a resumed run takes from its beginning, unless they are given again.
      preset: function of the options, as asked for, to a dict of the others' defaults then; None for none. An option
        that is given takes precedence.
      shared: bool, several processes share the recipe's work; see common.parallel.

    Returns:
      argparse.Namespace with, besides the options, run_dir (Path of the run to resume, else None) and settings (dict:
      what a resumed run must share).

    Raises:
      InputError: the run to resume is not there, another process works on it, it began with another TensorFlow, its
        settings are not what the options take, or an option contradicts them; or several processes are too many.
    """
    if preset:
        parser.set_defaults(**preset(parser.parse_args(argv)))
    args, given = parser.parse_args(argv), options.given(parser, argv)
    free = tuple(name for name in (*_FREE, *free) if name not in changeable)
    options.keep_parser(recipe, parser, free)
    args.run_dir = None
    if not shared:
        parallel.check_alone(recipe)
    if args.resume:
        _take_up(args, recipe, given, changeable, free)
    if parallel.rank():
        args.output_dir = shared_folders.scratch()
    args.settings = {name: value for name, value in vars(args).items() if name not in free + ('run_dir', 'settings')}
    runs.defaults[recipe] = {name: options.as_recorded(parser.get_default(name)) for name in args.settings}
    _resume_options[:] = options.spelled(parser, args, given & {*free, *(changeable if args.resume else ())} - {
        'resume', 'output_dir', 'predict', 'run'})
    return args


def _take_up(args, recipe, given, changeable, free):
    """Finds the run to resume, and takes over the settings of it that were not given again."""
    if not parallel.rank():
        args.run_dir = runs.locate(args.output_dir, recipe, args.resume)
        runs.hold(args.run_dir)
    args.run_dir = shared_folders.place_of(args.run_dir, recipe)
    runs.check_stack(args.run_dir)
    recorded = options.recorded_settings(args.run_dir)
    options.refuse_changes(args, recorded, given - set(changeable), free)
    for name in set(recorded) - given:
        setattr(args, name, recorded[name])
    if 'seconds' in runs.read_record(args.run_dir) and not args.quiet:
        print(f'{args.run_dir} is finished; this repeats its result')


def plural(count, noun):
    """Returns '1 epoch', '2 epochs'."""
    return f'{count:,} {noun}{"" if count == 1 else "s"}'


def whole_number(low, high=None):
    """Returns an argparse type: a whole number from `low` to `high`; without that to a billion."""
    return _number(int, 'a whole number', low, high, 10 ** 9)


def real_number(low, high=None):
    """Returns an argparse type: a number from `low` to `high`; without that to 1e12."""
    return _number(float, 'a number', low, high, 10 ** 12)


def _number(kind, noun, low, high, most):
    expected = f'{noun} of at least {low}' if high is None else f'{noun} from {low} to {high}'

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= low or (high is not None and value > high):  # NaN is not at least anything
            raise argparse.ArgumentTypeError(f'{text} given, expected {expected}')
        if high is None and value > most:
            raise argparse.ArgumentTypeError(f'{text} given, expected at most {most:,}')
        return value
    return convert


class StopBetweenTiles(Exception):
    """Ends a step that takes minutes before it is done; the runs of pictures catch it."""


def check_stop():
    """Is called within a long step, between two tiles, say.

    Raises:
      StopBetweenTiles: a stop is requested.
    """
    if _stop_requests and _stop_requests[-1].requested:
        raise StopBetweenTiles


@contextlib.contextmanager
def stop_requested():
    """Lets a loop end a step before it stops: Ctrl-C, SIGTERM or SIGHUP sets a flag; a second one interrupts at once.

    Yields:
      an object whose `requested` the loop checks after every step.
    """
    stop = types.SimpleNamespace(requested=False)

    def request(*unused):
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    _stop_requests.append(stop)
    try:
        with _handling(request):
            check_interrupted()
            yield stop
    finally:
        _stop_requests.remove(stop)


_SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]


def _ignore_signals():
    """Lets the last line be printed, and what the run holds released; exit_codes brings the signals back."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _handling(handler):
    """Lets `handler` answer SIGINT, SIGTERM and SIGHUP; under nohup SIGHUP stays ignored."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other one may
        before = {number: signal.signal(number, handler) for number in _SIGNALS
                  if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
